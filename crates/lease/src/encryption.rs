//! Secrets at rest: what a journal keeps secret is encrypted under a key in memory-backed storage.
//!
//! Each journal has its own key, made with the first secret and removed with the journal. A reboot, or a
//! copy of the disk, leaves nothing that could be used; the leases end by themselves then.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::Need;
use super::entry::Entry;
use dataflow_host::{files, memory};
use dataflow_types::at_rest::AtRest;
use dataflow_types::secret::{Fingerprint, Secret};

/// How an encrypted text begins.
const PREFIX: &str = "sealed:";
/// What these texts are, so that none is taken for another's.
const CONTEXT: &[u8] = b"buildkite-dataflow journal 1";

/// The key of one journal.
#[derive(Debug)]
pub struct Key(LessSafeKey);

impl Key {
    /// The key of the journal in `folder`, made where there is none yet; `None` where this system has no
    /// memory-backed storage for this user.
    pub fn made_for(folder: &Path) -> Option<Self> {
        Self::of(folder).or_else(|| {
            let mut bytes = Zeroizing::new([0; 32]);
            SystemRandom::new().fill(bytes.as_mut_slice()).ok()?;
            let path = memory::folder()?.join(name(folder));
            files::replace_lossy(&path, bytes.as_slice())
                .inspect_err(|error| tracing::warn!(%error, "secrets are not encrypted at rest"))
                .ok()?;
            Self::from(bytes.as_slice())
        })
    }

    /// The key of the journal in `folder`, where it is still there.
    pub fn of(folder: &Path) -> Option<Self> {
        let path = memory::find(&name(folder))?;
        let bytes = files::read_trusted(&path, &[nix::unistd::geteuid().as_raw()]).ok()?;
        Self::from(&Zeroizing::new(bytes))
    }

    /// Forgets the key of the journal in `folder`, if there is one.
    pub fn forget(folder: &Path) {
        if let Some(path) = memory::find(&name(folder))
            && let Err(error) = files::remove(&path)
        {
            tracing::warn!(%error, "the key of a journal that is gone stays until the next reboot");
        }
    }

    fn from(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Encrypts a text.
    pub fn seal(&self, text: &Secret) -> Option<Secret> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = text.expose().as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::from(CONTEXT), &mut sealed).ok()?;
        let bytes = [nonce.as_slice(), &sealed].concat();
        Some(Secret::new(format!("{PREFIX}{}", STANDARD_NO_PAD.encode(bytes))))
    }

    /// Decrypts what [`Self::seal`] made.
    pub fn open(&self, sealed: &Secret) -> Option<Secret> {
        let text = sealed.expose().strip_prefix(PREFIX)?;
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.0.open_in_place(nonce, Aad::from(CONTEXT), &mut sealed).ok()?;
        String::from_utf8(text.to_vec()).ok().map(Secret::new)
    }
}

/// What the key of a journal is called: by the journal's own place, for one user has many state directories.
pub(super) fn name(folder: &Path) -> String {
    Fingerprint::of(folder.as_os_str().as_encoded_bytes()).short(32).to_owned()
}

/// Whether a text is encrypted.
pub fn is_sealed(kept: &AtRest) -> bool {
    kept.0.expose().starts_with(PREFIX)
}

/// Every secret of an entry.
pub fn secrets(entry: &mut Entry) -> Vec<&mut AtRest> {
    match entry {
        Entry::Leased(lease) => match &mut lease.settle_with {
            Need::Handle { secret, .. } => vec![secret],
            Need::Nothing | Need::Detail(_) | Need::Facts(_) => Vec::new(),
        },
        Entry::Exporting { variables } => {
            variables.iter_mut().filter_map(|variable| variable.previous.as_mut()).collect()
        }
        Entry::Rebased { previous, .. } => previous.iter_mut().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_with_no_other() {
        let sealed = key(1).seal(&Secret::new("hvs.secret-handle")).unwrap();
        assert!(!sealed.expose().contains("secret-handle"));
        assert_eq!(key(1).open(&sealed).unwrap().expose(), "hvs.secret-handle");
        assert!(key(2).open(&sealed).is_none());
    }

    #[test]
    fn no_changed_byte_opens() {
        let sealed = key(1).seal(&Secret::new("text")).unwrap();
        for at in PREFIX.len()..sealed.expose().len() {
            let mut bytes = sealed.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = Secret::new(String::from_utf8(bytes).unwrap());
            assert!(key(1).open(&changed).is_none(), "{at}");
        }
        for text in ["", "sealed:", "sealed:AAAA", "sealed:?", "plain"] {
            assert!(key(1).open(&Secret::new(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let text = Secret::new("text");
        assert_ne!(key(1).seal(&text).unwrap().expose(), key(1).seal(&text).unwrap().expose());
    }
}
