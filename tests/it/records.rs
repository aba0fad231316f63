//! `records`: what is below a folder, and its views, judged by the schemas of those whose formats they are.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::components::{find, not_run};
use crate::support::documents::root;
use crate::support::hooks::{Stage, aws, files};

/// A host on which one job passed, one failed, and one was refused.
fn host() -> Stage {
    let mut stage = Stage::new();
    for status in [0, 1] {
        assert_eq!(stage.hook("pre-command").status, 0);
        stage.command_ended(status);
        assert_eq!(stage.hook("post-command").status, 0);
        stage.block = aws(&json!({"duration": "30m"}));
    }
    stage.block = aws(&json!({"duration": "31m"}));
    stage.config["aws"]["allowed-accounts"] = json!(["210987654321"]);
    assert_eq!(stage.hook("pre-command").status, 103);
    stage
}

fn records(stage: &Stage, arguments: &[&str]) -> Output {
    let folder = stage.folder.path().join("records");
    let (command, more) = arguments.split_first().unwrap();
    stage.program(&["records", command, folder.to_str().unwrap()]).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn exported(stage: &Stage, format: &str) -> Vec<Value> {
    let output = records(stage, &["export", "--format", format]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn accepted(format: &str, events: &[Value]) {
    let Some(python) = find("venv/bin/python") else { return };
    let specs = root().join("../shared/specs");
    if !specs.is_dir() {
        return not_run(&format!("the published schemas of {format} are not at {}", specs.display()));
    }
    let mut check = std::process::Command::new(python)
        .arg(root().join("tests/real/events_check.py"))
        .arg(format)
        .arg(specs)
        .arg(root().join("schemas/openlineage.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    for event in events {
        writeln!(input, "{event}").unwrap();
    }
    drop(input);
    let ended = check.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}{}", text(&ended.stdout), text(&ended.stderr));
    assert_eq!(text(&ended.stdout), format!("{} events\n", events.len()));
}

#[test]
fn a_job_of_several_blocks_is_one_run_with_one_start_and_one_end() {
    let stage = host();
    let events = exported(&stage, "openlineage");
    // All blocks are of one job here: it was refused.
    let kinds: Vec<_> = events.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["START", "FAIL"]);
    let runs: Vec<_> = events.iter().map(|event| &event["run"]["runId"]).collect();
    assert_eq!(runs[0], runs[1]);
    let leases = |event: &Value| event["run"]["facets"]["buildkiteDataflow_access"]["leases"].clone();
    assert_eq!(leases(&events[0]).as_array().unwrap().len(), 2);
    assert!(leases(&events[0])[0].get("settlement").is_none());
    assert_eq!(leases(&events[1])[0]["settlement"], "expires");
    let message = events[1]["run"]["facets"]["errorMessage"]["message"].as_str().unwrap();
    assert!(message.contains("does not lend"), "{message}");
}

#[test]
fn openlineage_events_are_as_the_published_schema_wants_them() {
    accepted("openlineage", &exported(&host(), "openlineage"));
}

#[test]
fn cdevents_are_as_the_published_schemas_want_them() {
    accepted("cdevents", &exported(&host(), "cdevents"));
}

#[test]
fn ndjson_is_the_links_themselves() {
    let stage = host();
    let links = exported(&stage, "ndjson");
    assert_eq!(links.len(), files(&stage.folder.path().join("records")).len());
    assert!(links.iter().all(|link| link["schema"] == "urn:buildkite-dataflow:record:1"));
}

#[test]
fn a_person_sees_which_jobs_there_are_and_what_one_was_lent() {
    let stage = host();
    let list = text(&records(&stage, &["list"]).stdout);
    assert!(list.starts_with("BEGAN ") && list.lines().count() == 2 && list.contains(" refused "), "{list}");
    let shown = text(&records(&stage, &["show"]).stdout);
    for part in
        ["result     refused", "lent       aws `arn:aws:sts::123456789012:assumed-role/", "(verified)"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn what_cannot_be_believed_is_told_and_the_rest_is_shown() {
    let stage = host();
    let paths = files(&stage.folder.path().join("records"));
    let end = paths.iter().find(|path| path.to_string_lossy().ends_with("1-end.json")).unwrap();
    let changed = std::fs::read_to_string(end).unwrap().replace("\"sequence\":1", "\"sequence\":7");
    std::fs::write(end, changed).unwrap();
    let output = records(&stage, &["list"]);
    assert_eq!(output.status.code(), Some(109));
    assert!(text(&output.stderr).contains("[records-broken]"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
}

#[test]
fn a_folder_without_records_and_a_job_without_one_are_told() {
    let stage = host();
    let output = records(&stage, &["show", "--job", "00000000-0000-4000-8000-000000000000"]);
    assert_eq!(output.status.code(), Some(102));
    assert!(text(&output.stderr).contains("[records-unreadable]"), "{}", text(&output.stderr));
    let empty = tempfile::tempdir().unwrap();
    let output = stage.program(&["records", "list", empty.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(102));
}
