//! What a provider gave, before it is handed to the step.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The name of an environment variable: letters, digits and `_`, not beginning with a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct EnvName(String);

impl EnvName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of an environment variable (letters, digits, `_`), saw `{0}`")]
pub struct NotAName(String);

impl FromStr for EnvName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if starts && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAName(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for EnvName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One variable that is about to be handed to the step.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: EnvName,
    /// Its value: a secret or plain.
    pub value: Value,
}

/// What a variable holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Registered with the redactor before it is exported.
    Secret(Secret),
    /// Fit to be seen: a region, a name.
    Plain(String),
}

impl Value {
    /// The secret, if it is one.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Plain(_) => None,
        }
    }

    /// Lends the value, secret or not, to the export.
    pub fn expose(&self) -> &str {
        match self {
            Self::Secret(secret) => secret.expose(),
            Self::Plain(text) => text,
        }
    }
}

/// A file that only the job's user can read, removed when the lease ends. Several of one name are one file,
/// each a part of it.
#[derive(Clone, Debug)]
pub struct PrivateFile {
    /// Its name in the block's folder.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// Whether that must not be seen; a configuration that only says whom to ask may be.
    pub secret: bool,
}

/// What a file holds: a text, or bytes that are none.
#[derive(Clone)]
pub enum Content {
    /// A text.
    Text(Secret),
    /// Any bytes.
    Bytes(Arc<Zeroizing<Vec<u8>>>),
}

impl Content {
    /// The content of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(Secret::new(text)),
            Err(bytes) => Self::Bytes(Arc::new(Zeroizing::new(bytes.into_bytes()))),
        }
    }

    /// Lends the bytes to whoever writes the file.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.expose().as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }

    /// This, and then another.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of([self.expose(), other.expose()].concat())
    }
}

impl From<Secret> for Content {
    fn from(text: Secret) -> Self {
        Self::Text(text)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content([REDACTED])")
    }
}

/// What a credential is to the others that are made with it.
#[derive(Clone, Debug)]
pub enum Material {
    /// Nothing that another provider could use.
    Nothing,
    /// A token that is sent as it is: an access token, a Vault token.
    Token(Secret),
    /// Keys that sign requests to AWS.
    AwsKeys {
        /// Public name of the keys.
        access_key_id: String,
        /// Signs.
        secret_access_key: Secret,
        /// Goes with every request.
        session_token: Secret,
    },
    /// Named values, as a secrets manager holds them: secrets, and what was said to be none.
    Fields(BTreeMap<String, Value>),
}

impl Material {
    /// Everything in it that must not be seen.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Token(token) => vec![token.clone()],
            Self::AwsKeys { secret_access_key, session_token, .. } => {
                vec![secret_access_key.clone(), session_token.clone()]
            }
            Self::Fields(fields) => fields.values().filter_map(|value| value.secret().cloned()).collect(),
        }
    }
}

/// What one exchange gave.
#[derive(Debug)]
pub struct Credential {
    /// What the step gets to see.
    pub variables: Vec<Variable>,
    /// Files that the variables speak of, in the block's private folder.
    pub files: Vec<PrivateFile>,
    /// What other credentials of the block are made with.
    pub material: Material,
    /// When the provider stops honouring it.
    pub expires_at: DateTime<Utc>,
    /// Who the step now is there, in the provider's own words (an assumed-role ARN); not secret.
    pub principal: String,
    /// The provider's public name for this one credential, to find it in the provider's own log; not secret.
    pub handle: String,
    /// What settling the lease needs.
    pub settle_with: SettleWith,
    /// Whether the answer to an earlier try was lost, which may have made a credential that nobody holds.
    pub answer_lost: bool,
    /// Why it may not be used after all, where its provider can still take it back.
    pub flaw: Option<Flaw>,
}

/// Why a credential that was answered may not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Who answered.
    pub host: String,
    /// What is wrong with the answer, as what the host did; no secret.
    pub problem: String,
}

impl Credential {
    /// Everything in it that must not be seen, each once.
    pub fn secrets(&self) -> Vec<Secret> {
        let variables = self.variables.iter().filter_map(|variable| match &variable.value {
            Value::Secret(secret) => Some(secret.clone()),
            Value::Plain(_) => None,
        });
        let files =
            self.files.iter().filter(|file| file.secret).filter_map(|file| file.content.text().cloned());
        let mut secrets: Vec<Secret> = Vec::new();
        for secret in variables.chain(files).chain(self.material.secrets()) {
            if !secrets.iter().any(|known| known.expose() == secret.expose()) {
                secrets.push(secret);
            }
        }
        secrets
    }
}

/// When something ends that does not end by itself, in seconds since 1970: the last second of the year 9999.
pub const NEVER: i64 = 253_402_300_799;

/// What the settlement of a lease needs, besides time.
#[derive(Clone, Debug)]
pub enum SettleWith {
    /// Nothing: it ends by itself.
    Nothing,
    /// Nothing: but what was handed over beside it can be exchanged for others like it, the last of which ends
    /// then.
    Later {
        /// When nothing lives any more that came of it.
        until: DateTime<Utc>,
    },
    /// No secret, only what the provider must know to say what became of it.
    Detail(BTreeMap<String, String>),
    /// Nothing, and this is what else is known of it; no secret, for the record tells it too.
    Facts(BTreeMap<String, String>),
    /// The credential's own handle, the only secret that may reach the journal.
    Handle {
        /// The handle: the token itself, where there is no lesser one.
        secret: Secret,
        /// What else the provider needs to find it again: its address, a namespace. No secret.
        detail: BTreeMap<String, String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_shell_can_read() {
        assert!("AWS_REGION".parse::<EnvName>().is_ok());
        assert!("_X1".parse::<EnvName>().is_ok());
        for bad in ["", "1X", "A-B", "A B", "A=B", "É"] {
            assert!(bad.parse::<EnvName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_of_a_credential_does_not_show_its_secrets() {
        let variable = Variable {
            name: "TOKEN".parse().unwrap(),
            value: Value::Secret(Secret::new("very-secret-value")),
        };
        assert!(!format!("{variable:?}").contains("very-secret"));
    }
}
