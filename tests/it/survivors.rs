//! What outlives a restart of the host: left by hooks, sealed to a sweeper of another user, given back by it. Whatever
//! lies in its folder is input. The whole story, with a restart, is `harness::reboot`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::lease::escrow::{Answer, Escrowed, PrivateKey};
use buildkite_dataflow::lease::{Lease, Need};
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use buildkite_dataflow::settlement::Settlement;
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::components;
use crate::support::hooks::{Stage, files};
use crate::support::survivors::{Sweeper, lease, this_boot, two_users};

const HANDLE: &str = "hvs.the-handle-of-somebody-else";

/// A job that is lent a login of Vault, on a host that has such a sweeper.
fn stage() -> (Stage, Sweeper) {
    let mut stage = Stage::new();
    let vault =
        json!({"address": stage.sandbox.provider_url("vault"), "role": "train", "export-token": true});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.block = json!({"credentials": [{"vault": vault}]});
    stage.prepare();
    let sweeper = Sweeper::of(&mut stage);
    (stage, sweeper)
}

#[track_caller]
fn lends(stage: &mut Stage) -> String {
    let ended = Sweeper::hook(stage, "pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    ended.text
}

/// A lease on a login that Vault gave, as a hook of an earlier boot sealed it.
fn given(stage: &mut Stage) -> Lease {
    lends(stage);
    let token = stage.variable("VAULT_TOKEN").unwrap();
    lease("vault", &token, &[("address", &stage.sandbox.provider_url("vault"))])
}

fn revoked(stage: &Stage) -> usize {
    stage.issued("vault").iter().filter(|one| one.revoked).count()
}

#[test]
fn a_lease_is_sealed_to_the_sweeper_while_it_lives_and_gone_when_it_was_given_back() {
    let (mut stage, sweeper) = stage();
    assert_eq!(lends(&mut stage).matches("warning").count(), 0);
    let [left] = sweeper.left().try_into().unwrap();
    let bytes = fs::read(&left).unwrap();
    let escrowed = Escrowed::parse(&bytes).unwrap();
    assert_eq!(escrowed.label.boot, this_boot());
    let opened = escrowed.open(&PrivateKey::of_pem(&fs::read(&sweeper.key).unwrap()).unwrap()).unwrap();
    let token = stage.variable("VAULT_TOKEN").unwrap();
    assert!(matches!(opened.settle_with, Need::Handle { secret, .. } if secret.0.expose() == token));
    let meta = fs::metadata(&left).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o640);
    if two_users() {
        assert_eq!(meta.gid(), fs::metadata(&sweeper.folder).unwrap().gid());
        assert_ne!(meta.uid(), fs::metadata(&sweeper.folder).unwrap().uid());
    }
    stage.no_secret_anywhere();
    stage.command_ended(0);
    assert_eq!(Sweeper::hook(&mut stage, "post-command").status, 0);
    stage.nothing_left();
    assert_eq!(files(&sweeper.folder), [] as [PathBuf; 0]);
}

#[test]
fn another_implementation_of_hpke_opens_what_is_sealed_and_seals_what_is_opened() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let (mut stage, sweeper) = stage();
    let lease = given(&mut stage);
    let path = sweeper.leave("one", &lease);
    let client = |stage: &Stage, verb: &str, input: &str| {
        let mut client = std::process::Command::new(&python);
        client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/hpke_client.py")).env_clear();
        client.args([verb.as_ref(), sweeper.key.as_os_str(), path.as_os_str()]);
        stage.step(client, input)
    };
    let opened = client(&stage, "open", "");
    assert_eq!(opened, serde_json::to_value(&lease).unwrap());
    client(&stage, "seal", &opened.to_string());
    assert!(sweeper.sweep(&mut stage).text.contains("settled `who`: revoked"));
    assert_eq!(revoked(&stage), 1);
}

