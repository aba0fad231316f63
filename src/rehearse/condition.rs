//! Whether the `if` of a step lets it run in this build.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::job::{Build, Job};
use super::plan::name;
use super::run::Run;
use super::{Event, Row};
use dataflow_host::Env;
use dataflow_job::situation::Situation;
use dataflow_pipeline::condition::Condition;
use dataflow_pipeline::{Kind, Step};
use dataflow_types::claims::Claims;

/// What became of a condition.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The step runs.
    Runs,
    /// It does not.
    Skipped,
    /// It runs, for a rehearsal cannot tell; and why not.
    Unknown(String),
}

/// What `condition` says of `step`, in this build and with the pipeline's variables.
fn verdict(condition: &str, step: &Step, build: &Build, env: &BTreeMap<String, String>) -> Verdict {
    let condition = match Condition::parse(condition) {
        Ok(condition) => condition,
        Err(error) => return Verdict::Unknown(error.to_string()),
    };
    if let Err(unknown) = condition.in_a_job() {
        return Verdict::Unknown(unknown);
    }
    let claims = json!({
        "organization_slug": build.organization, "pipeline_slug": build.pipeline, "build_number": 1,
        "build_branch": build.branch, "build_tag": null, "build_commit": build.commit, "build_source": "ui",
        "step_key": step.key,
    });
    let claims = Claims::new(match claims {
        Value::Object(claims) => claims,
        _ => serde_json::Map::new(),
    });
    let env = Env::of(Job::upload_variables(build).into_iter().chain(env.clone()));
    match condition.holds(&Situation::of(&claims, &env)) {
        Ok(true) => Verdict::Runs,
        Ok(false) => Verdict::Skipped,
        Err(error) => Verdict::Unknown(error.to_string()),
    }
}

impl Run<'_> {
    /// Whether the step's own `if` is false. A step that was named runs all the same.
    pub(super) fn is_skipped(&mut self, step: &Step) -> bool {
        let Some(text) = &step.condition else { return false };
        let note = match verdict(text, step, &self.options.build, &self.pipeline.env) {
            Verdict::Runs => return false,
            Verdict::Unknown(why) => format!("`if: {text}` is not evaluated: {why}"),
            Verdict::Skipped if !self.options.steps.is_empty() => {
                format!("`if: {text}` is false, and {step} runs because it was named")
            }
            Verdict::Skipped => {
                (self.on)(Event::Note(format!("{step} is skipped: `if: {text}` is false")));
                if let Kind::Command(_) = &step.kind {
                    self.rows.push(Row::idle(name(step, None), true));
                }
                return true;
            }
        };
        (self.on)(Event::Note(note));
        false
    }
}
