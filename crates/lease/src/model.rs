//! The journal against a model of it: whatever is written, cut off and read again, it tells the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::entry::{Entry, Exported, Intent, Opened};
use super::journal::{Journal, parse};
use super::{Lease, Need};
use dataflow_record::Sealed;
use dataflow_types::at_rest::AtRest;
use dataflow_types::secret::{Fingerprint, Secret};
use dataflow_types::settlement::Settlement;

/// What a process does to a journal.
#[derive(Clone, Debug)]
enum Act {
    Intend(u8),
    Refuse(u8),
    Lend(u8),
    Try(u8),
    Fail(u8, i64),
    Revoke(u8),
    Seal(u8),
    Deliver(u8),
    Cover(u8, Option<String>),
    /// Writes what only a newer version knows.
    Newer,
    /// Dies in the middle of a line; another process goes on.
    Torn(Vec<u8>),
    /// Ends between two lines; another process goes on.
    Reopen,
}

/// What the journal should tell.
#[derive(Debug, Default)]
struct Model {
    intended: BTreeSet<u8>,
    answered: BTreeSet<u8>,
    leased: BTreeSet<u8>,
    tried: BTreeSet<u8>,
    settled: BTreeMap<u8, Settlement>,
    sealed: Vec<u8>,
    delivered: BTreeSet<u8>,
    covered: Vec<(String, Option<String>)>,
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let id = || 0_u8..4;
    let act = prop_oneof![
        id().prop_map(Act::Intend),
        id().prop_map(Act::Refuse),
        id().prop_map(Act::Lend),
        id().prop_map(Act::Try),
        (id(), 0_i64..200).prop_map(|(id, until)| Act::Fail(id, until)),
        id().prop_map(Act::Revoke),
        id().prop_map(Act::Seal),
        id().prop_map(Act::Deliver),
        (id(), proptest::option::of("[ -~\n\u{e4}]{0,12}")).prop_map(|(id, text)| Act::Cover(id, text)),
        Just(Act::Newer),
        proptest::collection::vec(any::<u8>().prop_filter("no end of a line", |byte| *byte != b'\n'), 0..40)
            .prop_map(Act::Torn),
        Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 0..24)
}

fn lease(id: u8) -> Lease {
    let secret = AtRest(Secret::new(format!("handle-of-{id}")));
    Lease {
        id: id.to_string(),
        fingerprint: Fingerprint::of(&[id]),
        settle_with: Need::Handle { secret, detail: BTreeMap::new() },
        ..Lease::of_nobody()
    }
}

fn digest(id: u8) -> Fingerprint {
    Fingerprint::of(&[b'l', id])
}

impl Model {
    /// The entry of an act, once the model knows of it; none where the act writes none.
    fn write(&mut self, act: &Act) -> Option<Entry> {
        Some(match act {
            Act::Intend(id) => {
                self.intended.insert(*id);
                let (provider, session) = ("vault".into(), "s".into());
                Entry::Intent(Intent { id: id.to_string(), provider, session, latest: at(100) })
            }
            Act::Refuse(id) => {
                self.answered.insert(*id);
                Entry::NotIssued { id: id.to_string(), reason: "no".into() }
            }
            Act::Lend(id) => {
                self.answered.insert(*id);
                self.leased.insert(*id);
                Entry::Leased(lease(*id))
            }
            Act::Try(id) => {
                self.tried.insert(*id);
                Entry::Attempted { id: id.to_string(), at: at(50) }
            }
            Act::Fail(id, until) => {
                self.settle(*id, Settlement::Failed { reason: "503".into(), until: at(*until) })
            }
            Act::Revoke(id) => self.settle(*id, Settlement::Revoked { at: at(60) }),
            Act::Seal(id) => {
                self.sealed.push(*id);
                let (kind, path, document) = ("start".into(), "p".into(), "{}".into());
                Entry::Sealed(Sealed { kind, digest: digest(*id), path, document })
            }
            Act::Deliver(id) => {
                self.delivered.insert(*id);
                Entry::Delivered { digest: digest(*id) }
            }
            Act::Cover(id, previous) => {
                let name = format!("V{id}");
                self.covered.push((name.clone(), previous.clone()));
                let previous = previous.as_ref().map(|text| AtRest(Secret::new(text.as_str())));
                Entry::Exporting { variables: vec![Exported { name, fingerprint: digest(*id), previous }] }
            }
            Act::Newer | Act::Torn(_) | Act::Reopen => return None,
        })
    }

    fn settle(&mut self, id: u8, settlement: Settlement) -> Entry {
        self.answered.insert(id);
        self.settled.insert(id, settlement.clone());
        Entry::Settled { id: id.to_string(), settlement }
    }