#[test]
fn a_renewal_is_left_as_what_was_lent_first_is() {
    let mut stage = Stage::new();
    let sweeper = Sweeper::of(&mut stage);
    let oauth =
        json!({"issuer": stage.sandbox.provider_url("oauth"), "grant": "token-exchange", "env": "API_TOKEN"});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.block = json!({"credentials": [{"name": "main", "refresh": true, "oauth": oauth}]});
    lends(&mut stage);
    let kept = stage.private_files();
    // As if it ended soon.
    fs::remove_file(kept.iter().find(|path| path.ends_with("main.kept")).unwrap()).unwrap();
    let mut callback = stage.program(&["token", "main"]);
    Sweeper::as_agent(&mut callback);
    let output = callback.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((stage.issued("oauth").len(), sweeper.left().len()), (2, 2));
    stage.command_ended(0);
    assert_eq!(Sweeper::hook(&mut stage, "post-command").status, 0);
    assert!(stage.issued("oauth").iter().all(|one| one.revoked) && files(&sweeper.folder).is_empty());
    stage.nothing_left();
}

#[test]
fn while_the_boot_lasts_the_other_user_leaves_a_lease_to_the_jobs_own_processes() {
    let (mut stage, sweeper) = stage();
    lends(&mut stage);
    assert_eq!(sweeper.sweep(&mut stage).said(), "");
    assert_eq!((revoked(&stage), sweeper.left().len()), (0, 1));
}

#[test]
fn only_what_must_be_given_back_is_left() {
    let mut stage = Stage::new();
    let sweeper = Sweeper::of(&mut stage);
    lends(&mut stage);
    assert_eq!(files(&sweeper.folder), [] as [PathBuf; 0]);
}

#[test]
fn after_a_restart_the_other_user_gives_back_and_says_so() {
    let (mut stage, sweeper) = stage();
    let path = {
        let lease = given(&mut stage);
        sweeper.leave("one", &lease)
    };
    let text = sweeper.sweep(&mut stage).text;
    assert!(text.contains("swept job job-1: settled `who`: revoked"), "{text}");
    assert_eq!(revoked(&stage), 1);
    assert!(!path.exists());
    let answer: Answer = serde_json::from_slice(&fs::read(path.with_extension("settled")).unwrap()).unwrap();
    assert!(matches!(answer.settlement, Settlement::Revoked { .. }), "{answer:?}");
    stage.no_secret_anywhere();
}

#[test]
fn a_vault_that_is_away_is_asked_again_and_a_login_that_is_gone_then_was_revoked_by_us() {
    let (mut stage, sweeper) = stage();
    let lease = given(&mut stage);
    let path = sweeper.leave("one", &lease);
    let sealed = Response::json(503, &json!({"errors": []}));
    // It acts, and nobody hears of it.
    let path_of = "/auth/token/revoke-self".into();
    stage.sandbox.faults().order(Fault { path: path_of, times: 4, answer: sealed, after_acting: true });
    let text = sweeper.sweep(&mut stage).text;
    assert!(text.contains("settled `who`: failed") && path.exists(), "{text}");
    stage.fault("/auth/token/revoke-self", 1, Response::json(403, &json!({"errors": ["permission denied"]})));
    let text = sweeper.sweep(&mut stage).text;
    assert!(text.contains("settled `who`: revoked-inferred") && !path.exists(), "{text}");
}

#[test]
fn a_forged_lease_makes_no_sweep_ask_a_host_that_is_not_allowed() {
    let oauth = r#"{"token":"t","secrets":[],"how":"public"}"#;
    for (provider, name, handle) in [
        ("vault", "address", HANDLE),
        ("oauth", "revocation-endpoint", oauth),
        ("github", "api-url", HANDLE),
        ("buildkite", "api-url", HANDLE),
        ("bitbucket", "token-url", HANDLE),
    ] {
        let mut stage = Stage::new();
        let sweeper = Sweeper::of(&mut stage);
        let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        server.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        sweeper.leave("one", &lease(provider, handle, &[(name, &url)]));
        let text = sweeper.sweep(&mut stage).text;
        assert!(server.accept().is_err(), "{provider} was asked");
        let told = format!("does not allow `{}`", url.trim_end_matches('/'));
        assert!(text.contains(&told) && !text.contains(HANDLE), "{provider}: {text}");
    }
}

/// What somebody does to a file.
type Spoil = fn(&Path);

fn rewrite(path: &Path, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    fs::write(path, change(fs::read(path).unwrap())).unwrap();
}

