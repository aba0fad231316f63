//! Lending once more to a step that runs: what SDKs and git call back for.

use std::process::Output;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use serde_json::{Value, json};

use crate::support::hooks::{ROLE, Stage};

fn lent() -> Stage {
    let mut stage = Stage::new();
    let aws = json!({"role": ROLE, "region": "eu-west-1"});
    stage.block = json!({"credentials": [{"name": "main", "refresh": true, "aws": aws}]});
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    stage
}

fn ask(stage: &Stage) -> Output {
    stage.program(&["credential-process", "main"]).output().unwrap()
}

#[track_caller]
fn keys(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// As if what was lent first ended soon.
fn forget(stage: &Stage) {
    let folder = stage.variable("DATAFLOW_BLOCK").unwrap();
    std::fs::remove_file(std::path::Path::new(&folder).join("main.kept")).unwrap();
}

#[track_caller]
fn ends(stage: &mut Stage) {
    stage.command_ended(0);
    let after = stage.hook("post-command");
    assert_eq!(after.status, 0, "{}", after.text);
    assert_eq!(stage.private_files().len(), 0);
    stage.nothing_left();
}

#[test]
fn the_first_callback_is_handed_what_was_lent_already() {
    let mut stage = lent();
    let answer = keys(&ask(&stage));
    let [issued] = stage.sandbox.sts().issued().try_into().unwrap();
    assert_eq!((&answer["Version"], &answer["AccessKeyId"]), (&json!(1), &json!(issued.access_key_id)));
    assert_eq!(answer["SecretAccessKey"], json!(issued.secret_access_key.expose()));
    ends(&mut stage);
}

#[test]
fn a_renewal_is_a_lease_of_the_same_journal_and_told_in_the_end() {
    let mut stage = lent();
    forget(&stage);
    let answer = keys(&ask(&stage));
    let [first, second] = stage.sandbox.sts().issued().try_into().unwrap();
    assert_ne!(first.access_key_id, second.access_key_id);
    assert_eq!(answer["AccessKeyId"], json!(second.access_key_id));
    assert!(stage.api.redacted(second.session_token.expose()).contains("[REDACTED]"));
    ends(&mut stage);
    let end = stage.records().pop().unwrap().end.unwrap();
    let [renewal] = end.renewals.as_slice() else { panic!("{:?}", end.renewals) };
    assert_eq!((renewal.request.as_str(), &renewal.handle), ("1+1", &second.access_key_id));
    let words: Vec<_> =
        end.settlements.iter().map(|one| (one.request.as_str(), one.settlement.word())).collect();
    assert_eq!(words, [("1", "expires"), ("1+1", "expires")]);
}

#[test]
fn what_is_found_in_a_renewal_is_told_in_the_end() {
    let mut stage = lent();
    forget(&stage);
    let answer = Response { cut: true, ..Response::json(200, &json!({})) };
    stage.sandbox.faults().order(Fault { path: "/".into(), times: 1, answer, after_acting: true });
    keys(&ask(&stage));
    ends(&mut stage);
    let end = stage.records().pop().unwrap().end.unwrap();
    let [lost] = end.findings.as_slice() else { panic!("{:?}", end.findings) };
    assert!(lost.ident == "answer-lost" && lost.what.contains("request 1+1"), "{lost:?}");
}

#[test]
fn callbacks_that_come_together_share_one_exchange() {
    let mut stage = lent();
    forget(&stage);
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let mut program = stage.program(&["credential-process", "main"]);
            program.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let answers: Vec<Value> =
        callers.into_iter().map(|caller| keys(&caller.wait_with_output().unwrap())).collect();
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    assert_eq!(stage.sandbox.sts().issued().len(), 2);
    ends(&mut stage);
}

#[test]
fn a_block_that_was_given_back_lends_nothing_more() {
    let mut stage = lent();
    let mut late = stage.program(&["credential-process", "main"]);
    ends(&mut stage);
    let output = late.output().unwrap();
    assert_eq!(output.status.code(), Some(102));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[not-renewed]"));
    assert_eq!(stage.sandbox.sts().issued().len(), 1);
}

#[test]
fn a_credential_that_may_not_be_renewed_is_not() {
    let mut stage = lent();
    let output = stage.program(&["credential-process", "other"]).output().unwrap();
    assert_eq!(output.status.code(), Some(102));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no credential `other`"));
    ends(&mut stage);
}

#[test]
fn the_hosts_policy_decides_a_renewal_again() {
    let mut stage = lent();
    forget(&stage);
    stage.config["step-requests"] = json!("grants-only");
    stage.write_config();
    let output = ask(&stage);
    assert_eq!(output.status.code(), Some(103), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stage.sandbox.sts().issued().len(), 1);
    ends(&mut stage);
}

#[test]
fn a_renewal_that_fails_says_why_and_the_lease_before_it_stays() {
    let mut stage = lent();
    forget(&stage);
    stage.fault("/", 1, crate::faults::sts_error(403, "AccessDenied", "Not authorized"));
    let output = ask(&stage);
    assert_eq!(output.status.code(), Some(105), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("token-rejected"));
    ends(&mut stage);
    let end = stage.records().pop().unwrap().end.unwrap();
    assert_eq!(end.settlements.len(), 2, "{:?}", end.settlements);
}

/// A step on `branch` with a grant of two roles of which it may have one.
fn lent_by_grant() -> Stage {
    let mut stage = Stage::new();
    let one = |name: &str, role: &str, condition: &str| {
        json!({"name": name, "refresh": true, "export": false, "if": condition,
            "aws": {"role": role, "region": "eu-west-1", "profile": name}})
    };
    let other = format!("{ROLE}-other");
    stage.config["grants"] = json!([{"name": "g", "claims": {"pipeline_slug": "web"}, "credentials": [
        one("main", ROLE, "build.branch == 'main'"),
        one("release", &other, "build.branch == 'release'"),
        one("tagged", &other, "build.tag == 'v1'"),
        one("asked", &other, "build.env('ASKED') == 'yes'"),
    ]}]);
    stage.block = json!({"credentials": [{"grant": "g"}]});
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    stage
}

fn block_file(stage: &Stage) -> std::path::PathBuf {
    let folder = stage.variable("DATAFLOW_BLOCK").unwrap();
    std::path::Path::new(&folder).join("block.json")
}

/// Writes what callbacks may ask for as a step can: where all of it is said to be as the hook wrote it, the journal too.
fn edit(stage: &Stage, edit: impl Fn(&mut Value), with_the_journal: bool) {
    let path = block_file(stage);
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut file);
    std::fs::write(&path, file.to_string()).unwrap();
    if with_the_journal {
        let journal = stage.open_journals().pop().unwrap();
        let text = std::fs::read_to_string(&journal).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| !line.contains(r#""entry":"asked""#));
        std::fs::write(&journal, lines.collect::<String>()).unwrap();
    }
}

#[test]
fn no_edit_of_what_was_asked_lends_what_a_condition_refused() {
    for with_the_journal in [false, true] {
        let stage = lent_by_grant();
        edit(&stage, |file| drop(file.as_object_mut().unwrap().remove("parts")), with_the_journal);
        for name in ["release", "tagged", "asked"] {
            let mut asking = stage.program(&["credential-process", name]);
            let output = asking.env("ASKED", "yes").env("BUILDKITE_BRANCH", "release").output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && text.contains("error[not-renewed]"), "{name}: {text}");
        }
        assert_eq!(stage.sandbox.sts().issued().len(), 1);
    }
}

