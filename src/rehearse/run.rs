//! The steps of a pipeline, one after the other, each as soon as what it waits for is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::job::Job;
use super::perform::perform;
use super::plan::{idle, planned, suspicious, uploads};
use super::stage::Stage;
use super::{Error, Event, Options, Row, input, misread, trusted};
use dataflow_host::Host;
use dataflow_host::interrupts::Interrupts;
use dataflow_pipeline::upload::Added;
use dataflow_pipeline::{self as pipeline, Graph, Kind, Need, Outcome, Pipeline, Step, StepId};

/// Rehearses a pipeline and gives an account of every job.
pub async fn rehearse(
    (host, interrupts): (&Host, &Interrupts),
    options: &Options,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Row>, Error> {
    let path = host.cwd.join(&options.pipeline);
    let text = input::text(&path)?;
    let wrong = |source| Error::Pipeline { path: options.pipeline.clone(), source };
    let pipeline = Pipeline::parse(&text, Some(&Job::upload_variables(&options.build))).map_err(wrong)?;
    let pipeline = pipeline.with_steps().map_err(wrong)?;
    let graph = if uploads(&pipeline) { Graph::of_growing(&pipeline) } else { Graph::of(&pipeline) };
    let graph = graph.map_err(wrong)?;
    let mut chosen = BTreeSet::new();
    for key in &options.steps {
        chosen.extend(pipeline.named(key).map_err(|unknown| Error::no_step(&options.pipeline, unknown))?);
    }
    let left: Vec<StepId> = pipeline.walk().map(|(id, _)| id).collect();
    let left: Vec<StepId> = left.into_iter().filter(|id| chosen.is_empty() || chosen.contains(id)).collect();
    let wanted = pipeline.walk().filter(|(id, _)| left.contains(id));
    let jobs: Vec<Job> = wanted.flat_map(|(_, step)| planned(&pipeline.env, step)).collect();
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
    stage.sandbox.agent().know(pipeline.keys());
    let total = jobs.len();
    let (outcomes, added, named) = (BTreeMap::new(), Vec::new(), !chosen.is_empty());
    let mut run = Run {
        host,
        interrupts,
        options,
        stage,
        on,
        rows: Vec::new(),
        number: 0,
        total,
        pipeline,
        graph,
        left,
        outcomes,
        added,
        named,
    };
    run.all().await?;
    Ok(run.rows)
}

pub(super) struct Run<'a> {
    host: &'a Host,
    interrupts: &'a Interrupts,
    pub(super) options: &'a Options,
    stage: Stage,
    pub(super) on: &'a mut dyn FnMut(Event<'_>),
    pub(super) rows: Vec<Row>,
    number: usize,
    total: usize,
    pub(super) pipeline: Pipeline,
    graph: Graph,
    /// What has not come to its end, in the order of the text.
    left: Vec<StepId>,
    outcomes: BTreeMap<StepId, Outcome>,
    /// Steps that were uploaded, each with the step that uploaded it.
    added: Vec<(StepId, StepId)>,
    /// Whether steps were named: these run whatever they wait for.
    named: bool,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        while let Some(at) = self.left.iter().position(|id| self.is_ready(*id)) {
            let id = self.left.remove(at);
            let Some(step) = self.pipeline.step(id).cloned() else { continue };
            let outcome = self.step(id, &step).await?;
            self.outcomes.insert(id, outcome);
            self.take_uploads(id, &step)?;
        }
        for id in std::mem::take(&mut self.left) {
            let Some(step) = self.pipeline.step(id) else { continue };
            let unmet = self.graph.unmet(id);
            if !unmet.is_empty() {
                let text = format!("{step} waits for `{}`, which no step is called", unmet.join("`, `"));
                (self.on)(Event::Note(text));
            }
            self.rows.extend(idle(step));
        }
        Ok(())
    }

    /// What a step waits for: a need of a step that uploaded others is a need of these too.
    fn needs(&self, id: StepId) -> Vec<Need> {
        let mut needs = self.graph.needs(id).to_vec();
        let mut next = 0;
        while let Some(need) = needs.get(next).copied() {
            let children = self.added.iter().filter(|(_, uploader)| *uploader == need.step);
            needs.extend(
                children.filter(|(child, _)| *child != id).map(|(step, _)| Need { step: *step, ..need }),
            );
            next += 1;
        }
        // An uploaded step waits for its uploader, and not for its siblings.
        let own = self.added.iter().filter(|(child, _)| *child == id);
        needs.extend(own.map(|(_, uploader)| Need { step: *uploader, allow_failure: false }));
        needs
    }

    fn is_ready(&self, id: StepId) -> bool {
        if self.named {
            return true;
        }
        if !self.graph.unmet(id).is_empty() {
            return false;
        }
        // The usual pipeline uploads nothing.
        if self.added.is_empty() {
            return self.graph.needs(id).iter().all(|need| self.outcomes.contains_key(&need.step));
        }
        self.needs(id).iter().all(|need| self.outcomes.contains_key(&need.step))
    }

    fn may_go(&self, id: StepId, step: &Step) -> bool {
        let needs = self.needs(id).into_iter();
        self.named
            || step.goes_ahead(
                needs.map(|need| (need, self.outcomes.get(&need.step).copied().unwrap_or(Outcome::NotRun))),
            )
    }

    async fn step(&mut self, id: StepId, step: &Step) -> Result<Outcome, Error> {
        if self.interrupts.times() > 0 || !self.may_go(id, step) {
            self.rows.extend(idle(step));
            return Ok(Outcome::NotRun);
        }
        if self.is_skipped(step) {
            self.total -= planned(&BTreeMap::new(), step).len();
            return Ok(Outcome::Passed);
        }
        match &step.kind {
            Kind::Command(_) if step.skip.is_some() => Ok(Outcome::Passed),
            Kind::Command(command) => self.command(step, command).await,
            Kind::Block | Kind::Input | Kind::Trigger { .. } => {
                (self.on)(Event::Note(format!(
                    "{step} is passed over: a rehearsal asks nobody and triggers nothing"
                )));
                Ok(Outcome::Passed)
            }
            Kind::Wait { .. } | Kind::Group(_) => Ok(Outcome::Passed),
        }
    }

    async fn command(&mut self, step: &Step, command: &pipeline::Command) -> Result<Outcome, Error> {
        let planned = planned(&self.pipeline.env, step);
        let times = planned.len() / command.jobs.len().max(1);
        let mut outcome = Outcome::Passed;
        for (at, planned) in planned.iter().enumerate() {
            let Some(job) = command.jobs.get(at / times.max(1)) else { continue };
            if self.interrupts.times() > 0 {
                self.rows.push(Row::idle(planned.name.clone(), false));
                outcome = Outcome::Failed;
                continue;
            }
            let row = self.job(step, job, planned).await?;
            if !row.went_well() {
                outcome = Outcome::Failed;
            }
            self.rows.push(row);
        }
        Ok(outcome)
    }

    async fn job(&mut self, step: &Step, job: &pipeline::Job, planned: &Job) -> Result<Row, Error> {
        self.number += 1;
        (self.on)(Event::Job { name: &planned.name, number: self.number, of: self.total });
        self.notes(step, job);
        self.misread(step, job);
        let with = (self.host, self.interrupts);
        let performed =
            perform(with, &self.stage, &self.options.build, self.number, planned, self.on).await?;
        (self.on)(Event::Ended(&performed));
        let (name, soft_fail) = (planned.name.clone(), job.soft_fail.clone());
        Ok(Row { name, performed: Some(performed), skipped: false, soft_fail })
    }

    /// Adds the steps that a step's jobs uploaded, each upload right behind that step.
    fn take_uploads(&mut self, uploader: StepId, step: &Step) -> Result<(), Error> {
        for upload in self.stage.sandbox.agent().take_uploads() {
            let wrong = |source| Error::Pipeline { path: format!("the upload of {step}").into(), source };
            let new = Pipeline::parse(&upload.text, None).map_err(wrong)?;
            if upload.replace {
                self.replaced();
            }
            let added = self.pipeline.add(uploader, new);
            self.graph = Graph::of_growing(&self.pipeline).map_err(wrong)?;
            self.renumber(added, uploader);
            let jobs: Vec<Job> = added
                .steps()
                .filter_map(|id| self.pipeline.step(id))
                .flat_map(|step| planned(&self.pipeline.env, step))
                .collect();
            self.total += jobs.len();
            suspicious(&jobs, self.on)?;
            for note in self.stage.prepare(self.host, &self.options.build, &jobs)? {
                (self.on)(Event::Note(note));
            }
            (self.on)(Event::Note(format!("{step} uploaded {} steps", added.count)));
        }
        Ok(())
    }

    /// What did not run yet is gone: the upload takes its place.
    fn replaced(&mut self) {
        for id in std::mem::take(&mut self.left) {
            self.outcomes.insert(id, Outcome::Passed);
            let rows = self.pipeline.step(id).and_then(idle).map(|row| Row { skipped: true, ..row });
            self.rows.extend(rows);
        }
    }

    fn renumber(&mut self, added: Added, uploader: StepId) {
        let moved = |id: StepId| added.moved(id);
        self.outcomes = std::mem::take(&mut self.outcomes)
            .into_iter()
            .map(|(id, outcome)| (moved(id), outcome))
            .collect();
        self.left.iter_mut().for_each(|id| *id = moved(*id));
        self.left.extend(added.steps());
        self.left.sort_unstable();
        self.added.iter_mut().for_each(|(child, parent)| (*child, *parent) = (moved(*child), moved(*parent)));
        self.added.extend(added.steps().map(|child| (child, moved(uploader))));
    }

    /// What is wrong in the step's blocks, where it stands; steps that were uploaded stand in another text.
    fn misread(&mut self, step: &Step, job: &pipeline::Job) {
        if !self.added.is_empty() {
            return;
        }
        let file = self.options.pipeline.display().to_string();
        for (at, plugin) in job.plugins.iter().enumerate().filter(|(_, plugin)| plugin.is_ours()) {
            for line in misread::in_pipeline(&file, &self.pipeline, step, at, plugin) {
                (self.on)(Event::Note(line));
            }
        }
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
