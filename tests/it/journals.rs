//! Journals as bad input: any process of the agent's user can write there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use buildkite_dataflow::at_rest::AtRest;
use buildkite_dataflow::host::process::ProcessId;
use buildkite_dataflow::lease::entry::{Entry, Intent, Opened};
use buildkite_dataflow::lease::journal::{Journal, VERSION};
use buildkite_dataflow::lease::{Lease, Need};
use buildkite_dataflow::record::end::{ClaimedBy, SealedBy};
use buildkite_dataflow::secret::{Fingerprint, Secret};
use buildkite_dataflow::settlement::Settlement;
use chrono::{DateTime, TimeDelta, Utc};

use crate::support;
use crate::support::agent::{Agent, Scene, until};
use crate::support::hooks::{JOB, Stage};

const HANDLE: &str = "hvs.the-handle-of-somebody-else";

fn expires() -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(1)
}

/// A journal of a job that is over since an earlier boot, and its folder.
pub(crate) fn forged(stage: &Stage, entries: Vec<Entry>) -> PathBuf {
    let folder = stage.folder.path().join("state/jobs/forged.block");
    let opened = Opened {
        version: VERSION,
        job: "forged".into(),
        instance: "block".into(),
        container: None,
        bootstrap: ProcessId { boot: Some("earlier".into()), namespace: None, pid: 1, started: None },
        socket: None,
        release_at_pre_exit: false,
        install: "plugin".into(),
        mode: "enforce".into(),
        host_config: None,
        records: "v=1/forged".into(),
        at: Utc::now(),
    };
    Journal::create(&folder, opened).unwrap().append(entries).unwrap();
    folder
}

/// A lease that says it is to be given back with this detail.
fn lease(provider: &str, detail: &[(&str, &str)]) -> Entry {
    Entry::Leased(support::survivors::lease(provider, HANDLE, detail))
}

fn intent(id: &str) -> Entry {
    let (provider, session) = ("aws".into(), "s".into());
    Entry::Intent(Intent { id: id.into(), provider, session, latest: expires() })
}

fn settlements(stage: &Stage) -> Vec<Settlement> {
    let ends = stage.records().into_iter().filter_map(|link| link.end);
    ends.flat_map(|end| end.settlements).map(|one| one.settlement).collect()
}

#[test]
fn a_forged_journal_makes_no_sweep_ask_a_host_that_is_not_allowed() {
    let oauth = r#"{"token":"t","secrets":[],"how":"public"}"#;
    for (provider, name) in [
        ("vault", "address"),
        ("oauth", "revocation-endpoint"),
        ("github", "api-url"),
        ("buildkite", "api-url"),
        ("bitbucket", "token-url"),
    ] {
        let mut stage = Stage::new();
        let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        server.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let mut entry = lease(provider, &[(name, &url)]);
        if let (Entry::Leased(Lease { settle_with: Need::Handle { secret, .. }, .. }), "oauth") =
            (&mut entry, provider)
        {
            *secret = AtRest(Secret::new(oauth));
        }
        forged(&stage, vec![entry]);
        let swept = stage.sweep();
        assert!(server.accept().is_err(), "{provider} was asked");
        let told = format!("does not allow `{}`", url.trim_end_matches('/'));
        assert!(swept.text.contains(&told) && !swept.text.contains(HANDLE), "{provider}: {}", swept.text);
        let settled = settlements(&stage);
        assert!(
            matches!(settled.as_slice(), [Settlement::Failed { reason, .. }] if reason.contains(&told)),
            "{settled:?}"
        );
    }
}

/// What somebody does to a journal.
type Spoil = fn(&Path);

