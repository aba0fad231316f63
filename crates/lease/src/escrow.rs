//! What outlives a restart: a lease sealed to a sweeper of another user, who alone can open it.
//!
//! Its first line tells everybody of which boot, job and lease it is, and until when. The second is the lease as the
//! journal has it, encrypted to the sweeper's public key (HPKE, RFC 9180, base mode) and bound to the first. Nobody
//! signs it: whoever may write into the sweeper's folder can write one, of a lease whose secret they know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, Utc};
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Lease;
use dataflow_types::settlement::Settlement;

type Aead = hpke::aead::ChaCha20Poly1305;
type Kdf = hpke::kdf::HkdfSha256;
type Kem = hpke::kem::X25519HkdfSha256;

/// What is sealed, so that nothing else that was sealed to the same key is taken for it; the label follows.
const INFO: &str = "buildkite-dataflow survivor 1\n";
/// The format that this version writes.
const VERSION: u32 = 1;
/// What stands before the 32 bytes of a key, as openssl writes them (RFC 8410).
const PUBLIC: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00";
const PRIVATE: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
/// How many bytes of the second line are the key that the sender made.
const ENCAPSULATED: usize = 32;

/// No file of this kind is longer, in bytes: longer handles than any provider's fit in.
pub const MOST: u64 = 64 << 10;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Label {
    /// The format.
    version: u32,
    /// The boot in which it was lent: while that lasts, the job's own processes give it back.
    pub boot: String,
    /// The job.
    pub job: String,
    /// The journal, by the name of its folder.
    pub block: String,
    /// The lease's id in that journal.
    pub lease: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// What every version's first line says.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin with a label, or has not two lines.
    #[error("it is not what a hook leaves for a sweep after a restart")]
    NotEscrowed,
    /// A newer version wrote it.
    #[error("it is of a newer version, {0}: this one reads {VERSION}")]
    Version(u32),
    /// Another key, a changed byte, or another's first line.
    #[error("it cannot be opened with this key: it was sealed to another, or changed")]
    Locked,
    /// Who sealed it did not seal what the label says.
    #[error("what is sealed in it is not the lease that its first line names")]
    Mislabelled,
}

/// The sweeper's public key, to which leases are sealed.
pub struct PublicKey(<Kem as hpke::Kem>::PublicKey);

/// The sweeper's private key.
pub struct PrivateKey(<Kem as hpke::Kem>::PrivateKey);

impl PublicKey {
    /// Reads what `openssl pkey -pubout` writes.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let key = der.as_ref().strip_prefix(PUBLIC)?;
        <Kem as hpke::Kem>::PublicKey::from_bytes(key).ok().map(Self)
    }
}

impl PrivateKey {
    /// Reads what `openssl genpkey -algorithm X25519` writes.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let key = der.secret_pkcs8_der().strip_prefix(PRIVATE)?;
        <Kem as hpke::Kem>::PrivateKey::from_bytes(key).ok().map(Self)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey")
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey([REDACTED])")
    }
}

impl Label {
    /// The label of a lease of a journal.
    pub fn of(lease: &Lease, boot: &str, job: &str, block: &str) -> Self {
        Self {
            version: VERSION,
            boot: boot.to_owned(),
            job: job.to_owned(),
            block: block.to_owned(),
            lease: lease.id.clone(),
            expires_at: lease.expires_at,
        }
    }
}

/// What the key of one file is derived from beside the shared secret.
fn info(line: &str) -> Vec<u8> {
    [INFO, line].concat().into_bytes()
}

/// The bytes of a file: `lease`, for the owner of `key` alone.
pub fn seal(label: &Label, lease: &Lease, key: &PublicKey) -> Option<Vec<u8>> {
    let mut line = serde_json::to_string(label).ok()?;
    let text = Zeroizing::new(serde_json::to_vec(lease).ok()?);
    let (sender, sealed) =
        hpke::single_shot_seal::<Aead, Kdf, Kem>(&OpModeS::Base, &key.0, &info(&line), &text, b"").ok()?;
    line.push('\n');
    line.push_str(&STANDARD_NO_PAD.encode([sender.to_bytes().as_slice(), &sealed].concat()));
    line.push('\n');
    Some(line.into_bytes())
}

/// What the sweeper says became of a lease, beside the file in which it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// When the lease ends by itself: the answer is of use until then.
    pub until: DateTime<Utc>,
    /// What became of it.
    pub settlement: Settlement,
}

/// A file that is whole, and not opened yet.
#[derive(Debug)]
pub struct Escrowed<'a> {
    /// What its first line says.
    pub label: Label,
    line: &'a str,
    sealed: &'a str,
}

