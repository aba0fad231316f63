//! Any text as a length of time: what was read is written so that it reads back the same.
#![no_main]

use buildkite_dataflow::span::Span;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
});
