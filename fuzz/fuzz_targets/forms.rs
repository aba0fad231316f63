//! Any secret: each of its forms is long enough for the redactor to hide.
#![no_main]

use buildkite_dataflow::lease::forms::forms;
use buildkite_dataflow::secret::{MIN_LENGTH, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    assert!(forms(&Secret::new(text)).iter().all(|form| form.expose().len() >= MIN_LENGTH));
});
