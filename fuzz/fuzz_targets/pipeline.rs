//! Any text as a pipeline: read with and without variables, put in order, its plugins named.
#![no_main]

use buildkite_dataflow::pipeline::interpolate::Variables;
use buildkite_dataflow::pipeline::{Graph, Kind, Pipeline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variables = Variables::from([("A".to_owned(), "value".to_owned())]);
    drop(Pipeline::parse(text, None));
    let Ok(pipeline) = Pipeline::parse(text, Some(&variables)) else { return };
    if let Ok(graph) = Graph::of(&pipeline) {
        let placed: usize = graph.waves().iter().map(Vec::len).sum();
        let waits = pipeline.walk().filter(|(_, step)| matches!(step.kind, Kind::Wait { .. })).count();
        assert_eq!(placed + waits, pipeline.walk().count(), "every step but a wait is in one wave");
    }
    for (_, step) in pipeline.walk() {
        if let Kind::Command(command) = &step.kind {
            for plugin in command.jobs.iter().flat_map(|job| &job.plugins) {
                drop((plugin.full_source(), plugin.env_name(), plugin.is_ours()));
            }
        }
    }
});
