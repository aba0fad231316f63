//! Any bytes as a journal: whole lines are read, no more than there are, and whatever they say can be told. The sums of
//! the lines are right where the input says so, for whoever writes a forged one gets them right. What it holds is
//! delivered, and nothing is written outside of the sink.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use buildkite_dataflow::config::sink::{self as config, FileSink};
use buildkite_dataflow::delivery;
use buildkite_dataflow::lease::journal::{Journal, Parsed, parse};
use buildkite_dataflow::lease::encryption::Key;
use buildkite_dataflow::record;
use buildkite_dataflow::secret::{Fingerprint, Secret};
use buildkite_dataflow::settlement::Settlement;
use buildkite_dataflow::sink;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shape::{Bytes, edited};

mod shape;

/// A folder with a journal, and its key in memory-backed storage.
static FOLDER: LazyLock<(PathBuf, Option<Key>)> = LazyLock::new(|| {
    let folder = shape::folder("journal").join("block");
    fs::create_dir_all(&folder).unwrap();
    let key = Key::made_for(&folder);
    (folder, key)
});

static GOOD: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let sealed = FOLDER.1.as_ref().and_then(|key| key.seal(&Secret::new("a-handle")));
    let sealed = sealed.map_or_else(|| "plain".to_owned(), |sealed| sealed.expose().to_owned());
    let at = "2026-01-01T00:00:00Z";
    let digest = Fingerprint::of(b"");
    let lease = |id: &str, need: Value| {
        json!({"entry": "leased", "id": id, "provider": "vault", "principal": "p", "handle": "h", "session": "s",
            "fingerprint": digest, "issued-at": at, "expires-at": at, "children": ["2"], "settle-with": need})
    };
    let link = |path: &str, kind: &str| {
        let claims = json!({"organization_slug": "acme", "pipeline_slug": "../web", "build_number": 7});
        let document = json!({"kind": kind, "sequence": 1, "run": {"job": "..", "instance": "i", "container": "/"},
            "start": {"identity": {"claims": claims}}});
        let document = document.to_string();
        json!({"entry": "sealed", "kind": kind, "digest": Fingerprint::of(document.as_bytes()), "path": path,
            "document": document})
    };
    vec![
        json!({"entry": "opened", "version": 1, "job": "j", "instance": "i", "container": null,
            "bootstrap": {"boot": null, "namespace": null, "pid": 1, "started": null}, "socket": "/s",
            "release-at-pre-exit": false, "install": "plugin", "mode": "enforce", "host-config": null,
            "records": "v=1", "at": at}),
        json!({"entry": "intent", "id": "1", "provider": "vault", "session": "s", "latest": at}),
        json!({"entry": "not-issued", "id": "1", "reason": "r"}),
        lease("1", json!({"handle": {"secret": sealed, "detail": {"address": "https://v.test"}}})),
        lease("2", json!("nothing")),
        lease("2+1", json!({"facts": {"a": "b"}})),
        json!({"entry": "exporting", "variables": [{"name": "A", "fingerprint": digest, "previous": sealed}]}),
        json!({"entry": "rebased", "name": "A", "previous": null}),
        json!({"entry": "sealed", "kind": "start", "digest": digest, "path": "v=1/x.json", "document": "{}"}),
        link("../../x", "start"),
        link("/tmp/dataflow-forged", "end"),
        json!({"entry": "attempted", "id": "1", "at": at}),
        json!({"entry": "settled", "id": "1", "settlement": {"outcome": "failed", "reason": "r", "until": at}}),
        json!({"entry": "delivered", "digest": digest}),
    ]
});

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let written = if bytes.one() == 0 { bytes.0.to_vec() } else { lines(&mut bytes) };
    let Parsed { entries, length, damaged } = parse(&written);
    assert!(length <= written.len() && entries.len() + damaged <= length);
    let (folder, key) = &*FOLDER;
    fs::write(folder.join("journal"), &written).unwrap();
    drop(Journal::peek(folder));
    if let Ok(mut journal) = Journal::open(folder) {
        assert_eq!(journal.entries().len() + 1, entries.len());
        told(&journal);
        delivered(&mut journal);
    }
    if let (Some(key), Ok(text)) = (key, str::from_utf8(input)) {
        assert!(key.open(&Secret::new(format!("sealed:{text}"))).is_none(), "nobody sealed this");
    }
});

fn lines(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut written = Vec::new();
    for at in 0..bytes.below(12) {
        let good = GOOD.get(if at == 0 { 0 } else { bytes.below(GOOD.len()) }).cloned().unwrap_or_default();
        let line = match bytes.below(8) {
            0 => bytes.text().replace('\n', " "),
            _ => edited(
                good,
                bytes,
                &["sealed:AAAA", "1", "2", "1+1", "end", "sha256:", "opened", "../x", "/tmp/dataflow-forged"],
            )
            .to_string(),
        };
        written
            .extend_from_slice(format!("{} {line}\n", Fingerprint::of(line.as_bytes()).short(16)).as_bytes());
    }
    written
}

/// Where the sink is: what its folders are called begins with `v=1`.
fn delivered(journal: &mut Journal) {
    let world = FOLDER.0.parent().unwrap();
    let directory = world.join("sink");
    fs::create_dir_all(directory.join("outside")).unwrap();
    let sinks = [sink::of(&config::Sink::File(FileSink::private(directory.clone())))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    drop(runtime.block_on(delivery::deliver(journal, &sinks, DateTime::UNIX_EPOCH)));
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(world), ["block", "sink"], "written outside of the sink");
    assert_eq!(names(world.parent().unwrap()).iter().filter(|name| *name == "x").count(), 0);
    assert!(!Path::new("/tmp/dataflow-forged").exists() && names(&FOLDER.0) == ["journal"]);
    assert!(names(&directory).iter().all(|name| name == "outside" || name == "v=1"));
    assert_eq!(names(&directory.join("outside")), [] as [String; 0]);
    fs::remove_dir_all(directory).unwrap();
}

fn told(journal: &Journal) {
    let now = DateTime::UNIX_EPOCH;
    for lease in journal.leases() {
        let terms = lease.terms(journal.attempted(&lease.id));
        assert!(
            terms.handle.is_none_or(|handle| !handle.expose().starts_with("sealed:")),
            "an encrypted text as a handle"
        );
        drop((
            lease.facts(buildkite_dataflow::provider::public_details(&lease.provider)),
            lease.is_given_back(),
            lease.is_locked(),
            lease.is_renewal(),
        ));
        drop((journal.settlement(&lease.id), journal.next_renewal(&lease.id)));
    }
    assert!(journal.open_leases(now).len() <= journal.leases().count());
    drop((journal.last_attempt(), journal.lost_intents(), journal.latest_end(), journal.exported()));
    drop((journal.undelivered(), journal.is_closing(), journal.ended()));
    for (_, settlement) in journal.settlements() {
        assert!(settlement.is_final() || matches!(settlement, Settlement::Failed { .. }));
        drop((settlement.to_string(), settlement.word(), settlement.needs_attention()));
    }
    for link in journal.links() {
        drop((record::read(link.document.as_bytes()), record::chain(&link.path)));
    }
}