#[test]
fn a_journal_that_is_no_plain_file_of_ours_is_left_alone_and_told() {
    let spoil: [(&str, Spoil); 6] = [
        ("regular file", |journal| {
            std::fs::rename(journal, journal.with_file_name("other")).unwrap();
            std::os::unix::fs::symlink("other", journal).unwrap();
        }),
        ("regular file", |journal| std::fs::hard_link(journal, journal.with_file_name("other")).unwrap()),
        ("regular file", |journal| {
            std::fs::remove_file(journal).unwrap();
            let made = std::process::Command::new("mkfifo").arg(journal).status();
            assert!(made.unwrap().success());
        }),
        ("regular file", |journal| {
            std::fs::remove_file(journal).unwrap();
            std::fs::create_dir(journal).unwrap();
        }),
        ("written by others", |journal| {
            std::fs::set_permissions(journal, std::fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("does not begin", |journal| std::fs::write(journal, "0123456789abcdef {}\n").unwrap()),
    ];
    for (number, (why, spoil)) in spoil.into_iter().enumerate() {
        let mut stage = Stage::new();
        let folder = forged(&stage, vec![intent("1")]);
        spoil(&folder.join("journal"));
        let swept = stage.sweep();
        assert!(swept.text.contains("a journal is left alone"), "{number}, {why}: {:?}", swept.text);
        assert!(stage.records().is_empty() && folder.exists(), "{number}, {why}");
    }
}

#[test]
fn a_journal_of_another_user_is_left_alone_and_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut stage = Stage::new();
    let folder = forged(&stage, vec![intent("1")]);
    std::os::unix::fs::chown(folder.join("journal"), Some(4242), None).unwrap();
    let swept = stage.sweep();
    assert!(swept.text.contains("belongs to user 4242"), "{}", swept.text);
    assert!(stage.records().is_empty());
}

#[test]
fn a_journal_that_others_can_read_is_closed_to_them_and_settled() {
    let mut stage = Stage::new();
    // Nothing listens there: it stays, and is tried again.
    stage.config["endpoints"] = serde_json::json!(["http://127.0.0.1:9"]);
    let folder = forged(&stage, vec![lease("vault", &[("address", "http://127.0.0.1:9/")])]);
    let journal = folder.join("journal");
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o644)).unwrap();
    stage.sweep();
    assert_eq!(std::fs::metadata(&journal).unwrap().mode() & 0o777, 0o600);
    assert!(matches!(settlements(&stage).as_slice(), [Settlement::Failed { .. }]));
}

#[test]
fn a_journal_cut_or_damaged_anywhere_is_swept_with_a_clear_word() {
    let mut stage = Stage::new();
    let folder = forged(&stage, vec![intent("1"), intent("2")]);
    let whole = std::fs::read(folder.join("journal")).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
    // Every byte is cut and flipped where journals are read (src/lease/journal.rs); here each kind of place.
    for at in (0..whole.len()).step_by(29) {
        for cut in [true, false] {
            let mut bytes = whole.clone();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x40;
            }
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("journal"), &bytes).unwrap();
            let text = stage.sweep().text;
            if at <= first {
                assert!(at == 0 && cut || text.contains("does not begin as a journal does"), "{at}: {text}");
                continue;
            }
            let end = stage.records().pop().unwrap().end.unwrap();
            let told = end.findings.iter().any(|finding| finding.ident == "journal-damaged");
            assert_eq!(told, !cut, "{at}: {end:?}");
            assert!(!folder.exists(), "{at}: {text}");
            std::fs::remove_dir_all(stage.folder.path().join("records")).unwrap();
        }
    }
}

/// Changes the first line of a journal as any process of its user can; what it was before.
fn change(journal: &Path, field: &str, value: serde_json::Value) -> String {
    let before = std::fs::read_to_string(journal).unwrap();
    let (first, rest) = before.split_once('\n').unwrap();
    let mut opened: serde_json::Value = serde_json::from_str(first.split_once(' ').unwrap().1).unwrap();
    *opened.pointer_mut(field).unwrap() = value;
    let json = opened.to_string();
    let sum = Fingerprint::of(json.as_bytes());
    std::fs::write(journal, format!("{} {json}\n{rest}", sum.short(16))).unwrap();
    before
}

/// What a step could change of that which says that its bootstrap is gone.
fn lies() -> [(&'static str, serde_json::Value); 3] {
    [
        ("/bootstrap/started", 4711.into()),
        ("/bootstrap/pid", 4_190_000.into()),
        ("/bootstrap/boot", "earlier".into()),
    ]
}

#[test]
fn a_job_that_lives_is_not_ended_from_outside_because_its_start_was_changed() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let journal = stage.open_journals().pop().unwrap();
    for (field, value) in [lies()[0].clone(), lies()[2].clone()] {
        let before = change(&journal, field, value);
        let swept = stage.sweep().text;
        assert!(stage.records().iter().all(|link| link.end.is_none()), "{field}: {swept}");
        std::fs::write(&journal, before).unwrap();
    }
    stage.hook("post-command");
    assert_eq!(stage.records().pop().unwrap().end.unwrap().sealed_by, SealedBy::PostCommand);
}

