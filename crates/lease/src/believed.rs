//! What a journal says and cannot be: any process of this user can append to it.

use chrono::{DateTime, Utc};

use super::entry::Entry;
use super::journal::Journal;
use super::{Lease, Need};
use dataflow_types::settlement::Settlement;

/// What became of a lease, as far as everything but its provider's word goes.
fn fits(lease: &Lease, settlement: &Settlement) -> bool {
    let has_handle = matches!(lease.settle_with, Need::Handle { .. });
    let ends = |at: &DateTime<Utc>| *at == lease.expires_at;
    match settlement {
        // Only of what was not lent.
        Settlement::NotIssued { .. } | Settlement::Unknown { .. } => false,
        Settlement::Left { until } => lease.leave && ends(until),
        Settlement::Failed { until, .. } => ends(until),
        Settlement::Expires { at } => ends(at),
        Settlement::AlreadyExpired { at } => has_handle || ends(at),
        Settlement::Revoked { at }
        | Settlement::RevokedInferred { at }
        | Settlement::RevokeAccepted { at }
        | Settlement::RevokedInPart { at, .. } => has_handle && *at >= lease.issued_at,
        Settlement::Stored { .. } | Settlement::Bounded { .. } | Settlement::Denied { .. } => true,
    }
}

impl Journal {
    /// Takes out of memory what earlier processes cannot have said, and says what that was. `gives` is whether a
    /// lease's provider can give such an answer.
    pub fn disbelieve(&mut self, gives: impl Fn(&Lease, &Settlement) -> bool) -> Vec<String> {
        let (mut said, mut kept) = (Vec::new(), Vec::new());
        for entry in self.earlier() {
            let id = match entry {
                Entry::Leased(lease) => &lease.id,
                Entry::Settled { id, .. } | Entry::NotIssued { id, .. } => id,
                _ => {
                    kept.push(entry.clone());
                    continue;
                }
            };
            let lease = lease_of(&kept, id);
            let is_intended = kept.iter().any(|one| matches!(one, Entry::Intent(intent) if intent.id == *id));
            let problem = match (entry, lease) {
                (Entry::Leased(_), Some(_)) => Some("a second lease".to_owned()),
                (Entry::Settled { settlement, .. }, Some(lease))
                    if !(fits(lease, settlement) && gives(lease, settlement)) =>
                {
                    Some(format!("`{}`, which {} cannot give", settlement.word(), lease.provider))
                }
                (Entry::NotIssued { .. }, Some(_)) => Some("`not-issued`, and it was lent".to_owned()),
                (Entry::Settled { settlement, .. }, None) => {
                    let fits = matches!(settlement, Settlement::Unknown { .. } | Settlement::Expires { .. });
                    (!fits || !is_intended).then(|| format!("`{}`, and it was not lent", settlement.word()))
                }
                (Entry::NotIssued { .. }, None) if !is_intended => {
                    Some("`not-issued`, without a request".to_owned())
                }
                _ => None,
            };
            match problem {
                Some(problem) => said.push(format!("the journal says of lease {id} {problem}")),
                None => kept.push(entry.clone()),
            }
        }
        if !said.is_empty() {
            self.replace_earlier(kept);
        }
        said
    }
}

fn lease_of<'e>(entries: &'e [Entry], id: &str) -> Option<&'e Lease> {
    entries.iter().find_map(|entry| match entry {
        Entry::Leased(lease) if lease.id == id => Some(lease),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Intent, Opened};

    #[test]
    fn what_cannot_be_is_taken_out_and_what_can_stays() {
        let folder = tempfile::tempdir().unwrap();
        let lease = Lease::of_nobody();
        let at = lease.expires_at;
        let intent = |id: &str| {
            let (id, session) = (id.into(), "s".into());
            Entry::Intent(Intent { id, provider: "aws".into(), session, latest: at })
        };
        let settled = |id: &str, settlement| Entry::Settled { id: id.into(), settlement };
        let mut said = vec![intent("1"), Entry::Leased(lease.clone()), intent("2")];
        let truths = [
            settled("1", Settlement::Failed { reason: "503".into(), until: at }),
            settled("1", Settlement::Expires { at }),
            settled("2", Settlement::Unknown { until: at }),
        ];
        let lies = [
            Entry::Leased(Lease { principal: "another".into(), ..lease }),
            settled("1", Settlement::Revoked { at }),
            settled("1", Settlement::Left { until: at }),
            settled("1", Settlement::Expires { at: DateTime::UNIX_EPOCH }),
            settled("1", Settlement::Failed { reason: "503".into(), until: DateTime::UNIX_EPOCH }),
            settled("1", Settlement::Unknown { until: at }),
            settled("2", Settlement::Revoked { at }),
            settled("3", Settlement::Expires { at }),
            Entry::NotIssued { id: "1".into(), reason: "x".into() },
            Entry::NotIssued { id: "3".into(), reason: "x".into() },
        ];
        said.extend(truths.iter().chain(&lies).cloned());
        let path = folder.path().join("block");
        Journal::create(&path, Opened::of_nobody()).unwrap().append(said).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.disbelieve(|_, _| true).len(), lies.len());
        assert_eq!(journal.entries().len(), 3 + truths.len());
        assert!(journal.disbelieve(|_, _| true).is_empty());
        assert_eq!(journal.disbelieve(|_, _| false).len(), 2);
    }
}
