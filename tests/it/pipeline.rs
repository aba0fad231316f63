//! Our reading of a pipeline against the agent's own, as `pipeline upload --dry-run` prints it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use buildkite_dataflow::pipeline::interpolate::{Variables, expand};
use buildkite_dataflow::pipeline::{Dependencies, Job, Kind, Pipeline, Step, plugin};
use serde_json::{Value, json};

use crate::support::components;

fn variables() -> Variables {
    let pairs =
        [("NAME", "value"), ("EMPTY", ""), ("COMMIT", "4f1c0ffee0123"), ("COUNT", "2"), ("ACCENT", "aéz")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn agent() -> Option<PathBuf> {
    components::find("buildkite-agent-v3")
}

fn upload(agent: &Path, file: &Path) -> Output {
    let arguments = ["pipeline", "upload", "--dry-run", "--format", "json", "--agent-access-token", "none"];
    Command::new(agent).args(arguments).arg(file).env_clear().envs(variables()).output().unwrap()
}

/// What the agent makes of a text, or why it refuses it.
fn uploaded(agent: &Path, text: &str) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yml");
    fs::write(&file, text).unwrap();
    let output = upload(agent, &file);
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Everything that a step says, but for where it says it.
fn step(step: &Step) -> Value {
    let kind = match &step.kind {
        Kind::Command(command) => json!({
            "jobs": command.jobs.iter().map(job).collect::<Vec<_>>(),
            "artifacts": command.artifact_paths,
            "parallelism": command.parallelism,
            "seconds": command.timeout.map(|timeout| timeout.as_secs()),
        }),
        Kind::Group(members) => members.iter().map(self::step).collect(),
        other => json!(format!("{other:?}")),
    };
    let depends_on = match &step.depends_on {
        Dependencies::Implicit => Value::Null,
        Dependencies::Explicit(list) => list.iter().map(|d| json!([d.key, d.allow_failure])).collect(),
    };
    json!({
        "key": step.key, "label": step.label, "kind": kind, "depends_on": depends_on, "if": step.condition,
        "branches": step.branches, "allow": step.allow_dependency_failure, "skip": step.skip,
    })
}

fn job(job: &Job) -> Value {
    json!({
        "label": job.label, "command": job.command, "env": job.env, "plugins": plugin::to_json(&job.plugins),
        "agents": job.agents, "matrix": job.matrix, "soft_fail": format!("{:?}", job.soft_fail),
    })
}

/// What the agent prints of the command steps without a matrix, and what we have in its place.
fn side_by_side(ours: &Pipeline, theirs: &Value) -> Vec<(Value, Value)> {
    let inside = |step: &Value| step.get("group").map(|_| step["steps"].as_array().unwrap().clone());
    let printed = theirs["steps"].as_array().unwrap().iter();
    let printed: Vec<Value> =
        printed.flat_map(|step| inside(step).unwrap_or_else(|| vec![step.clone()])).collect();
    let walked: Vec<_> = ours.walk().map(|(_, step)| step).collect();
    assert_eq!(printed.len(), walked.len());
    let mut pairs = Vec::new();
    for (printed, step) in printed.iter().zip(walked) {
        let Kind::Command(command) = &step.kind else { continue };
        let [job] = command.jobs.as_slice() else { continue };
        let own = |name: &str| printed.get(name).cloned().unwrap_or_default();
        let or_none =
            |value: Value| if value == json!([]) || value == json!({}) { Value::Null } else { value };
        let printed = ["key", "label", "command", "env", "plugins"].map(|name| or_none(own(name)));
        let env = or_none(json!(job.env));
        let plugins = or_none(plugin::to_json(&job.plugins));
        pairs.push((json!([step.key, step.label, job.command, env, plugins]), json!(printed)));
    }
    pairs
}

#[track_caller]
fn agrees(name: &str) {
    let Some(agent) = agent() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/pipelines").join(name);
    let text = fs::read_to_string(&file).unwrap();
    let theirs = uploaded(&agent, &text).unwrap();
    let ours = Pipeline::parse(&text, Some(&variables())).unwrap();
    let env: BTreeMap<String, Value> = ours.env.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    assert_eq!(json!(env), theirs.get("env").cloned().unwrap_or(json!({})));
    for (ours, theirs) in side_by_side(&ours, &theirs) {
        assert_eq!(ours, theirs);
    }
    let again = Pipeline::parse(&theirs.to_string(), None).unwrap();
    assert_eq!(ours.steps.len(), again.steps.len());
    for (ours, again) in ours.steps.iter().zip(&again.steps) {
        assert_eq!(step(ours), step(again));
    }
}

#[test]
fn scalars_become_the_texts_that_the_agent_uploads() {
    agrees("scalars.yml");
}

#[test]
fn of_two_spellings_the_agents_choice_wins() {
    agrees("aliases.yml");
}

#[test]
fn a_list_of_steps_is_a_pipeline() {
    agrees("list.yml");
}

#[test]
fn anchors_and_merges_resolve_as_in_the_agent() {
    agrees("anchors.yml");
}

#[test]
fn dependencies_survive_the_upload() {
    agrees("depends.yml");
}

#[test]
fn a_list_of_plugins_is_uploaded_in_full() {
    agrees("plugins-list.yml");
}

#[test]
fn a_map_of_plugins_keeps_its_order() {
    agrees("plugins-map.yml");
}

#[test]
fn variables_of_the_pipeline_are_set_from_top_to_bottom() {
    agrees("env.yml");
}

#[test]
fn groups_survive_the_upload() {
    agrees("groups.yml");
}

#[test]
fn matrices_expand_alike_before_and_after_the_upload() {
    agrees("matrix.yml");
}

#[test]
fn results_times_and_files_survive_the_upload() {
    agrees("results.yml");
}

#[test]
fn json_is_a_pipeline_too() {
    agrees("json.json");
}

#[test]
fn every_pipeline_of_the_folder_is_compared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/pipelines");
    let source = include_str!("pipeline.rs");
    for file in fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("agrees(\"{name}\")")), "{name}");
    }
}

/// Variables that are set, empty, unset and not ASCII with every tail, and what is written without braces.
fn expressions() -> Vec<String> {
    let tails = include_str!("../scenarios/interpolation/tails.txt").lines();
    let braced = tails.flat_map(|tail| {
        ["NAME", "EMPTY", "NONE", "COMMIT", "ACCENT"].map(|name| format!("a${{{name}{tail}}}b"))
    });
    let plain = include_str!("../scenarios/interpolation/plain.txt").lines();
    braced.chain(plain.map(str::to_owned)).collect()
}

#[test]
fn every_form_of_interpolation_has_the_agents_result() {
    let Some(agent) = agent() else { return };
    let (accepted, refused): (Vec<_>, Vec<_>) = expressions()
        .into_iter()
        .map(|text| (expand(&text, &variables()), text))
        .partition(|(result, _)| result.is_ok());
    let named = |(at, (_, text)): (usize, &(_, String))| (format!("E{at:03}"), text.clone());
    let steps: BTreeMap<String, String> = accepted.iter().enumerate().map(named).collect();
    let theirs = uploaded(&agent, &json!([{ "command": "x", "env": steps }]).to_string()).unwrap();
    for (at, (result, text)) in accepted.iter().enumerate() {
        let theirs = &theirs["steps"][0]["env"][format!("E{at:03}")];
        assert_eq!(theirs.as_str(), result.as_deref().ok(), "{text}");
    }
    for (_, text) in refused {
        let theirs = uploaded(&agent, &json!([{ "command": text }]).to_string());
        assert!(theirs.is_err(), "the agent takes {text}: {theirs:?}");
    }
}
