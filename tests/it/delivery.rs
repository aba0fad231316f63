//! Where a journal's links go: into a sink, whatever the journal says.

use std::fs;
use std::path::Path;

use buildkite_dataflow::config::sink::{self as config, FileSink};
use buildkite_dataflow::delivery;
use buildkite_dataflow::lease::entry::Entry;
use buildkite_dataflow::lease::journal::Journal;
use buildkite_dataflow::record::Sealed;
use buildkite_dataflow::secret::Fingerprint;
use buildkite_dataflow::sink;
use chrono::DateTime;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::journals::forged;
use crate::support::hooks::Stage;
use crate::support::users::everything;

fn document(kind: &str, sequence: u32, names: &[String; 6]) -> String {
    let [job, instance, container, organization, pipeline, build] = names;
    let claims = json!({"organization_slug": organization, "pipeline_slug": pipeline, "build_number": build});
    let run = json!({"job": job, "instance": instance, "container": container});
    let start = if kind == "start" { json!({"identity": {"claims": claims}}) } else { Value::Null };
    json!({"kind": kind, "sequence": sequence, "run": run, "start": start}).to_string()
}

fn sealed(path: &str, document: String) -> Entry {
    let digest = Fingerprint::of(document.as_bytes());
    Entry::Sealed(Sealed { kind: "end".into(), digest, path: path.into(), document })
}

/// A folder waits for nothing.
fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().unwrap()
}

/// A journal that says so of its links, and a sink beside a file of somebody else's.
fn delivered(records: &str, entries: Vec<Entry>) -> (tempfile::TempDir, Result<(), sink::Error>) {
    let world = tempfile::tempdir().unwrap();
    for folder in ["sink", "outside", "state"] {
        fs::create_dir(world.path().join(folder)).unwrap();
    }
    std::os::unix::fs::symlink("../outside", world.path().join("sink/link")).unwrap();
    fs::write(world.path().join("outside/file"), "theirs").unwrap();
    let folder = world.path().join("state/job.block");
    let opened = json!({"version": 1, "job": "j", "instance": "i", "container": null,
        "bootstrap": {"boot": null, "namespace": null, "pid": 1, "started": null}, "socket": null,
        "release-at-pre-exit": false, "install": "plugin", "mode": "enforce", "host-config": null,
        "records": records, "at": "2026-01-01T00:00:00Z"});
    let mut journal = Journal::create(&folder, serde_json::from_value(opened).unwrap()).unwrap();
    journal.append(entries).unwrap();
    let sinks = [sink::of(&config::Sink::File(FileSink::private(world.path().join("sink"))))];
    let told = now(delivery::deliver(&mut journal, &sinks, DateTime::UNIX_EPOCH));
    (world, told)
}

#[track_caller]
fn nothing_outside(world: &Path) {
    let names: Vec<_> = everything(world).into_iter().map(|(path, ..)| path).collect();
    let strange = names.iter().find(|path| {
        let below = path.strip_prefix(world).unwrap().to_str().unwrap();
        !(below.starts_with("sink/v=1")
            || below.starts_with("state/job.block")
            || ["sink", "sink/link", "outside", "outside/file", "state"].contains(&below))
    });
    assert_eq!(strange, None);
    assert_eq!(fs::read(world.join("outside/file")).unwrap(), b"theirs");
}

const PATHS: [&str; 6] = ["../outside/x", "/tmp/dataflow-forged/x", "link/x", "..", "v=1/../../x", ""];

#[test]
fn a_forged_path_writes_nothing_outside_of_a_sink() {
    let names = ["../../j", "/i", "..", "../o", "link", "."].map(str::to_owned);
    for path in PATHS {
        for kind in ["start", "end"] {
            let (world, told) = delivered(path, vec![sealed(path, document(kind, 0, &names))]);
            told.unwrap();
            nothing_outside(world.path());
        }
    }
    assert!(!Path::new("/tmp/dataflow-forged").exists());
}

#[test]
fn what_is_no_link_of_a_record_is_told_once_and_left_out() {
    let (world, told) = delivered("v=1", vec![sealed("../x", "root::0:0".into())]);
    assert!(told.unwrap_err().source.to_string().contains("no link of a record"));
    nothing_outside(world.path());
    let mut journal = Journal::open(&world.path().join("state/job.block")).unwrap();
    assert!(
        now(delivery::deliver(&mut journal, &[], DateTime::UNIX_EPOCH)).is_ok()
            && journal.undelivered().is_empty()
    );
}

#[test]
fn a_sweep_writes_a_forged_link_into_the_sink_and_nowhere_else() {
    let mut stage = Stage::new();
    let target = stage.folder.path().join("chosen");
    let names = ["forged", "block", "c", "acme", "web", "7"].map(str::to_owned);
    let absolute = target.join("absolute").display().to_string();
    let entries = ["../chosen/relative", absolute.as_str()].into_iter().enumerate();
    let entries = entries.map(|(at, path)| sealed(path, document("end", u32::try_from(at).unwrap(), &names)));
    forged(&stage, entries.collect());
    stage.sweep();
    assert!(!target.exists());
}

#[test]
fn links_are_delivered_to_the_names_that_a_journal_of_the_first_version_gave_them() {
    let mut stage = Stage::new();
    let records = stage.folder.path().join("records");
    fs::write(&records, "no folder yet").unwrap();
    for phase in ["pre-command", "post-command"] {
        assert_eq!(stage.hook(phase).status, 0);
    }
    fs::remove_file(&records).unwrap();
    // Version 0.1.0 delivered to `path`, which is written as it was then.
    let folder = stage.open_journals().pop().unwrap().parent().unwrap().to_owned();
    let links = Journal::open(&folder).unwrap().undelivered();
    assert_eq!(links.len(), 2);
    assert_eq!(stage.hook("pre-exit").status, 0);
    for link in links {
        assert_eq!(fs::read_to_string(records.join(&link.path)).unwrap(), link.document);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_journal_makes_anything_be_written_outside_of_a_sink(
        names in proptest::array::uniform6("(\\.\\.|/|link|[a-z]|\u{0}|=|\\PC){0,6}"),
        path in "(\\.\\./|/|link/|v=1/|org=a/|x){0,7}",
        kind in prop_oneof!["start", "settled", "end", "late", "other"],
        sequence in any::<u32>(),
    ) {
        let first = sealed(&path, document("start", 0, &names));
        let (world, _told) = delivered(&path, vec![first, sealed(&path, document(&kind, sequence, &names))]);
        nothing_outside(world.path());
    }
}
