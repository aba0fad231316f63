//! Any bytes as a journal: whole lines are read, and no more than there are.
#![no_main]

use buildkite_dataflow::lease::journal::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse(bytes);
    assert!(parsed.length <= bytes.len() && parsed.entries.len() + parsed.damaged <= parsed.length);
});
