//! Leases: the promise to give every credential back, written down before it is made.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::credential::{Credential, SettleWith};
use crate::secret::{Fingerprint, Secret};

pub mod entry;
pub mod export;
pub mod forms;
pub mod journal;
pub mod state;

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
    /// What its settlement needs.
    pub settle_with: Need,
}

/// What a settlement needs, as the journal keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The credential's own handle.
    Handle(Kept),
    /// A fresh token of the job with this audience.
    JobToken(String),
}

/// A secret that is written to the journal, and nowhere else.
#[derive(Clone, Debug)]
pub struct Kept(pub Secret);

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

impl Lease {
    /// The lease on `credential`, lent `now` for the request `id`.
    pub fn on(credential: &Credential, id: &str, provider: &str, session: &str, now: DateTime<Utc>) -> Self {
        let mut secrets = String::new();
        for variable in &credential.variables {
            if let crate::credential::Value::Secret(secret) = &variable.value {
                secrets.push_str(secret.fingerprint().as_str());
            }
        }
        Self {
            id: id.to_owned(),
            provider: provider.to_owned(),
            principal: credential.principal.clone(),
            handle: credential.handle.clone(),
            session: session.to_owned(),
            fingerprint: Fingerprint::of(secrets.as_bytes()),
            issued_at: now,
            expires_at: credential.expires_at,
            settle_with: match &credential.settle_with {
                SettleWith::Nothing => Need::Nothing,
                SettleWith::Handle(secret) => Need::Handle(Kept(secret.clone())),
                SettleWith::JobToken { audience } => Need::JobToken(audience.clone()),
            },
        }
    }

    /// What a provider needs to know to settle it.
    pub fn terms(&self) -> crate::provider::Terms {
        crate::provider::Terms { provider: self.provider.clone(), expires_at: self.expires_at }
    }
}
