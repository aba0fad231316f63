//! Steps that a job adds to its own build: `buildkite-agent pipeline upload`.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::error::Error;
use super::interpolate::Variables;
use super::place::Path;
use super::{Kind, Pipeline, Step, StepId, read, tree};

/// Where an upload stands in the pipeline that it was added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its first step.
    pub first: StepId,
    /// How many steps it has.
    pub count: usize,
}

impl Added {
    /// What a step that was there before is called now.
    pub fn moved(self, id: StepId) -> StepId {
        if id < self.first { id } else { StepId(id.0 + self.count) }
    }

    /// Its steps.
    pub fn steps(self) -> impl Iterator<Item = StepId> {
        (self.first.0..self.first.0 + self.count).map(StepId)
    }
}

impl Pipeline {
    /// Adds an upload right behind the step that made it, or behind that step's group.
    pub fn add(&mut self, uploader: StepId, upload: Self) -> Added {
        let Self { env, mut steps, .. } = upload;
        let size = |step: &Step| match &step.kind {
            Kind::Group(members) => members.len(),
            _ => 1,
        };
        let (mut before, mut at) = (0, 0);
        for step in &self.steps {
            if before > uploader.0 {
                break;
            }
            before += size(step);
            at += 1;
        }
        for step in &mut steps {
            spread(step, &env);
        }
        let count = steps.iter().map(size).sum();
        self.steps.splice(at..at, steps);
        Added { first: StepId(before), count }
    }

    /// Every key of its steps and groups.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let groups = self.steps.iter().filter(|step| matches!(step.kind, Kind::Group(_)));
        groups.chain(self.walk().map(|(_, step)| step)).filter_map(|step| step.key.as_deref())
    }
}

/// Gives the upload's variables to each of its jobs, which may have others of the same name.
fn spread(step: &mut Step, env: &BTreeMap<String, String>) {
    match &mut step.kind {
        Kind::Command(command) => {
            for job in &mut command.jobs {
                let own = std::mem::replace(&mut job.env, env.clone());
                job.env.extend(own);
            }
        }
        Kind::Group(members) => members.iter_mut().for_each(|member| spread(member, env)),
        _ => {}
    }
}

/// A pipeline as `pipeline upload` sends it: its variables replaced, as YAML.
pub fn written(text: &str, variables: Option<&Variables>) -> Result<String, Error> {
    // Read first as a whole, so that what is wrong in it is told with its place.
    Pipeline::parse(text, variables)?;
    let whole = || {
        let document = match tree::read(text)? {
            list @ Value::Sequence(_) => Mapping::from_iter([("steps".into(), list)]),
            Value::Mapping(map) => map,
            _ => Mapping::new(),
        };
        read::replaced(document, variables)
    };
    let document = whole().map_err(|wrong| wrong.located(text))?;
    serde_yaml::to_string(&document).map_err(|error| {
        super::error::Wrong { path: Path::default(), problem: super::Problem::Yaml(error) }.located(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Pipeline {
        Pipeline::parse(text, None).unwrap()
    }

    #[test]
    fn an_upload_stands_behind_its_uploader_or_the_uploaders_group() {
        let keys = |pipeline: &Pipeline| {
            pipeline.walk().filter_map(|(_, step)| step.key.clone()).collect::<Vec<_>>().join(" ")
        };
        let mut pipeline = parsed(
            "[{key: a, command: x}, {group: g, steps: [{key: b, command: x}, {key: c, command: x}]}, {key: d, command: x}]",
        );
        let added = pipeline.add(StepId(1), parsed("[{key: e, command: x}, {key: f, command: x}]"));
        assert_eq!(keys(&pipeline), "a b c e f d");
        assert_eq!(
            (added.first, added.count, added.moved(StepId(3)), added.moved(StepId(2))),
            (StepId(3), 2, StepId(5), StepId(2))
        );
        pipeline.add(StepId(0), parsed("[{key: g, command: x}]"));
        assert_eq!(keys(&pipeline), "a g b c e f d");
    }

    #[test]
    fn what_is_uploaded_means_the_same_when_it_is_read_again() {
        let variables = Variables::from([("WHO".to_owned(), "world".to_owned())]);
        let text = "env: {A: $WHO}\nsteps:\n  - command: echo $A $$HOME\n    plugins: [{'b#v1': {x: $WHO}}, 'a#v1']\n";
        let sent = written(text, Some(&variables)).unwrap();
        assert_eq!(parsed(&sent).steps, Pipeline::parse(text, Some(&variables)).unwrap().steps);
    }
}