    /// That the journal tells what the model does.
    fn holds(&self, journal: &Journal) {
        let lost: BTreeSet<u8> = journal.lost_intents().iter().map(|one| one.id.parse().unwrap()).collect();
        assert_eq!(lost, self.intended.difference(&self.answered).copied().collect());
        for now in [0, 60, 150, 300] {
            let open: BTreeSet<u8> =
                journal.open_leases(at(now)).iter().map(|lease| lease.id.parse().unwrap()).collect();
            let is_open = |id: &u8| match self.settled.get(id) {
                None => true,
                Some(Settlement::Failed { until, .. }) => *until > at(now),
                Some(_) => false,
            };
            assert_eq!(open, self.leased.iter().copied().filter(is_open).collect(), "at {now}");
        }
        for id in 0..4 {
            assert_eq!(journal.attempted(&id.to_string()), self.tried.contains(&id));
            assert_eq!(journal.settlement(&id.to_string()), self.settled.get(&id));
        }
        assert_eq!(journal.is_closing(), !self.tried.is_empty() || !self.settled.is_empty());
        assert_eq!(journal.links().len(), self.sealed.len());
        let waiting = self.sealed.iter().filter(|id| !self.delivered.contains(id)).count();
        assert_eq!(journal.undelivered().len(), waiting);
        let covered = journal.exported().into_iter();
        let covered: Vec<_> = covered
            .map(|one| (one.name, one.previous.map(|previous| previous.0.expose().to_owned())))
            .collect();
        assert_eq!(covered, self.covered);
        for lease in journal.leases() {
            assert_eq!(lease.terms(false).handle.unwrap().expose(), format!("handle-of-{}", lease.id));
        }
        assert_eq!(journal.damaged(), 0);
    }
}

fn raw(folder: &Path, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().append(true).open(folder.join("journal"));
    file.unwrap().write_all(bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_journal_tells_what_was_written_whoever_dies_between(acts in acts()) {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("block");
        let (mut model, mut journal) = (Model::default(), Journal::create(&folder, Opened::of_nobody()).unwrap());
        journal.append(Vec::new()).unwrap();
        for act in &acts {
            if let Some(entry) = model.write(act) {
                journal.append(vec![entry]).unwrap();
                model.holds(&journal);
                continue;
            }
            drop(journal);
            match act {
                Act::Newer => {
                    let json = r#"{"entry":"of-another-age","x":[1]}"#;
                    let sum = Fingerprint::of(json.as_bytes());
                    raw(&folder, format!("{} {json}\n", sum.short(16)).as_bytes());
                }
                Act::Torn(bytes) => raw(&folder, bytes),
                _ => {}
            }
            journal = Journal::open(&folder).unwrap();
            prop_assert_eq!(journal.opened(), &Opened::of_nobody());
            model.holds(&journal);
        }
        journal.close().unwrap();
        prop_assert!(!folder.exists() && Journal::open(&folder).is_err());
    }

    #[test]
    fn no_bytes_are_read_as_more_than_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let parsed = parse(&bytes);
        prop_assert!(parsed.length <= bytes.len() && parsed.entries.is_empty());
    }
}

/// Journals as each released version wrote them, with what they tell.
#[test]
fn the_journals_of_every_released_version_are_read() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios/journals");
    let mut read = 0;
    for version in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        for stored in std::fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path()) {
            if stored.extension().is_some_and(|extension| extension == "journal") {
                let told = serde_json::from_slice(&std::fs::read(stored.with_extension("json")).unwrap());
                let told: serde_json::Value = told.unwrap();
                let state = tempfile::tempdir().unwrap();
                std::fs::copy(&stored, state.path().join("journal")).unwrap();
                assert_eq!(
                    what_it_tells(&Journal::open(state.path()).unwrap()),
                    told,
                    "{}",
                    stored.display()
                );
                read += 1;
            }
        }
    }
    assert!(read >= 2, "{read}");
}

fn what_it_tells(journal: &Journal) -> serde_json::Value {
    let unknown = journal.entries().iter().filter(|entry| matches!(entry, Entry::Unknown)).count();
    let leases = journal.leases().map(|lease| {
        let terms = lease.terms(journal.attempted(&lease.id));
        // As Vault's provider has it: others have nothing that an operator needs.
        let public: &[&str] =
            if terms.provider == "vault" { &["address", "namespace", "living"] } else { &[] };
        serde_json::json!({
            "id": lease.id, "provider": terms.provider, "expires-at": terms.expires_at, "tried": terms.tried,
            "handle": terms.handle.map(|handle| handle.expose().to_owned()), "detail": terms.detail,
            "facts": lease.facts(public), "locked": lease.is_locked(), "children": lease.children,
        })
    });
    let covered = journal.exported().into_iter();
    serde_json::json!({
        "opened": journal.opened(), "damaged": journal.damaged(), "unknown": unknown,
        "leases": leases.collect::<Vec<_>>(),
        "open": journal.open_leases(at(0)).iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(),
        "lost": journal.lost_intents(), "settlements": journal.settlements(),
        "covered": covered.map(|one| (one.name, one.previous.map(|p| p.0.expose().to_owned()))).collect::<Vec<_>>(),
        "links": journal.links(), "undelivered": journal.undelivered().len(), "ended": journal.ended(),
    })
}
