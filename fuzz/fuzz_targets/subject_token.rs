//! Any text as a token: its claims are read, or it is refused.
#![no_main]

use buildkite_dataflow::claims::SubjectToken;
use buildkite_dataflow::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let token = SubjectToken::new(Secret::new(text));
    if let Ok(claims) = token.unverified_claims() {
        drop((claims.to_string(), claims.audiences(), claims.seconds("exp"), claims.text("sub")));
    }
});
