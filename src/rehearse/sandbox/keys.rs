//! The private key that the sandbox hands out where a rehearsal needs one, and what it knows it by.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rsa::pkcs8::EncodePrivateKey as _;

use crate::claims::{Claims, SubjectToken};
use crate::secret::Secret;

struct Made {
    pem: Secret,
    pair: Option<RsaKeyPair>,
}

/// Made once: an RSA key takes a while.
static MADE: LazyLock<Made> = LazyLock::new(|| {
    let made = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048);
    let der = made.ok().and_then(|key| {
        let pem = key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).ok()?;
        Some((Secret::new(pem.as_str()), key.to_pkcs8_der().ok()?))
    });
    let (pem, pair) = match der {
        Some((pem, der)) => (pem, RsaKeyPair::from_pkcs8(der.as_bytes()).ok()),
        None => (Secret::new(""), None),
    };
    Made { pem, pair }
});

/// The key, as PEM.
pub fn pem() -> Secret {
    MADE.pem.clone()
}

/// The claims of an assertion that this key signed; `None` for any other.
pub fn verify(assertion: &str) -> Option<Claims> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = RsaPublicKeyComponents::<Vec<u8>>::from(MADE.pair.as_ref()?.public());
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).ok()?;
    SubjectToken::new(Secret::new(assertion)).unverified_claims().ok()
}

/// What an assertion's header calls its key.
pub fn key_id(assertion: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(assertion.split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("kid")?.as_str()?.to_owned())
}