/// Each with a word of what is told then.
const SPOILED: [(&str, Spoil); 9] = [
    ("regular file", |path| fs::hard_link(path, path.with_file_name("a".repeat(32))).unwrap()),
    ("cannot read", |path| {
        let other = path.parent().unwrap().with_file_name("other");
        fs::rename(path, &other).unwrap();
        std::os::unix::fs::symlink(other, path).unwrap();
    }),
    ("regular file", |path| {
        fs::remove_file(path).unwrap();
        assert!(
            std::process::Command::new("mkfifo").args(["-m", "666"]).arg(path).status().unwrap().success()
        );
    }),
    ("regular file", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("longer than 65536 bytes", |path| rewrite(path, |_| vec![b'x'; 70_000])),
    ("not what a hook leaves", |path| rewrite(path, |_| b"{}\n".to_vec())),
    ("newer version, 2", |path| {
        rewrite(path, |bytes| {
            String::from_utf8(bytes).unwrap().replacen("\"version\":1", "\"version\":2", 1).into_bytes()
        });
    }),
    ("sealed to another, or changed", |path| {
        rewrite(path, |bytes| String::from_utf8(bytes).unwrap().replacen("job-1", "job-2", 1).into_bytes());
    }),
    ("no hook gives a file such a name", |path| {
        fs::rename(path, path.with_file_name("x\n^^^ +++")).unwrap();
    }),
];

#[test]
fn a_file_that_is_none_of_a_hooks_is_left_alone_and_told() {
    let (mut stage, sweeper) = stage();
    let lease = given(&mut stage);
    for path in sweeper.left() {
        fs::remove_file(path).unwrap();
    }
    for (number, (why, spoil)) in SPOILED.into_iter().enumerate() {
        spoil(&sweeper.leave(&number.to_string(), &lease));
        let text = sweeper.sweep(&mut stage).text;
        assert!(text.contains("is left alone") && text.contains(why), "{number}, {why}: {text}");
        assert!(!text.lines().any(|line| line.starts_with("^^^")), "{text}");
        assert_eq!(revoked(&stage), 0, "{number}, {why}");
        for entry in fs::read_dir(&sweeper.folder).unwrap() {
            let path = entry.unwrap().path();
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
    }
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_gives_nothing_back_and_stops_nothing() {
    let (mut stage, sweeper) = stage();
    let lease = given(&mut stage);
    let path = sweeper.leave("one", &lease);
    let whole = fs::read(&path).unwrap();
    // Every byte is cut and flipped where such files are read (crates/lease/src/escrow.rs); here each kind of place.
    for at in (0..whole.len()).step_by(61) {
        for cut in [true, false] {
            let mut bytes = whole.clone();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x04;
            }
            fs::write(&path, bytes).unwrap();
            let text = sweeper.sweep(&mut stage).text;
            // One that says that it is over is removed: who changes it could remove it as well.
            assert!(
                text.contains("is left alone") == path.exists() && !text.contains("swept"),
                "{at}: {text}"
            );
        }
    }
    assert_eq!(revoked(&stage), 0);
    fs::write(&path, whole).unwrap();
    sweeper.sweep(&mut stage);
    assert_eq!(revoked(&stage), 1);
}

#[test]
fn a_file_of_any_user_is_input_and_an_answer_that_is_not_the_sweepers_is_not_believed() {
    if !two_users() {
        return;
    }
    let (mut stage, sweeper) = stage();
    let lease = given(&mut stage);
    let path = sweeper.leave("one", &lease);
    std::os::unix::fs::chown(&path, Some(7777), None).unwrap();
    // As if the sweeper had tried already: of the agent's user.
    let forged = Answer { until: lease.expires_at, settlement: Settlement::Revoked { at: Utc::now() } };
    fs::write(path.with_extension("settled"), serde_json::to_vec(&forged).unwrap()).unwrap();
    std::os::unix::fs::chown(path.with_extension("settled"), Some(4241), None).unwrap();
    sweeper.sweep(&mut stage);
    assert_eq!(revoked(&stage), 1);
}

#[test]
fn what_is_over_is_removed() {
    let (mut stage, sweeper) = stage();
    let mut lease = lease("vault", HANDLE, &[]);
    lease.expires_at = Utc::now() - TimeDelta::seconds(1);
    sweeper.leave("over", &lease);
    let old =
        Answer { until: Utc::now() - TimeDelta::days(2), settlement: Settlement::Revoked { at: Utc::now() } };
    fs::write(sweeper.folder.join("0".repeat(32) + ".settled"), serde_json::to_vec(&old).unwrap()).unwrap();
    assert_eq!(sweeper.sweep(&mut stage).said(), "");
    assert_eq!(files(&sweeper.folder), [] as [PathBuf; 0]);
}

#[test]
fn a_time_beyond_any_calendar_stops_nothing() {
    let (mut stage, sweeper) = stage();
    let mut lease = given(&mut stage);
    lease.expires_at = chrono::DateTime::<Utc>::MAX_UTC;
    sweeper.leave("one", &lease);
    let writing = sweeper.folder.join(".writing-x");
    fs::write(&writing, "").unwrap();
    let far = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 60);
    // Where the disk keeps such a time; elsewhere it is the last that it can.
    let _kept = fs::File::options().write(true).open(&writing).unwrap().set_modified(far);
    assert!(sweeper.sweep(&mut stage).text.contains("settled `who`: revoked"));
    assert_eq!((revoked(&stage), sweeper.sweep(&mut stage).said().as_str()), (1, ""));
}

#[test]
fn a_sweep_that_cannot_be_one_says_why() {
    let refused = |sweeper: &Sweeper, stage: &mut Stage, told: &str| {
        let output = sweeper.command(stage).output().unwrap();
        let ended = stage.ended(&output);
        assert!(
            ended.text.contains("error[survivors-unusable]") && ended.text.contains(told),
            "{}",
            ended.text
        );
        assert_eq!(ended.status, 102);
    };
    let (mut stage, sweeper) = stage();
    fs::write(&sweeper.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    refused(&sweeper, &mut stage, "no X25519 private key");
    fs::set_permissions(&sweeper.key, Permissions::from_mode(0o604)).unwrap();
    refused(&sweeper, &mut stage, "can be read by everybody");
    fs::set_permissions(&sweeper.folder, Permissions::from_mode(0o1777)).unwrap();
    refused(&sweeper, &mut stage, "can be written by others");
    if two_users() {
        std::os::unix::fs::chown(&sweeper.folder, Some(4241), None).unwrap();
        fs::set_permissions(&sweeper.folder, Permissions::from_mode(0o3770)).unwrap();
        refused(&sweeper, &mut stage, "belongs to user 4241, expected 4242");
        let mut as_root = std::process::Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
        let output = as_root.args(["sweep", "--key"]).arg(&sweeper.key).output().unwrap();
        assert!(stage.ended(&output).text.contains("does not run as root"));
    }
    stage.config.as_object_mut().unwrap().remove("survive-reboot");
    refused(&sweeper, &mut stage, "says no `survive-reboot`");
}

#[test]
fn a_lease_that_cannot_be_left_is_told() {
    let (mut stage, sweeper) = stage();
    fs::remove_dir_all(&sweeper.folder).unwrap();
    let text = lends(&mut stage);
    assert!(text.contains("warning: after a restart of the host leases would end by expiry alone"), "{text}");
    stage.command_ended(0);
    assert_eq!(Sweeper::hook(&mut stage, "post-command").status, 0);
    let start = stage.records()[0].start.clone().unwrap();
    assert!(start.findings.iter().any(|finding| finding.ident == "survivor-not-kept"), "{start:?}");
}

#[test]
fn where_it_is_required_that_a_lease_survives_nothing_is_exported_that_would_not() {
    let (mut stage, sweeper) = stage();
    fs::remove_dir_all(&sweeper.folder).unwrap();
    stage.config["required"] = json!({"survive-reboot": true});
    let ended = Sweeper::hook(&mut stage, "pre-command");
    assert!(ended.text.contains("error[survivor-not-kept]"), "{}", ended.text);
    assert_eq!(ended.status, 102, "{}", ended.text);
    assert!(stage.issued("vault").iter().all(|one| one.revoked));
    stage.nothing_left();
}