#[test]
fn no_edit_of_what_was_asked_lends_another_role() {
    for with_the_journal in [false, true] {
        let mut stage = Stage::new();
        let aws = json!({"role": ROLE, "region": "eu-west-1"});
        stage.block = json!({"credentials": [{"name": "main", "refresh": true, "aws": aws}]});
        assert_eq!(stage.hook("pre-command").status, 0);
        let other = |file: &mut Value| {
            file["credentials"][0]["aws"]["role"] = json!(format!("{ROLE}-strict"));
            file["credentials"][0]["name"] = json!("another");
        };
        edit(&stage, other, with_the_journal);
        let output = stage.program(&["credential-process", "another"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("error[not-renewed]") && text.contains("did not ask for"), "{text}");
        assert_eq!(stage.sandbox.sts().issued().len(), 1);
    }
}

#[test]
fn what_the_environment_answered_at_the_start_is_renewed_whatever_the_environment_is_now() {
    let mut stage = Stage::new();
    stage.set("WANTED", "yes");
    let aws = json!({"role": ROLE, "region": "eu-west-1"});
    let credential =
        json!({"name": "main", "refresh": true, "if": "build.env('WANTED') == 'yes'", "aws": aws});
    stage.config["grants"] =
        json!([{"name": "g", "claims": {"pipeline_slug": "web"}, "credentials": [credential]}]);
    stage.block = json!({"credentials": [{"grant": "g"}]});
    assert_eq!(stage.hook("pre-command").status, 0);
    forget(&stage);
    let mut asking = stage.program(&["credential-process", "main"]);
    keys(&asking.env_remove("WANTED").output().unwrap());
    ends(&mut stage);
}
