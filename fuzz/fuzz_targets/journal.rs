//! Any bytes as a journal: whole lines are read, and no more than there are.
#![no_main]

use buildkite_dataflow::lease::journal::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (entries, length) = parse(bytes);
    assert!(length <= bytes.len() && entries.len() <= length);
});