#[test]
fn a_job_that_the_agent_runs_is_not_ended_from_outside_whatever_its_journal_says() {
    let Some(agent) = Agent::v3() else { return };
    let scene = Scene::with_plugin(&agent);
    let running = scene.path("running");
    let command = format!("touch {0}; while test -f {0}; do sleep 0.05; done", running.display());
    let mut child = scene.start(&command, &["--acquire-job", JOB]);
    scene.wait_for(&running, &mut child);
    let journal = support::hooks::files(&scene.path("state/jobs")).pop().unwrap();
    for (field, value) in lies() {
        let before = change(&journal, field, value);
        change(&journal, "/job", "another".into());
        let output = scene.sweep();
        assert!(scene.links().iter().all(|link| link.end.is_none()), "{field}: {output}");
        std::fs::write(&journal, before).unwrap();
    }
    std::fs::remove_file(&running).unwrap();
    let step = scene.finished(child);
    assert_eq!(step.status, Some(0), "{}", step.log);
    scene.is_as_before();
    let [(_, end)] = scene.accounts().try_into().unwrap();
    assert_eq!(end.sealed_by, SealedBy::PostCommand);
}

#[test]
fn a_job_whose_keeper_lives_is_left_to_its_keeper() {
    let mut stage = Stage::new();
    // Nothing listens there: a process that is asked to give back cannot, and says so.
    stage.config["endpoints"] = serde_json::json!(["http://127.0.0.1:9"]);
    let folder = forged(&stage, vec![lease("vault", &[("address", "http://127.0.0.1:9/")])]);
    let keeper = std::fs::File::open(&folder).unwrap();
    keeper.lock().unwrap();
    stage.sweep();
    assert!(stage.records().is_empty());
    drop(keeper);
    // What another test is about to start holds each lock of this process until it runs.
    until(
        || "the sweep".to_owned(),
        || {
            stage.sweep();
            !stage.records().is_empty()
        },
    );
}

#[test]
fn an_end_that_a_leases_provider_cannot_give_is_not_believed_and_reported() {
    for said in [
        Settlement::Revoked { at: Utc::now() },
        Settlement::RevokeAccepted { at: Utc::now() },
        Settlement::Denied { at: Utc::now() },
        Settlement::Stored { living: vec!["x".into()] },
        Settlement::NotIssued { reason: "x".into() },
        Settlement::Expires { at: Utc::now() },
    ] {
        let mut stage = Stage::new();
        assert_eq!(stage.hook("pre-command").status, 0);
        let journal = stage.open_journals().pop().unwrap();
        let mut journal = Journal::open(journal.parent().unwrap()).unwrap();
        journal.append(vec![Entry::Settled { id: "1".into(), settlement: said.clone() }]).unwrap();
        drop(journal);
        stage.hook("post-command");
        let end = stage.records().pop().unwrap().end.unwrap();
        let [settled] = end.settlements.as_slice() else { panic!("{:?}", end.settlements) };
        let start = stage.records().swap_remove(0).start.unwrap();
        assert_eq!(settled.settlement, Settlement::Expires { at: start.leases[0].expires_at }, "{said:?}");
        assert_eq!(settled.claimed_by, Some(ClaimedBy::ThisProcess));
        assert!(end.findings.iter().any(|one| one.ident == "journal-not-believed"), "{:?}", end.findings);
    }
}

#[test]
fn an_end_of_an_earlier_process_is_recorded_as_what_the_journal_says() {
    let mut stage = Stage::new();
    let at = Utc::now() + TimeDelta::hours(1);
    let lent = support::survivors::lease("aws", HANDLE, &[]);
    let lent = Lease { settle_with: Need::Nothing, expires_at: at, ..lent };
    let settled = Entry::Settled { id: lent.id.clone(), settlement: Settlement::Expires { at } };
    forged(&stage, vec![Entry::Leased(lent), settled]);
    stage.sweep();
    let end = stage.records().pop().unwrap().end.unwrap();
    assert_eq!(end.settlements[0].claimed_by, Some(ClaimedBy::Journal));
}
