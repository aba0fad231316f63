//! Rehearsing a pipeline: its steps for real, with our real hooks and a real shell, against a sandbox,
//! with no account anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::pipeline::{self, Graph, Kind, Outcome, Pipeline, Step, StepId};

mod asked;
mod condition;
mod error;
pub mod fixture;
mod input;
pub mod job;
mod overlay;
pub mod perform;
pub mod sandbox;
pub mod stage;
pub mod trusted;

pub use error::Error;
pub use input::{folder, text};

use job::{Build, Job};
use perform::{Performed, perform};
use stage::Stage;

/// What to rehearse, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's file.
    pub pipeline: PathBuf,
    /// Only these steps, by key; all where none is named.
    pub steps: Vec<String>,
    /// Where records go.
    pub records: PathBuf,
    /// The folder of trust policies, `ROLE.json` each; `trust` beside the pipeline where it is not named.
    pub trust: Option<PathBuf>,
    /// A host config whose grants, limits and mode are rehearsed too.
    pub host_config: Option<PathBuf>,
    /// Whose build.
    pub build: Build,
}

/// What happens, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A job begins.
    Job {
        /// Its name.
        name: &'a str,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A phase of the job begins.
    Phase(&'static str),
    /// The job printed a line.
    Line(&'a str),
    /// Something is not rehearsed as it would be run.
    Note(String),
    /// The job is over.
    Ended(&'a Performed),
}

/// One row of the account at the end.
#[derive(Debug)]
pub struct Row {
    /// The job's name.
    pub name: String,
    /// How it went; `None` when it did not run.
    pub performed: Option<Performed>,
    /// Whether its `if` is false.
    pub skipped: bool,
}

/// Rehearses a pipeline and gives an account of every job.
pub async fn rehearse(
    host: &Host,
    options: &Options,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Row>, Error> {
    let path = host.cwd.join(&options.pipeline);
    let text = input::text(&path)?;
    let wrong = |source| Error::Pipeline { path: options.pipeline.clone(), source };
    let pipeline = Pipeline::parse(&text, Some(&Job::upload_variables(&options.build))).map_err(wrong)?;
    let pipeline = pipeline.with_steps().map_err(wrong)?;
    let graph = Graph::of(&pipeline).map_err(wrong)?;
    let mut chosen = Vec::new();
    for key in &options.steps {
        chosen.extend(pipeline.named(key).map_err(|unknown| Error::no_step(&options.pipeline, unknown))?);
    }
    let wanted = |id: &StepId| chosen.is_empty() || chosen.contains(id);
    let jobs: Vec<Job> =
        pipeline.walk().filter(|(id, _)| wanted(id)).flat_map(|(_, step)| planned(&pipeline, step)).collect();
    suspicious(&jobs, on)?;
    let trust = match &options.trust {
        Some(folder) => trusted::Folder::named(host.cwd.join(folder)),
        None => trusted::Folder::usual(path.parent().unwrap_or(Path::new("/")).join("trust")),
    };
    let rules = options.host_config.as_ref().map(|file| host.cwd.join(file));
    let mut stage = Stage::set(host, rules.as_deref(), trust?, &options.records).await?;
    for note in stage.prepare(host, &options.build, &jobs)? {
        on(Event::Note(note));
    }
    let total = jobs.len();
    let mut run =
        Run { host, options, stage, on, rows: Vec::new(), number: 0, total, outcomes: BTreeMap::new() };
    for (id, step) in in_order(&pipeline, &graph) {
        if wanted(&id) {
            let free = !chosen.is_empty() || run.may_go(&graph, id, step);
            run.step(&pipeline, id, step, free).await?;
        }
    }
    Ok(run.rows)
}

/// The jobs of a step, as they will be run.
fn planned(pipeline: &Pipeline, step: &Step) -> Vec<Job> {
    let Kind::Command(command) = &step.kind else { return Vec::new() };
    let job = |job: &pipeline::Job| {
        let mut env = pipeline.env.clone();
        env.extend(job.env.clone());
        Job {
            name: name(step, job.label.as_deref()),
            step_key: step.key.clone(),
            command: job.command.clone(),
            env,
            plugins: job.plugins.clone(),
            id: uuid::Uuid::new_v4().to_string(),
        }
    };
    command.jobs.iter().map(job).collect()
}

/// Plugins that are hardly meant as they are written.
fn suspicious(jobs: &[Job], on: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
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

/// Steps in the order of their waves, wait steps and the like where their own needs are met.
fn in_order<'a>(pipeline: &'a Pipeline, graph: &Graph) -> Vec<(StepId, &'a Step)> {
    let mut left: Vec<(StepId, &Step)> = pipeline.walk().collect();
    let mut order: Vec<(StepId, &Step)> = Vec::new();
    while !left.is_empty() {
        let met =
            |id: StepId| graph.needs(id).iter().all(|need| order.iter().any(|(done, _)| *done == need.step));
        let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(|(id, _)| met(*id));
        if ready.is_empty() {
            break;
        }
        order.extend(ready);
        left = waiting;
    }
    order
}

fn jobs(step: &Step) -> usize {
    match &step.kind {
        Kind::Command(command) => command.jobs.len(),
        _ => 0,
    }
}

struct Run<'a> {
    host: &'a Host,
    options: &'a Options,
    stage: Stage,
    on: &'a mut dyn FnMut(Event<'_>),
    rows: Vec<Row>,
    number: usize,
    total: usize,
    outcomes: BTreeMap<StepId, Outcome>,
}

impl Run<'_> {
    fn may_go(&self, graph: &Graph, id: StepId, step: &Step) -> bool {
        let needs = graph.needs(id).iter();
        step.goes_ahead(
            needs.map(|need| (*need, self.outcomes.get(&need.step).copied().unwrap_or(Outcome::NotRun))),
        )
    }

    async fn step(&mut self, pipeline: &Pipeline, id: StepId, step: &Step, free: bool) -> Result<(), Error> {
        let outcome = match &step.kind {
            _ if !free => Outcome::NotRun,
            _ if self.is_skipped(pipeline, step) => {
                self.total -= jobs(step);
                Outcome::Passed
            }
            Kind::Command(_) if step.skip.is_some() => Outcome::Passed,
            Kind::Command(command) => {
                let mut outcome = Outcome::Passed;
                for (job, planned) in command.jobs.iter().zip(planned(pipeline, step)) {
                    let performed = self.job(step, job, &planned).await?;
                    if !performed && !job.soft_fail.forgives(1) {
                        outcome = Outcome::Failed;
                    }
                }
                outcome
            }
            Kind::Block | Kind::Input | Kind::Trigger { .. } => {
                (self.on)(Event::Note(format!(
                    "{step} is passed over: a rehearsal asks nobody and triggers nothing"
                )));
                Outcome::Passed
            }
            Kind::Wait { .. } | Kind::Group(_) => Outcome::Passed,
        };
        if let (Outcome::NotRun, Kind::Command(_)) = (outcome, &step.kind) {
            self.rows.push(Row { name: name(step, None), performed: None, skipped: false });
        }
        self.outcomes.insert(id, outcome);
        Ok(())
    }

    async fn job(&mut self, step: &Step, job: &pipeline::Job, planned: &Job) -> Result<bool, Error> {
        self.number += 1;
        let name = planned.name.clone();
        (self.on)(Event::Job { name: &name, number: self.number, of: self.total });
        self.notes(step, job);
        let build = &self.options.build;
        let performed = perform(self.host, &self.stage, build, self.number, planned, self.on).await?;
        (self.on)(Event::Ended(&performed));
        let passed = performed.passed();
        self.rows.push(Row { name, performed: Some(performed), skipped: false });
        Ok(passed)
    }

    fn notes(&mut self, step: &Step, job: &pipeline::Job) {
        for plugin in job.plugins.iter().filter(|plugin| !plugin.is_ours()) {
            (self.on)(Event::Note(format!("plugin `{}` is not run in a rehearsal", plugin.source)));
        }
        if let Some(text) = &step.branches {
            (self.on)(Event::Note(format!("`branches: {text}` is not evaluated in a rehearsal")));
        }
    }
}

fn name(step: &Step, label: Option<&str>) -> String {
    let own = step.key.as_deref().or(label).or(step.label.as_deref());
    own.map_or_else(|| step.to_string(), str::to_owned)
}
