//! Any text as a step config or a host config: it is read, or refused with a place.
#![no_main]

use buildkite_dataflow::config::host;
use buildkite_dataflow::config::step::Step;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    drop((Step::parse(text), host::parse("config.yml", text)));
});
