//! What giving a credential back needs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::secret::Secret;
use crate::settlement::Settlement;

/// What is known of a lease when it is to be settled.
#[derive(Clone, Debug)]
pub struct RevocationTarget {
    /// Which provider lent it.
    pub provider: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// The credential's own handle, where it can be given back.
    pub handle: Option<Secret>,
    /// What else the provider needs to find it again: its address, a namespace.
    pub detail: BTreeMap<String, String>,
    /// Whether an earlier process tried to give it back and did not hear, or died before it heard: a
    /// credential that is gone was taken back by that try.
    pub tried: bool,
}

impl RevocationTarget {
    /// What becomes of it where no provider can be asked: without a handle there is nothing to give back, and a
    /// handle without the rest should have been.
    pub fn without_a_way_back(&self) -> Settlement {
        let until = self.expires_at;
        match self.handle {
            None => Settlement::Expires { at: until },
            Some(_) => {
                Settlement::Failed { reason: "the journal lacks where it is given back".to_owned(), until }
            }
        }
    }

    /// What becomes of a credential that cannot be taken back.
    pub fn runs_out(&self, now: DateTime<Utc>) -> Settlement {
        let at = self.expires_at;
        if at <= now { Settlement::AlreadyExpired { at } } else { Settlement::Expires { at } }
    }
}
