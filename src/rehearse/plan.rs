//! What will be run, as far as it is known before anything does.

use std::collections::{BTreeMap, BTreeSet};

use super::job::Job;
use super::{Error, Event, Row};
use dataflow_pipeline::{self as pipeline, Kind, Pipeline, Step};

/// Whether a command may add steps to its own build.
pub(super) fn uploads(pipeline: &Pipeline) -> bool {
    let commands = pipeline.walk().filter_map(|(_, step)| match &step.kind {
        Kind::Command(command) => Some(command),
        _ => None,
    });
    let mut jobs = commands.flat_map(|command| &command.jobs);
    jobs.any(|job| job.command.contains("pipeline upload"))
}

/// The jobs of a step, as they will be run: each of its own as often as `parallelism` says.
pub(super) fn planned(env: &BTreeMap<String, String>, step: &Step) -> Vec<Job> {
    let Kind::Command(command) = &step.kind else { return Vec::new() };
    let times = command.parallelism.unwrap_or(1);
    let job = |(job, number): (&pipeline::Job, u32)| {
        let parallel = command.parallelism.map(|count| (number, count));
        let name = name(step, job.label.as_deref());
        let mut env = env.clone();
        env.extend(job.env.clone());
        Job {
            name: if times > 1 { format!("{name} {}/{times}", number + 1) } else { name },
            step_key: step.key.clone(),
            command: job.command.clone(),
            env,
            plugins: job.plugins.clone(),
            id: uuid::Uuid::new_v4().to_string(),
            parallel,
        }
    };
    command.jobs.iter().flat_map(|one| (0..times).map(move |number| (one, number))).map(job).collect()
}

/// Plugins that are hardly meant as they are written.
pub(super) fn suspicious(jobs: &[Job], on: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
    let mut told = BTreeSet::new();
    for (job, plugin) in jobs.iter().flat_map(|job| job.plugins.iter().map(move |plugin| (job, plugin))) {
        if plugin.is_misplaced_key() {
            return Err(Error::Misplaced {
                step: job.name.clone(),
                key: plugin.source.clone(),
                agent: plugin.full_source(),
            });
        }
        if plugin.is_nearly_ours() && told.insert(&plugin.source) {
            on(Event::Note(format!(
                "plugin `{}` is not this plugin: did you mean `dataflow`? Nothing is lent for it",
                plugin.source
            )));
        }
    }
    Ok(())
}

/// The row of a step that did not run; none where it would not have had one.
pub(super) fn idle(step: &Step) -> Option<Row> {
    matches!(step.kind, Kind::Command(_)).then(|| Row::idle(name(step, None), false))
}

pub(super) fn name(step: &Step, label: Option<&str>) -> String {
    let own = step.key.as_deref().or(label).or(step.label.as_deref());
    own.map_or_else(|| step.to_string(), str::to_owned)
}
