//! A credential in the block's private folder, between two callbacks that hand it out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use dataflow_host::files;
use dataflow_types::at_rest::AtRest;
use dataflow_types::credential::{Credential, Material};
use dataflow_types::secret::Secret;

/// What is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CachedCredential {
    /// When it was lent.
    pub issued_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Who the step is there.
    pub principal: String,
    /// The credential.
    pub secret: Form,
}

/// The credential, by its form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// Nothing that a callback could hand out.
    Nothing,
    /// One token.
    Token(AtRest),
    /// Keys of AWS.
    AwsKeys {
        /// Public name of the keys.
        access_key_id: String,
        /// Signs.
        secret_access_key: AtRest,
        /// Goes with every request.
        session_token: AtRest,
    },
    /// Named values.
    Fields(BTreeMap<String, AtRest>),
}

impl CachedCredential {
    /// What is kept of a credential lent `now`.
    pub fn of(credential: &Credential, now: DateTime<Utc>) -> Self {
        let secret = match &credential.material {
            Material::Nothing => Form::Nothing,
            Material::Token(token) => Form::Token(AtRest(token.clone())),
            Material::AwsKeys { access_key_id, secret_access_key, session_token } => Form::AwsKeys {
                access_key_id: access_key_id.clone(),
                secret_access_key: AtRest(secret_access_key.clone()),
                session_token: AtRest(session_token.clone()),
            },
            Material::Fields(fields) => Form::Fields(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), AtRest(Secret::new(value.expose()))))
                    .collect(),
            ),
        };
        let principal = credential.principal.clone();
        Self { issued_at: now, expires_at: credential.expires_at, principal, secret }
    }

    /// The name of its file.
    pub fn file(name: &str) -> String {
        format!("{name}.kept")
    }

    /// Where it is kept.
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(Self::file(name))
    }

    /// What its file holds.
    pub fn text(&self) -> serde_json::Result<Secret> {
        serde_json::to_string(self).map(Secret::new)
    }

    /// What is kept, where it is there and whole.
    pub fn read(folder: &Path, name: &str) -> Option<Self> {
        let bytes =
            files::read_trusted(&Self::path(folder, name), &[nix::unistd::geteuid().as_raw()]).ok()?;
        serde_json::from_slice(&zeroize::Zeroizing::new(bytes)).ok()
    }

    /// Keeps it, in place of an earlier one.
    pub fn write(&self, folder: &Path, name: &str) -> io::Result<()> {
        files::replace_lossy(&Self::path(folder, name), self.text()?.expose().as_bytes())
    }
}
