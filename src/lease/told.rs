//! What a journal tells, from its entries alone.

use super::entry::{Entry, Exported, Intent, Sealed};
use super::journal::Journal;
use super::{Lease, RENEWAL};
use crate::secret::Fingerprint;
use crate::settlement::Settlement;

impl Journal {
    /// Every lease.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.entries().iter().filter_map(|entry| match entry {
            Entry::Leased(lease) => Some(lease),
            _ => None,
        })
    }

    /// Leases without an end yet.
    pub fn open_leases(&self) -> Vec<&Lease> {
        self.leases().filter(|lease| self.settlement(&lease.id).is_none()).collect()
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

    /// What became of a lease.
    pub fn settlement(&self, id: &str) -> Option<&Settlement> {
        self.entries().iter().find_map(|entry| match entry {
            Entry::Settled { id: other, settlement } if other == id => Some(settlement),
            _ => None,
        })
    }

    /// Every settlement so far.
    pub fn settlements(&self) -> Vec<(String, Settlement)> {
        let settled = self.entries().iter().filter_map(|entry| match entry {
            Entry::Settled { id, settlement } => Some((id.clone(), settlement.clone())),
            Entry::NotIssued { id, reason } => {
                Some((id.clone(), Settlement::NotIssued { reason: reason.clone() }))
            }
            _ => None,
        });
        settled.collect()
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
        variables
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
        self.ended() || self.entries().iter().any(|entry| matches!(entry, Entry::Settled { .. }))
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
