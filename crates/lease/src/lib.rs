//! Leases: the promise to give every credential back, written down before it is made.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use dataflow_types::at_rest::AtRest;
use dataflow_types::credential::{Credential, SettleWith};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Fingerprint;

mod around;
mod believed;
pub mod cached;
pub mod competing;
pub mod encryption;
pub mod entry;
pub mod error;
pub mod escrow;
pub mod export;
pub mod forms;
pub mod glance;
pub mod journal;
mod lines;
pub mod marker;
#[cfg(test)]
mod model;
pub mod private;
mod queries;
pub mod restore;
pub mod state;

/// What stands between a request's id and the number of its renewal.
const RENEWAL: char = '+';

/// A credential that was lent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// The request it answers.
    pub id: String,
    /// Who lent it.
    pub provider: String,
    /// Who the step is there.
    pub principal: String,
    /// The provider's public name for this one credential.
    pub handle: String,
    /// What the exchange was called in the provider's log.
    pub session: String,
    /// Digest of the credential's secret values.
    pub fingerprint: Fingerprint,
    /// When it was lent, by the host's clock.
    pub issued_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// The requests that were made with it, and are settled before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// Whether it is to live on when the step has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leave: bool,
    /// What its settlement needs.
    pub settle_with: Need,
}

/// What a settlement needs, as the journal keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Only what the provider must know to say what became of it.
    Detail(BTreeMap<String, String>),
    /// Nothing; what else is known of it.
    Facts(BTreeMap<String, String>),
    /// The credential's own handle, and where it is known.
    Handle {
        /// The handle.
        secret: AtRest,
        /// What else the provider needs to find it again.
        detail: BTreeMap<String, String>,
    },
}

impl Lease {
    /// The lease on `credential`, lent `now` for the request `id`.
    pub fn on(credential: &Credential, id: &str, provider: &str, session: &str, now: DateTime<Utc>) -> Self {
        let secrets = credential.secrets().into_iter();
        let secrets: String = secrets.map(|secret| secret.fingerprint().as_str().to_owned()).collect();
        Self {
            id: id.to_owned(),
            provider: provider.to_owned(),
            principal: credential.principal.clone(),
            handle: credential.handle.clone(),
            session: session.to_owned(),
            fingerprint: Fingerprint::of(secrets.as_bytes()),
            issued_at: now,
            expires_at: match credential.settle_with {
                // A renewal hands over the credential alone, and nothing that makes more of them.
                SettleWith::Later { until } if !id.contains(RENEWAL) => credential.expires_at.max(until),
                _ => credential.expires_at,
            },
            children: Vec::new(),
            leave: false,
            settle_with: match &credential.settle_with {
                SettleWith::Nothing | SettleWith::Later { .. } => Need::Nothing,
                SettleWith::Detail(detail) => Need::Detail(detail.clone()),
                SettleWith::Facts(facts) => Need::Facts(facts.clone()),
                SettleWith::Handle { secret, detail } => {
                    Need::Handle { secret: AtRest(secret.clone()), detail: detail.clone() }
                }
            },
        }
    }

    /// What else is known of it, for the record: of what its settlement needs, only what `public` names.
    pub fn facts(&self, public: &[&str]) -> BTreeMap<String, String> {
        match &self.settle_with {
            Need::Facts(facts) => facts.clone(),
            Need::Handle { detail, .. } | Need::Detail(detail) => {
                let known = |name: &&str| Some(((*name).to_owned(), detail.get(*name)?.clone()));
                public.iter().filter_map(known).collect()
            }
            Need::Nothing => BTreeMap::new(),
        }
    }

    /// Whether somebody is asked to take it back: others end by themselves.
    pub fn is_given_back(&self) -> bool {
        !self.leave && !matches!(self.settle_with, Need::Nothing | Need::Facts(_) | Need::Detail(_))
    }

    /// Whether its handle is encrypted and the key is gone: nobody can give it back.
    pub fn is_locked(&self) -> bool {
        matches!(&self.settle_with, Need::Handle { secret, .. } if encryption::is_sealed(secret))
    }

    /// Whether it was lent while the step ran.
    pub fn is_renewal(&self) -> bool {
        self.id.contains(RENEWAL)
    }

    /// What a provider needs to know to settle it; `tried` when an earlier process may have done so.
    pub fn terms(&self, tried: bool) -> RevocationTarget {
        let (handle, detail) = match &self.settle_with {
            Need::Handle { secret, detail } => {
                (Some(secret.0.clone()).filter(|_| !encryption::is_sealed(secret)), detail.clone())
            }
            Need::Detail(known) | Need::Facts(known) => (None, known.clone()),
            Need::Nothing => (None, BTreeMap::new()),
        };
        RevocationTarget {
            provider: self.provider.clone(),
            expires_at: self.expires_at,
            handle,
            detail,
            tried,
        }
    }
}

#[cfg(test)]
impl Lease {
    /// Of nobody: for tests of what is done with one.
    fn of_nobody() -> Self {
        Self {
            id: "1".into(),
            provider: "vault".into(),
            principal: "p".into(),
            handle: "h".into(),
            session: "s".into(),
            fingerprint: Fingerprint::of(b""),
            issued_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(100),
            children: Vec::new(),
            leave: false,
            settle_with: Need::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_types::credential::Material;
    use dataflow_types::secret::Secret;

    #[test]
    fn a_lease_of_a_token_that_makes_more_of_it_ends_later_and_its_renewal_does_not() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let credential = Credential {
            variables: Vec::new(),
            files: Vec::new(),
            material: Material::Token(Secret::new("token-1")),
            expires_at: at(100),
            principal: "p".into(),
            handle: "h".into(),
            settle_with: SettleWith::Later { until: at(200) },
            answer_lost: false,
            flaw: None,
        };
        let ends = |id| Lease::on(&credential, id, "gcp", "s", at(0)).expires_at;
        assert_eq!((ends("1"), ends("1+1")), (at(200), at(100)));
    }
}
