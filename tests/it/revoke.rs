//! `buildkite-dataflow revoke`: logins of Vault, taken back by an operator whom no job's host helps.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::record::{Kind, Link};
use buildkite_dataflow::rehearse::sandbox::vault::ROOT;
use buildkite_dataflow::secret::Fingerprint;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::hooks::{Ended, JOB, Stage, files};
use crate::support::{child, components};

const REVOKE: &str = "auth/token/revoke-accessor";
const LOOKUP: &str = "auth/token/lookup-accessor";

/// A job that was lent a login, and still runs.
fn running(more: &Value) -> Stage {
    let mut stage = Stage::new();
    let mut vault =
        json!({"address": stage.sandbox.provider_url("vault"), "role": "train", "export-token": true});
    vault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [{ "vault": vault }]});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.prepare();
    let ended = stage.hook("pre-command");
    assert_eq!((ended.status, living(&stage)), (0, 1), "{}", ended.text);
    stage
}

/// How many logins still work.
fn living(stage: &Stage) -> usize {
    let issued = stage.sandbox.provider("vault").unwrap().issued();
    issued.iter().filter(|one| one.what == "a token of Vault" && !one.revoked).count()
}

fn revoke_as(stage: &mut Stage, env: &[(&str, &str)], more: &[&str]) -> Ended {
    let records = stage.folder.path().join("records").display().to_string();
    let mut command = stage.program(&["revoke", "--records", &records, "--job", JOB]);
    let output = command.args(more).env_clear().envs(env.iter().copied()).output().unwrap();
    stage.ended(&output)
}

fn revoke(stage: &mut Stage, more: &[&str]) -> Ended {
    let address = stage.sandbox.provider_url("vault");
    revoke_as(stage, &[("VAULT_ADDR", &address), ("VAULT_TOKEN", ROOT)], more)
}

fn late(stage: &Stage) -> Vec<Link> {
    stage.records().into_iter().filter(|link| link.kind == Kind::Late).collect()
}

#[track_caller]
fn fails(ended: &Ended, status: i32, ident: &str, told: &str) {
    assert!(ended.text.contains(&format!("error[{ident}]")), "{}", ended.text);
    assert!(ended.status == status && ended.text.contains(told), "{}", ended.text);
}

#[test]
fn a_login_whose_host_is_gone_is_revoked_and_the_record_gets_a_late_link() {
    let mut stage = running(&json!({}));
    let ended = revoke(&mut stage, &["--host-gone"]);
    assert_eq!((ended.status, living(&stage)), (0, 0), "{}", ended.text);
    let accessor = stage.records()[0].start.as_ref().unwrap().leases[0].handle.clone();
    assert!(ended.text.contains(&format!("accessor `{accessor}`: revoked")), "{}", ended.text);
    let [link] = late(&stage).try_into().unwrap();
    let start = files(&stage.folder.path().join("records"));
    let start = start.iter().find(|path| path.to_string_lossy().ends_with("-start.json")).unwrap();
    assert_eq!(link.previous, Some(Fingerprint::of(&std::fs::read(start).unwrap())));
    let told = link.late.unwrap();
    assert!(matches!(told.settlements[0].settlement, Settlement::Revoked { .. }), "{told:?}");
    assert!(told.findings[0].ident == "login-revoked" && told.findings[0].what.contains(&accessor));
    // Once more changes nothing: the record knows.
    let again = revoke(&mut stage, &["--host-gone"]);
    assert!(again.status == 0 && again.text.contains("its record says revoked"), "{}", again.text);
    assert_eq!((late(&stage).len(), stage.sandbox.faults().asked(REVOKE)), (1, 1));
}

