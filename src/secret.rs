//! Values that may be used but not shown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A string that can be used but not shown: no `Display`, no `Serialize`, wiped when dropped. No `Deserialize` either:
/// what a provider answers comes in through the door of `provider`, which looks at it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(value.into())))
    }

    /// Lends the value to the one expression that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The only form of a secret that is logged, recorded or compared.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.expose().as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

/// SHA-256 of some bytes, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Digests `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{:x}", Sha256::digest(bytes)))
    }

    /// The whole text, prefix included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell one secret of a record from another, where a provider has no name for it.
    pub fn handle(&self) -> String {
        format!("sha256:{}", self.short(16))
    }

    /// The first `digits` hexadecimal digits, for names of files and for people.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get("sha256:".len()..).and_then(|hex| hex.get(..digits)).unwrap_or(&self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every secret this process has met, so that its own diagnostics can be masked.
///
/// The second line of defence: types keep secrets out of messages, this catches what a library says.
#[derive(Clone, Debug, Default)]
pub struct Mask(Arc<Mutex<Vec<Secret>>>);

impl Mask {
    /// Remembers `secret` for the rest of the process.
    pub fn add(&self, secret: &Secret) {
        if secret.expose().len() >= MIN_LENGTH {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(secret.clone());
        }
    }

    /// `text` with every remembered secret replaced.
    pub fn apply(&self, text: &str) -> String {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "[REDACTED]"))
    }
}

/// A shorter secret cannot be masked without mangling the log (the agent's own minimum, in bytes).
pub const MIN_LENGTH: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2")), "Secret([REDACTED])");
    }

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_value() {
        assert_eq!(
            Secret::new("abc").fingerprint().as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_mask_hides_what_it_was_told_and_ignores_what_is_too_short() {
        let mask = Mask::default();
        mask.add(&Secret::new("tok-123456"));
        mask.add(&Secret::new("ab"));
        assert_eq!(mask.apply("ab says tok-123456"), "ab says [REDACTED]");
    }
}
