//! What is wrong in a plugin's block, with line and column in the file that the author writes. The hook says it too,
//! but an agent hands it JSON, in which no place is left.

use dataflow_config::path::{self, Segment};
use dataflow_config::step;
use dataflow_pipeline::{Pipeline, PluginUse, Step};

/// A line for each error in a block of a pipeline; `at` is its number among the step's plugins.
pub(super) fn in_pipeline(
    file: &str,
    pipeline: &Pipeline,
    step: &Step,
    at: usize,
    plugin: &PluginUse,
) -> Vec<String> {
    let mut prefix = path::parse(&step.path.to_string());
    prefix.extend([
        Segment::Key("plugins".to_owned()),
        Segment::Index(at),
        Segment::Key(plugin.source.clone()),
    ]);
    in_text(file, pipeline.text(), &prefix, plugin)
}

/// The same for a block that stands at `prefix` in a text.
pub(super) fn in_text(file: &str, text: &str, prefix: &[Segment], plugin: &PluginUse) -> Vec<String> {
    match step::Step::read(plugin.config.clone()) {
        Ok(_) => Vec::new(),
        Err(error) => error.located(file, text, prefix, &plugin.config).lines(),
    }
}
