//! Any JSON as a trust policy: it is judged, or not understood.
#![no_main]

use buildkite_dataflow::claims::Claims;
use buildkite_dataflow::rehearse::sandbox::trust::{Asker, evaluate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(policy) = serde_json::from_str(text) {
        let claims = Claims::default();
        evaluate(&policy, "sts:TagSession", &Asker { issuer: "i", claims: &claims });
    }
});
