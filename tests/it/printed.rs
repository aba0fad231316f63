//! Whatever others wrote comes out on one line that steers no terminal and no log.

use std::process::{Command, Output};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::lease::entry::Entry;
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::secret::Secret;
use serde_json::json;

use crate::journals::forged;
use crate::support::agent::TOKEN;
use crate::support::hooks::{JOB, ROLE, Stage, aws, claims, files};
use crate::support::survivors::lease;

/// What Buildkite's log and a terminal obey, and what hides or turns words.
const EVIL: &str = "x\u{1b}]1338;url='https://evil.test';content=ok\u{7}\u{1b}_bk;t=1\u{7}\n+++ forged\r\n--- forged\u{9b}2J\u{85}\
    \u{202e}txet\u{2066}\u{61c}\u{200b}\u{feff}\u{2028}~~~ forged\u{2029}^^^ +++\u{7f}\u{8}end";

/// Nothing in these bytes acts, and no line is a forged one.
#[track_caller]
pub(crate) fn does_nothing(printed: &[u8]) {
    let text = std::str::from_utf8(printed).unwrap();
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    assert_eq!(text.chars().find(|c| acts(*c)), None, "in {text:?}");
    for line in text.lines() {
        let group = ["---", "+++", "~~~", "^^^"].iter().any(|mark| line.starts_with(mark));
        assert!(!group || line == "^^^ +++", "a line of the log's own: {line}");
    }
}

#[track_caller]
fn plain(output: &Output) -> String {
    does_nothing(&output.stdout);
    does_nothing(&output.stderr);
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// The same, and the words themselves are told.
#[track_caller]
fn tells(output: &Output) {
    let text = plain(output);
    assert!(text.contains("\\u{1b}") && text.contains("forged"), "{text}");
}

fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.config["log"] = json!("debug");
    stage
}

#[test]
fn the_claims_of_a_token_are_printed_plain() {
    let mut stage = stage();
    let mut claims = claims();
    claims.claims.insert("build_branch".into(), json!(EVIL));
    claims.claims.insert("step_key".into(), json!(EVIL));
    stage.sandbox.agent().add(Job { id: JOB.into(), token: Secret::new(TOKEN), claims, env: [].into() });
    stage.block = aws(&json!({"role": format!("{ROLE}-strict")}));
    stage.write_config();
    let output = stage.command("pre-command").output().unwrap();
    assert_eq!(output.status.code(), Some(105));
    tells(&output);
}

#[test]
fn what_a_provider_says_is_printed_plain() {
    let mut stage = stage();
    let vault =
        json!({"address": stage.sandbox.provider_url("vault"), "role": "train", "export-token": true});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.block = json!({"credentials": [{ "vault": vault }]});
    stage.prepare();
    stage.fault("/login", 999, Response::json(400, &json!({"errors": [EVIL]})));
    stage.write_config();
    let output = stage.command("pre-command").output().unwrap();
    assert_eq!(output.status.code(), Some(105));
    plain(&output);
}

#[test]
fn what_a_config_holds_is_printed_plain() {
    for block in [
        json!({(EVIL): 1}),
        aws(&json!({"role": EVIL})),
        aws(&json!({"region": EVIL})),
        json!({"inputs": [EVIL]}),
    ] {
        let mut stage = stage();
        stage.block = block;
        stage.write_config();
        let output = stage.command("pre-command").output().unwrap();
        assert_eq!(output.status.code(), Some(102));
        plain(&output);
    }
    for (key, value) in [("mode", json!(EVIL)), (EVIL, json!(1)), ("state-directory", json!(EVIL))] {
        let mut stage = stage();
        stage.config.as_object_mut().unwrap().insert(key.into(), value);
        stage.write_config();
        plain(&stage.command("pre-command").output().unwrap());
        plain(&stage.sweeping().output().unwrap());
    }
}

#[test]
fn a_forged_journal_is_swept_with_plain_words() {
    let stage = stage();
    stage.write_config();
    let mut evil = lease("vault", "hvs.the-handle-of-somebody", &[("address", EVIL)]);
    evil.principal = EVIL.into();
    evil.provider = EVIL.into();
    forged(&stage, vec![Entry::Leased(evil), Entry::Found { ident: EVIL.into(), what: EVIL.into() }]);
    tells(&stage.sweeping().output().unwrap());
}

#[test]
fn a_forged_record_is_told_to_an_operator_in_plain_words() {
    let mut stage = stage();
    assert_eq!(stage.hook("pre-command").status, 0);
    for path in files(&stage.folder.path().join("records")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let evil = serde_json::to_string(EVIL).unwrap();
        let evil = evil.trim_matches('"');
        let text = text.replace("assumed-role/deploy", &format!("assumed-role/deploy{evil}"));
        std::fs::write(&path, text.replace(r#""aws""#, &format!(r#""aws{evil}""#))).unwrap();
    }
    let records = stage.folder.path().join("records").display().to_string();
    for command in ["deny", "revoke"] {
        for job in [JOB, EVIL] {
            let mut program = stage.program(&[command, "--records", &records, "--job", job]);
            program.env("VAULT_ADDR", stage.sandbox.provider_url("vault")).env("VAULT_TOKEN", "hvs.operator");
            program.env("AWS_ACCESS_KEY_ID", "AKIA").env("AWS_SECRET_ACCESS_KEY", "secret-of-the-operator");
            if command == "deny" {
                program.args(["--dry-run", "--operator", "arn:aws:iam::123456789012:user/operator"]);
            }
            plain(&program.output().unwrap());
        }
    }
}

#[test]
fn arguments_are_repeated_in_plain_words() {
    let stage = stage();
    stage.write_config();
    for arguments in [
        &[EVIL][..],
        &["token", EVIL],
        &["token", "--block", EVIL, "main"],
        &["git-credential", "--block", EVIL, "main", EVIL],
        &["credential-process", EVIL],
        &["deny", EVIL],
        &["deny", "--records", EVIL, "--job", EVIL],
        &["deny", "--records", "/r", "--job", "j", "--least", EVIL],
        &["revoke", "--records", EVIL, "--job", EVIL],
        &["rehearse", EVIL],
        &["rehearse", "--step", EVIL, "examples/pipeline.yml"],
        &["sweep", "--key", EVIL],
        &["--help"],
        &["deny", "--help"],
    ] {
        let output = stage.program(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        plain(&output);
    }
}

#[test]
fn what_a_rehearsed_step_is_called_and_prints_is_plain() {
    let folder = tempfile::tempdir().unwrap();
    let label = serde_json::to_string(&format!("--- {EVIL}")).unwrap();
    let print = serde_json::to_string(&format!("printf '%b' {}", json!(EVIL))).unwrap();
    let pipeline = format!(
        "steps:\n  - label: {label}\n    key: a\n    command: {print}\n  - {{label: {label}, command: 'false'}}\n"
    );
    std::fs::write(folder.path().join("pipeline.yml"), pipeline).unwrap();
    let mut rehearse = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    rehearse.args(["rehearse", "pipeline.yml", "--branch", EVIL]).current_dir(folder.path());
    plain(&rehearse.output().unwrap());
    std::fs::write(
        folder.path().join(format!("{}.yml", EVIL.replace('/', ""))),
        "steps: [{command: 7, x: [}",
    )
    .unwrap();
    let named = format!("{}.yml", EVIL.replace('/', ""));
    let mut rehearse = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    plain(&rehearse.args(["rehearse", &named]).current_dir(folder.path()).output().unwrap());
}
