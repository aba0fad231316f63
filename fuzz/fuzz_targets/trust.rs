//! Any JSON as a trust policy: it is judged, or not understood.
#![no_main]

use buildkite_dataflow::claims::Claims;
use buildkite_dataflow::rehearse::sandbox::trust::{Asker, evaluate, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(policy) = parse(text) {
        evaluate(&policy, "sts:TagSession", &Asker::bearer("i", "1", &Claims::default()));
    }
});
