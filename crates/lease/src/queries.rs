//! What a journal tells, from its entries alone.

use chrono::{DateTime, Utc};

use super::entry::{Entry, Exported, Intent};
use super::journal::Journal;
use super::{Lease, RENEWAL, encryption};
use dataflow_record::Sealed;
use dataflow_types::secret::Fingerprint;
use dataflow_types::settlement::Settlement;

impl Journal {
    /// Whether the bootstrap holds every hook that it starts by a descriptor: then no other process is a hook.
    pub fn hooks_are_held(&self) -> bool {
        self.entries().iter().any(|entry| matches!(entry, Entry::HooksAreHeld))
    }

    /// Every lease.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.entries().iter().filter_map(|entry| match entry {
            Entry::Leased(lease) => Some(lease),
            _ => None,
        })
    }

    /// Leases that could still be given back at `now`: without an end, or with a failure that neither time nor
    /// a reboot has overtaken.
    pub fn open_leases(&self, now: DateTime<Utc>) -> Vec<&Lease> {
        self.open_or_waiting(now, |_| false)
    }

    /// The same, and those that a reboot has overtaken while, as `waits` says, another user can give them back.
    pub fn open_or_waiting(&self, now: DateTime<Utc>, waits: impl Fn(&Lease) -> bool) -> Vec<&Lease> {
        let open = |lease: &&Lease| match self.settlement(&lease.id) {
            None => true,
            Some(Settlement::Failed { until, .. }) => *until > now && (!self.is_lost(lease) || waits(lease)),
            Some(_) => false,
        };
        self.leases().filter(open).collect()
    }

    /// Whether nobody can ever give a lease back: the key to its handle went with an earlier boot. Within one
    /// boot a key that is not seen may be seen by another process.
    pub fn is_lost(&self, lease: &Lease) -> bool {
        lease.is_locked() && self.opened().bootstrap.is_of_an_earlier_boot()
    }

    /// Whether somebody tried to give this lease back.
    pub fn attempted(&self, id: &str) -> bool {
        self.entries().iter().any(|entry| matches!(entry, Entry::Attempted { id: other, .. } if other == id))
    }

    /// When somebody last tried to give a lease back.
    pub fn last_attempt(&self) -> Option<DateTime<Utc>> {
        self.entries().iter().rev().find_map(|entry| match entry {
            Entry::Attempted { at, .. } => Some(*at),
            _ => None,
        })
    }

    /// Intents of which neither a lease, nor a refusal, nor an end is known: their answer was lost.
    pub fn lost_intents(&self) -> Vec<&Intent> {
        let answered = |id: &str| {
            self.entries().iter().any(|entry| match entry {
                Entry::Leased(lease) => lease.id == id,
                Entry::NotIssued { id: other, .. } | Entry::Settled { id: other, .. } => other == id,
                _ => false,
            })
        };
        let intents = self.entries().iter().filter_map(|entry| match entry {
            Entry::Intent(intent) => Some(intent),
            _ => None,
        });
        intents.filter(|intent| !answered(&intent.id)).collect()
    }

    /// When the last of all that was or may have been lent ends.
    pub fn latest_end(&self) -> Option<DateTime<Utc>> {
        let ends = self.entries().iter().filter_map(|entry| match entry {
            Entry::Leased(lease) => Some(lease.expires_at),
            Entry::Intent(intent) => Some(intent.latest),
            _ => None,
        });
        ends.max()
    }

    /// What was found while the step ran, by identifier and sentence.
    pub fn findings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().iter().filter_map(|entry| match entry {
            Entry::Found { ident, what } => Some((ident.as_str(), what.as_str())),
            _ => None,
        })
    }

    /// What became of a lease, as far as is known.
    pub fn settlement(&self, id: &str) -> Option<&Settlement> {
        self.entries().iter().rev().find_map(|entry| match entry {
            Entry::Settled { id: other, settlement } if other == id => Some(settlement),
            _ => None,
        })
    }

    /// Every settlement so far: the last word on each lease.
    pub fn settlements(&self) -> Vec<(String, Settlement)> {
        let mut settled: Vec<(String, Settlement)> = Vec::new();
        for entry in self.entries() {
            let (id, settlement) = match entry {
                Entry::Settled { id, settlement } => (id, settlement.clone()),
                Entry::NotIssued { id, reason } => (id, Settlement::NotIssued { reason: reason.clone() }),
                _ => continue,
            };
            match settled.iter_mut().find(|(known, _)| known == id) {
                Some((_, earlier)) => *earlier = settlement,
                None => settled.push((id.clone(), settlement)),
            }
        }
        settled
    }

    /// Whether it is this process that says what became of a lease, and not an earlier one.
    pub fn says_itself(&self, id: &str) -> bool {
        self.own().iter().any(|entry| {
            matches!(entry, Entry::Settled { id: other, .. } | Entry::NotIssued { id: other, .. } if other == id)
        })
    }

    /// The variables that were set, with what each was before.
    pub fn exported(&self) -> Vec<Exported> {
        let mut variables: Vec<Exported> = Vec::new();
        for entry in self.entries() {
            match entry {
                Entry::Exporting { variables: more } => variables.extend(more.iter().cloned()),
                Entry::Rebased { name, previous } => {
                    if let Some(variable) = variables.iter_mut().find(|variable| variable.name == *name) {
                        variable.previous.clone_from(previous);
                    }
                }
                _ => {}
            }
        }
        for variable in &mut variables {
            // Never an encrypted text in place of a value: without the key it is as if nothing had been there.
            variable.previous = variable.previous.take().filter(|previous| !encryption::is_sealed(previous));
        }
        variables
    }

    /// The digest of what callbacks may ask for again: the first, for a step can append another.
    pub fn asked(&self) -> Option<&Fingerprint> {
        self.entries().iter().find_map(|entry| match entry {
            Entry::Asked { digest } => Some(digest),
            _ => None,
        })
    }

    /// The links sealed so far.
    pub fn links(&self) -> Vec<&Sealed> {
        self.entries()
            .iter()
            .filter_map(|entry| match entry {
                Entry::Sealed(sealed) => Some(sealed),
                _ => None,
            })
            .collect()
    }

    /// The outbox: links that no sink has confirmed.
    pub fn undelivered(&self) -> Vec<Sealed> {
        let delivered = |digest: &Fingerprint| {
            self.entries()
                .iter()
                .any(|entry| matches!(entry, Entry::Delivered { digest: other } if other == digest))
        };
        self.links().into_iter().filter(|link| !delivered(&link.digest)).cloned().collect()
    }

    /// Whether giving back has begun: nothing more is lent.
    pub fn is_closing(&self) -> bool {
        let begun = |entry: &Entry| matches!(entry, Entry::Settled { .. } | Entry::Attempted { .. });
        self.ended() || self.entries().iter().any(begun)
    }

    /// A name that no intent has for the next renewal of the request `id`.
    pub fn next_renewal(&self, id: &str) -> String {
        let prefix = format!("{id}{RENEWAL}");
        let earlier = self.entries().iter().filter(|entry| match entry {
            Entry::Intent(intent) => intent.id.starts_with(&prefix),
            _ => false,
        });
        format!("{prefix}{}", earlier.count() + 1)
    }

    /// Whether the record has its END.
    pub fn ended(&self) -> bool {
        self.links().iter().any(|link| link.kind == "end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Opened;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn journal(folder: &std::path::Path) -> Journal {
        let mut journal = Journal::create(&folder.join("block"), Opened::of_nobody()).unwrap();
        journal.append(vec![Entry::Leased(Lease::of_nobody())]).unwrap();
        journal
    }

    fn settled(settlement: Settlement) -> Entry {
        Entry::Settled { id: "1".into(), settlement }
    }

    #[test]
    fn what_could_not_be_given_back_is_open_until_it_ends_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        let failed = Settlement::Failed { reason: "503".into(), until: at(100) };
        journal.append(vec![settled(failed)]).unwrap();
        assert_eq!((journal.open_leases(at(99)).len(), journal.open_leases(at(100)).len()), (1, 0));
    }

    #[test]
    fn the_last_word_on_a_lease_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        let failed = Settlement::Failed { reason: "503".into(), until: at(100) };
        let revoked = Settlement::Revoked { at: at(50) };
        journal.append(vec![settled(failed), settled(revoked.clone())]).unwrap();
        assert_eq!(journal.settlements(), [("1".to_owned(), revoked)]);
        assert!(journal.open_leases(at(60)).is_empty());
    }

    #[test]
    fn a_block_that_somebody_began_to_give_back_lends_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        assert!(!journal.is_closing());
        journal.append(vec![Entry::Attempted { id: "1".into(), at: at(50) }]).unwrap();
        assert!(journal.is_closing() && journal.attempted("1") && !journal.attempted("2"));
        assert_eq!(journal.last_attempt(), Some(at(50)));
    }
}
