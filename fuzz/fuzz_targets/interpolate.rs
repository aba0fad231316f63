//! Any text with variables in it; and a text whose dollars are all escaped stays what it was.
#![no_main]

use buildkite_dataflow::pipeline::interpolate::{Variables, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pairs =
        [("A", "value"), ("B", ""), ("C", "aéz")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables = Variables::from(pairs);
    drop(expand(text, &variables));
    if !text.contains('\\') {
        assert_eq!(expand(&text.replace('$', "$$"), &variables).as_deref(), Ok(text));
    }
});
