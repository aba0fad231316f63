//! What any process of the agent's user can put among the journals, in any number: it holds up no step.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use buildkite_dataflow::host::process::{Alive, ProcessId, listening};
use buildkite_dataflow::lease::entry::{Entry, Opened};
use buildkite_dataflow::lease::journal::{Journal, VERSION};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::hooks::Stage;
use crate::support::survivors::lease;

/// A folder among the journals in which no journal is, as long as `length` says and mostly a hole.
fn sparse(stage: &Stage, name: &str, length: u64) -> PathBuf {
    let folder = stage.folder.path().join("state/jobs").join(name);
    fs::create_dir_all(&folder).unwrap();
    File::create(folder.join("journal")).unwrap().set_len(length).unwrap();
    folder
}

fn grow_old(folder: &Path) {
    let long_ago = SystemTime::now() - Duration::from_hours(48);
    let folders = [folder.join("journal"), folder.to_owned()];
    for path in &folders {
        File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

fn opened(job: &str, bootstrap: ProcessId, socket: Option<PathBuf>) -> Opened {
    Opened {
        version: VERSION,
        job: job.into(),
        instance: "block".into(),
        container: None,
        bootstrap,
        socket,
        release_at_pre_exit: false,
        install: "plugin".into(),
        mode: "enforce".into(),
        host_config: None,
        records: "v=1/forged".into(),
        at: Utc::now(),
    }
}

/// A process of which nothing can be known from here.
fn elsewhere() -> ProcessId {
    ProcessId { namespace: Some("pid:[1]".into()), ..ProcessId::parent() }
}

#[test]
fn two_thousand_sparse_files_hold_up_no_step_and_are_reported_once() {
    let mut stage = Stage::new();
    for number in 0..2000 {
        sparse(&stage, &format!("junk-{number}.block"), 15 << 20);
    }
    let start = Instant::now();
    let mut counted = 0;
    // Each step looks at some of them: after a while each was looked at.
    for _ in 0..3 {
        let step = stage.hook("pre-command");
        assert_eq!(step.status, 0, "{}", step.text);
        counted += step.text.matches("more are left alone").count();
        assert!(step.said().lines().count() < 30, "{}", step.text);
        stage.hook("post-command");
    }
    assert!(counted > 0 && start.elapsed() < Duration::from_secs(20), "{counted}, {:?}", start.elapsed());
}

#[test]
fn what_is_no_journal_is_reported_once_before_a_step_and_each_time_by_a_sweep() {
    let mut stage = Stage::new();
    sparse(&stage, "junk.block", 5000);
    let tells = |stage: &mut Stage| {
        let text = stage.hook("pre-command").text;
        stage.hook("post-command");
        text.contains("a journal is left alone")
    };
    assert_eq!([tells(&mut stage), tells(&mut stage)], [true, false]);
    sparse(&stage, "more.block", 5000);
    assert_eq!([tells(&mut stage), tells(&mut stage)], [true, false]);
    assert!(stage.sweep().text.contains("a journal is left alone"));
}

#[test]
fn what_is_no_journal_is_removed_when_it_is_old_and_what_may_be_one_is_not() {
    let mut stage = Stage::new();
    let old = ["hole.block", "empty.block"].map(|name| sparse(&stage, name, 0));
    File::options().write(true).open(old[0].join("journal")).unwrap().set_len(1 << 40).unwrap();
    let fresh = sparse(&stage, "fresh.block", 7);
    let later = sparse(&stage, "later.block", 0);
    // A whole line of a kind that is not known yet.
    fs::write(later.join("journal"), "44136fa355b3678a {}\n").unwrap();
    for folder in old.iter().chain([&later]) {
        grow_old(folder);
    }
    let swept = stage.sweep().text;
    assert!(swept.contains("removed 2 folders that held no journal"), "{swept}");
    assert!(old.iter().all(|folder| !folder.exists()) && fresh.exists() && later.exists());
}

#[test]
fn a_sweep_of_ten_thousand_that_are_no_journals_is_quick() {
    let mut stage = Stage::new();
    for number in 0..10_000 {
        grow_old(&sparse(&stage, &format!("junk-{number}.block"), 15 << 20));
    }
    let start = Instant::now();
    let swept = stage.sweep().text;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // As many as a disk lets it in some seconds: the next sweep goes on.
    assert!(
        swept.contains(" folders that held no journal") && stage.open_journals().len() < 10_000,
        "{swept}"
    );
}

#[test]
fn no_socket_that_a_journal_names_holds_up_a_step() {
    let mut stage = Stage::new();
    let path = stage.folder.path().join("full.sock");
    let server = UnixListener::bind(&path).unwrap();
    // No process accepts: each try to connect stays, until there is no room for more.
    assert!((0..100_000).any(|_| listening(&path) == Alive::Unknown));
    let fifo = stage.folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let long = PathBuf::from(format!("/{}", "x".repeat(10_000)));
    let sockets = [path, fifo, long, PathBuf::from("a\0b"), PathBuf::new(), "/dev/zero".into()];
    for (number, socket) in sockets.into_iter().enumerate() {
        let folder = stage.folder.path().join(format!("state/jobs/forged-{number}.block"));
        let journal = Journal::create(&folder, opened("forged", elsewhere(), Some(socket)));
        journal.unwrap().append(Vec::new()).unwrap();
    }
    let start = Instant::now();
    let step = stage.hook("pre-command");
    assert_eq!(step.status, 0, "{}", step.text);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Of none of them it is known whether its job is over.
    assert!(stage.records().iter().all(|link| link.run.job != "forged"));
    drop(server);
}

#[test]
fn a_hundred_journals_whose_provider_does_not_answer_take_no_hook_beyond_its_deadline() {
    let mut stage = Stage::new();
    let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    stage.config["endpoints"] = json!([url]);
    stage.config["deadlines"]["release"] = json!("1s");
    stage.block = json!({"credentials": []});
    let text = stage.block.to_string();
    let instance = buildkite_dataflow::secret::Fingerprint::of(text.as_bytes()).short(12).to_owned();
    let me = ProcessId { pid: std::process::id().cast_signed(), ..this_process() };
    let forge = |bootstrap: &ProcessId, kind: &str| {
        for number in 0..100 {
            let folder = stage.folder.path().join(format!("state/jobs/{kind}-{number}.{instance}"));
            let opened = Opened { instance: instance.clone(), ..opened(kind, bootstrap.clone(), None) };
            let mut entry = lease("vault", "hvs.another-programs", &[("address", &url)]);
            entry.expires_at = Utc::now() + TimeDelta::hours(1);
            Journal::create(&folder, opened).unwrap().append(vec![Entry::Leased(entry)]).unwrap();
        }
    };
    forge(&me, "mine");
    forge(&ProcessId { boot: Some("earlier".into()), pid: 1, started: None, ..me.clone() }, "dead");
    stage.block = crate::support::hooks::aws(&json!({}));
    let start = Instant::now();
    assert_eq!(stage.hook("pre-command").status, 0);
    let before = start.elapsed();
    stage.block = json!({"credentials": []});
    assert_eq!(stage.hook("post-command").status, 0);
    let after = start.elapsed().saturating_sub(before);
    assert!(before < Duration::from_secs(8) && after < Duration::from_secs(12), "{before:?}, {after:?}");
    drop(server);
}

/// This process, which starts the hooks, as a journal names it.
fn this_process() -> ProcessId {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after) = stat.rsplit_once(')').unwrap();
    let started = after.split_whitespace().nth(19).unwrap().parse().unwrap();
    ProcessId { started: Some(started), ..ProcessId::parent() }
}