impl<'a> Escrowed<'a> {
    /// Reads a file's bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotEscrowed)?;
        let mut lines = text.strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(line), Some(sealed), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Unreadable::NotEscrowed);
        };
        match serde_json::from_str::<Versioned>(line) {
            Ok(Versioned { version: VERSION }) => {}
            Ok(Versioned { version }) => return Err(Unreadable::Version(version)),
            Err(_) => return Err(Unreadable::NotEscrowed),
        }
        let label = serde_json::from_str(line).map_err(|_| Unreadable::NotEscrowed)?;
        Ok(Self { label, line, sealed })
    }

    /// The lease in it.
    pub fn open(&self, key: &PrivateKey) -> Result<Lease, Unreadable> {
        let bytes = STANDARD_NO_PAD.decode(self.sealed).map_err(|_| Unreadable::Locked)?;
        let (sender, sealed) = bytes.split_first_chunk::<ENCAPSULATED>().ok_or(Unreadable::Locked)?;
        let sender = <Kem as hpke::Kem>::EncappedKey::from_bytes(sender).map_err(|_| Unreadable::Locked)?;
        let info = info(self.line);
        let text =
            hpke::single_shot_open::<Aead, Kdf, Kem>(&OpModeR::Base, &key.0, &sender, &info, sealed, b"");
        let text = Zeroizing::new(text.map_err(|_| Unreadable::Locked)?);
        let lease: Lease = serde_json::from_slice(&text).map_err(|_| Unreadable::Mislabelled)?;
        let named = lease.id == self.label.lease && lease.expires_at == self.label.expires_at;
        if named { Ok(lease) } else { Err(Unreadable::Mislabelled) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Need;
    use dataflow_types::at_rest::AtRest;
    use dataflow_types::secret::Secret;

    /// `openssl genpkey -algorithm X25519`, and `openssl pkey -pubout` of it: the key pair of RFC 7748, section 6.1.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq\n-----END PRIVATE KEY-----\n";
    const PUB: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n-----END PUBLIC KEY-----\n";

    fn lease() -> Lease {
        let secret = AtRest(Secret::new("hvs.secret-handle"));
        Lease { settle_with: Need::Handle { secret, detail: BTreeMap::new() }, ..Lease::of_nobody() }
    }

    fn sealed() -> Vec<u8> {
        let label = Label::of(&lease(), "boot", "job", "block");
        seal(&label, &lease(), &PublicKey::of_pem(PUB.as_bytes()).unwrap()).unwrap()
    }

    fn key() -> PrivateKey {
        PrivateKey::of_pem(KEY.as_bytes()).unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Lease, Unreadable> {
        Escrowed::parse(bytes)?.open(&key())
    }

    #[test]
    fn what_is_sealed_to_the_public_key_opens_with_the_private_one_and_shows_nothing_before() {
        let bytes = sealed();
        assert!(!String::from_utf8_lossy(&bytes).contains("hvs."));
        let Need::Handle { secret, .. } = opened(&bytes).unwrap().settle_with else { panic!() };
        assert_eq!(secret.0.expose(), "hvs.secret-handle");
        assert_ne!(sealed(), bytes, "the same text is never sealed alike");
        assert_eq!(format!("{:?}", key()), "PrivateKey([REDACTED])");
    }

    #[test]
    fn a_file_cut_or_changed_at_any_byte_does_not_open() {
        let whole = sealed();
        for at in 0..whole.len() {
            assert!(opened(&whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(opened(&bytes).is_err(), "bit {bit} of {at}");
            }
        }
    }

    #[test]
    fn a_label_of_another_lease_does_not_fit_whoever_sealed_it() {
        let other = Lease { id: "2".into(), ..lease() };
        let label = Label::of(&other, "boot", "job", "block");
        let bytes = seal(&label, &lease(), &PublicKey::of_pem(PUB.as_bytes()).unwrap()).unwrap();
        assert_eq!(opened(&bytes).unwrap_err(), Unreadable::Mislabelled);
    }

    #[test]
    fn only_a_key_of_the_kind_is_one() {
        assert!(PublicKey::of_pem(KEY.as_bytes()).is_none() && PrivateKey::of_pem(PUB.as_bytes()).is_none());
        // The same in the name of Ed25519.
        let other = KEY.replace("K2VuBC", "K2VwBC");
        assert!(PrivateKey::of_pem(other.as_bytes()).is_none());
        assert!(PublicKey::of_pem(b"").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), line in 0..2usize) {
            drop(opened(&bytes));
            let whole = sealed();
            let mut lines: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
            lines[line] = &bytes;
            proptest::prop_assert!(opened(&lines.join(&b'\n')).is_err());
        }
    }
}