#[test]
fn what_lies_beside_a_record_stops_no_revocation() {
    let mut stage = running(&json!({}));
    let found = files(&stage.folder.path().join("records"));
    let start = found.iter().find(|path| path.to_string_lossy().ends_with(".0-start.json")).unwrap();
    let name = start.file_name().unwrap().to_string_lossy().replace(".0-start", ".1-end");
    nix::unistd::mkfifo(&start.with_file_name(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = revoke(&mut stage, &["--host-gone"]);
    fails(&ended, 108, "login-not-revoked", "regular file");
    assert_eq!((living(&stage), late(&stage).len()), (0, 0), "{}", ended.text);
    assert!(ended.text.contains("does not tell of this"), "{}", ended.text);
}

#[test]
fn a_record_without_a_login_says_so() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let ended = revoke(&mut stage, &[]);
    assert!(ended.status == 0 && ended.text.contains("no login of Vault was lent there"), "{}", ended.text);
}

#[test]
fn a_login_that_a_record_calls_over_is_revoked_where_the_operator_asks_for_all() {
    let mut stage = running(&json!({}));
    let found = files(&stage.folder.path().join("records"));
    let start = found.iter().find(|path| path.to_string_lossy().ends_with(".0-start.json")).unwrap();
    let mut link: Value = serde_json::from_slice(&std::fs::read(start).unwrap()).unwrap();
    link["start"]["leases"][0]["expires-at"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(start, link.to_string()).unwrap();
    let ended = revoke(&mut stage, &[]);
    assert!(ended.text.contains("ended at 2020-01-01") && living(&stage) == 1, "{}", ended.text);
    assert_eq!((revoke(&mut stage, &["--all"]).status, living(&stage)), (0, 0));
}

#[test]
fn hvac_is_refused_with_a_login_that_was_revoked() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = running(&json!({}));
    let token = stage.variable("VAULT_TOKEN").unwrap();
    let address = stage.sandbox.provider_url("vault");
    let knows = || {
        let script =
            "import hvac, sys\nprint(hvac.Client(url=sys.argv[1], token=sys.argv[2]).is_authenticated())";
        let command = child::command(&python, &["-c", script, &address, &token]);
        child::run(child::output(command, "")).stdout
    };
    assert_eq!(knows(), "True\n");
    assert_eq!(revoke(&mut stage, &[]).status, 0);
    assert_eq!(knows(), "False\n");
}

#[test]
fn a_record_that_its_host_goes_on_with_is_left_to_it() {
    let mut stage = running(&json!({}));
    let ended = revoke(&mut stage, &[]);
    assert!(ended.status == 0 && ended.text.contains("`--host-gone` writes it"), "{}", ended.text);
    assert_eq!((living(&stage), late(&stage).len()), (0, 0));
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    let end = stage.records().pop().unwrap().end.unwrap();
    // Nothing of the host's took it back.
    assert_eq!(end.settlements[0].settlement.word(), "already-expired");
    stage.nothing_left();
}

#[test]
fn a_login_that_was_left_is_revoked_in_a_record_that_is_closed() {
    let mut stage = running(&json!({}));
    stage.command_ended(0);
    stage.fault("auth/token/revoke-self", 999, Response::json(503, &json!({"errors": ["Vault is sealed"]})));
    stage.hook("post-command");
    stage.hook("pre-exit");
    // It failed, and the host tries again: the record is its own.
    assert!(revoke(&mut stage, &[]).text.contains("`--host-gone` writes it"));
    let mut left = Stage::new();
    let vault = json!({"address": left.sandbox.provider_url("vault"), "role": "train", "export-token": true});
    left.block = json!({"credentials": [{"vault": vault, "settle": "leave"}]});
    left.config["endpoints"] = json!([left.sandbox.url()]);
    left.prepare();
    left.hook("pre-command");
    left.command_ended(0);
    left.hook("post-command");
    assert_eq!(living(&left), 1);
    let ended = revoke(&mut left, &[]);
    assert_eq!((ended.status, living(&left), late(&left).len()), (0, 0, 1), "{}", ended.text);
    left.no_secret_anywhere();
}

#[test]
fn what_was_read_with_it_and_lives_on_is_told() {
    let secrets =
        json!({"secrets": [{"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"}]});
    let mut stage = running(&secrets);
    let ended = revoke(&mut stage, &["--host-gone"]);
    assert!(ended.text.contains("revoked-in-part: secret/data/train lives on"), "{}", ended.text);
}

#[test]
fn an_accessor_that_vault_does_not_know_is_told_as_that() {
    for answer in [
        Response::json(200, &json!({"data": null, "warnings": ["No token found with this accessor"]})),
        Response::json(400, &json!({"errors": ["invalid accessor"]})),
    ] {
        let mut stage = running(&json!({}));
        stage.fault(REVOKE, 999, answer);
        let ended = revoke(&mut stage, &["--host-gone"]);
        fails(&ended, 108, "login-not-revoked", "this Vault knows no login by it (");
        assert_eq!((living(&stage), late(&stage).len()), (1, 0));
    }
}

/// What Vault says of the login that the record names.
fn another(stage: &Stage, change: &Value) {
    let mut about = json!({"path": "auth/jwt/login", "meta": {"role": "train"},
        "creation_time": chrono::Utc::now().timestamp()});
    about.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    stage.fault(LOOKUP, 999, Response::json(200, &json!({ "data": about })));
}

#[test]
fn a_login_that_is_another_than_the_record_tells_is_left_alone() {
    for (change, told) in [
        (json!({"path": "auth/token/root", "meta": null}), "this Vault says `auth/token/root`, of "),
        (
            json!({"path": "auth/userpass/login/ann", "meta": {"username": "ann"}}),
            "`auth/userpass/login/ann`, of ",
        ),
        (json!({"meta": {"role": "deploy"}}), "`auth/jwt/login`, role `deploy`, of "),
        (json!({"creation_time": 1_000_000_000}), "role `train`, of 2001-09-09 01:46:40 UTC"),
    ] {
        let mut stage = running(&json!({}));
        another(&stage, &change);
        let ended = revoke(&mut stage, &["--host-gone"]);
        fails(&ended, 108, "login-not-revoked", told);
        assert!(ended.text.contains("it is left alone"), "{}", ended.text);
        assert_eq!((living(&stage), late(&stage).len(), stage.sandbox.faults().asked(REVOKE)), (1, 0, 0));
    }
    let mut stage = running(&json!({}));
    another(&stage, &json!({}));
    assert_eq!((revoke(&mut stage, &[]).status, living(&stage)), (0, 0));
}

#[test]
fn a_vault_that_does_not_tell_whose_login_it_is_revokes_nothing() {
    for (answer, told) in [
        (
            Response::json(403, &json!({"errors": ["permission denied"]})),
            "and on `auth/token/lookup-accessor`",
        ),
        (Response::json(400, &json!({"errors": ["invalid accessor"]})), "this Vault knows no login by it ("),
        (Response::json(200, &json!({"data": null})), "200 OK to the question whose login it is"),
        (Response::new(200, "text/html", "<html>"), "accessor `"),
    ] {
        let mut stage = running(&json!({}));
        stage.fault(LOOKUP, 999, answer);
        fails(&revoke(&mut stage, &[]), 108, "login-not-revoked", told);
        assert_eq!((living(&stage), stage.sandbox.faults().asked(REVOKE)), (1, 0));
    }
}

#[test]
fn an_operator_who_may_not_is_told_what_their_policy_lacks() {
    let mut stage = running(&json!({}));
    let address = stage.sandbox.provider_url("vault");
    let token = stage.variable("VAULT_TOKEN").unwrap();
    let lacks = "must allow `update` on `auth/token/revoke-accessor` and on `auth/token/lookup-accessor`";
    let ended = revoke_as(&mut stage, &[("VAULT_ADDR", &address), ("VAULT_TOKEN", &token)], &[]);
    fails(&ended, 108, "login-not-revoked", lacks);
    stage.fault(REVOKE, 999, Response::json(403, &json!({"errors": ["permission denied"]})));
    fails(&revoke(&mut stage, &[]), 108, "login-not-revoked", lacks);
    assert_eq!(living(&stage), 1);
}

#[test]
fn the_operators_token_goes_to_no_address_that_only_a_record_names() {
    let mut stage = running(&json!({}));
    let elsewhere = format!("{}/elsewhere", stage.sandbox.url());
    let ended = revoke_as(&mut stage, &[("VAULT_ADDR", &elsewhere), ("VAULT_TOKEN", ROOT)], &[]);
    fails(&ended, 108, "login-not-revoked", "and `VAULT_ADDR` is `");
    assert_eq!((living(&stage), stage.sandbox.faults().asked(REVOKE)), (1, 0));
}

#[test]
fn the_operators_token_is_found_where_vaults_own_command_line_leaves_it() {
    let mut stage = running(&json!({}));
    let address = stage.sandbox.provider_url("vault");
    let home = tempfile::tempdir().unwrap();
    let (file, home) = (home.path().join(".vault-token"), home.path().to_str().unwrap().to_owned());
    std::fs::write(&file, format!("{ROOT}\n")).unwrap();
    let env = [("VAULT_ADDR", address.as_str()), ("HOME", &home)];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&revoke_as(&mut stage, &env, &[]), 102, "revocation-impossible", "can be read by everybody");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!((revoke_as(&mut stage, &env, &[]).status, living(&stage)), (0, 0));
}

#[test]
fn what_is_missing_is_named_and_nothing_is_asked() {
    let mut stage = running(&json!({}));
    let address = stage.sandbox.provider_url("vault");
    let mut check = |env: &[(&str, &str)], told: &str| {
        fails(&revoke_as(&mut stage, env, &[]), 102, "revocation-impossible", told);
    };
    check(&[("VAULT_TOKEN", ROOT)], "`VAULT_ADDR` is not set");
    check(
        &[("VAULT_ADDR", "http://vault.example.test"), ("VAULT_TOKEN", ROOT)],
        "saw `http://vault.example.test`",
    );
    check(&[("VAULT_ADDR", &address)], "neither `VAULT_TOKEN` nor `~/.vault-token` is there");
    let nowhere: PathBuf = stage.folder.path().join("nowhere");
    let mut command = stage.program(&["revoke", "--records", nowhere.to_str().unwrap(), "--job", "0194"]);
    let output = command.env_clear().env("VAULT_ADDR", &address).env("VAULT_TOKEN", ROOT).output().unwrap();
    fails(&stage.ended(&output), 102, "revocation-impossible", "no record of job `0194` is below");
    assert_eq!((living(&stage), stage.sandbox.faults().asked(REVOKE)), (1, 0));
}
