//! Any secret: its forms are bounded, each is long enough for the redactor to hide, and our own mask hides them all.
#![no_main]

use buildkite_dataflow::lease::forms::forms;
use buildkite_dataflow::secret::forms::MOST;
use buildkite_dataflow::secret::{MIN_LENGTH, Mask, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let secret = Secret::new(text);
    let forms = forms(&secret).texts;
    assert!(forms.len() <= MOST && forms.iter().all(|form| form.expose().len() >= MIN_LENGTH));
    let mask = Mask::default();
    mask.add(&secret);
    // Neither is lent as a secret: no log could hide it.
    if text.len() < MIN_LENGTH || text.trim().is_empty() {
        return;
    }
    for form in &forms {
        assert_eq!(mask.apply(form.expose()), "[REDACTED]");
    }
});
