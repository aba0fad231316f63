//! Journals as bad input: any process of the agent's user can write there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use buildkite_dataflow::host::process::ProcessId;
use buildkite_dataflow::lease::entry::{Entry, Intent, Opened};
use buildkite_dataflow::lease::journal::{Journal, VERSION};
use buildkite_dataflow::lease::{Kept, Lease, Need};
use buildkite_dataflow::secret::Secret;
use buildkite_dataflow::settlement::Settlement;
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{self, hooks::Stage};

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
            *secret = Kept(Secret::new(oauth));
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
