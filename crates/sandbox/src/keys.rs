//! The private keys of the sandbox: one that it hands out where a rehearsal needs one, which also signs as a
//! key of Vault or KMS, and a second of the other kind. Whoever checks an assertion knows both.

use std::sync::{LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;

use dataflow_config::key::Algorithm;
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

/// Made once: an RSA key takes a while.
static RSA: LazyLock<Option<RsaPrivateKey>> =
    LazyLock::new(|| RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).ok());

static P256: LazyLock<Option<SigningKey>> = LazyLock::new(|| {
    let [first, second] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
    SigningKey::from_slice(&[first, second].concat()).ok()
});

/// Public keys that were made elsewhere: by a real KMS, in a test.
static OTHERS: Mutex<Vec<RsaPublicKey>> = Mutex::new(Vec::new());

/// The key that is handed out, as PEM.
pub fn pem() -> Secret {
    let pem = RSA.as_ref().and_then(|key| key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).ok());
    Secret::new(pem.map_or_else(String::new, |pem| pem.to_string()))
}

/// Believes another RSA key too, by its public half as PEM; whether it is one.
pub fn believe(public: &str) -> bool {
    let key = RsaPublicKey::from_public_key_pem(public).ok();
    let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    key.map(|key| others.push(key)).is_some()
}

/// The public half of a key: `SubjectPublicKeyInfo`.
pub(super) fn public_der(algorithm: Algorithm) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Rs256 => Some(RSA.as_ref()?.to_public_key().to_public_key_der().ok()?.into_vec()),
        Algorithm::Es256 => Some(P256.as_ref()?.verifying_key().to_public_key_der().ok()?.into_vec()),
    }
}

/// The same as PEM.
pub(super) fn public_pem(algorithm: Algorithm) -> Option<String> {
    use base64::engine::general_purpose::STANDARD;
    let body = STANDARD.encode(public_der(algorithm)?);
    let lines: Vec<&[u8]> = body.as_bytes().chunks(64).collect();
    let body = String::from_utf8(lines.join(&b'\n')).ok()?;
    Some(format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"))
}

/// A signature over a SHA-256 digest; one of P-256 in DER, or as JWS has it.
pub(super) fn sign(algorithm: Algorithm, digest: &[u8], der: bool) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Rs256 => RSA.as_ref()?.sign(Pkcs1v15Sign::new::<Sha256>(), digest).ok(),
        Algorithm::Es256 => {
            let signature: Signature = P256.as_ref()?.sign_prehash(digest).ok()?;
            Some(if der { signature.to_der().as_bytes().to_vec() } else { signature.to_bytes().to_vec() })
        }
    }
}

/// The claims of an assertion that one of these keys signed; `None` for any other.
pub fn verify(assertion: &str) -> Option<Claims> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(algorithm, key).verify(signed.as_bytes(), &signature).is_ok()
    };
    let by_rsa = |key: &RsaPublicKey| {
        key.to_pkcs1_der().is_ok_and(|der| by(&RSA_PKCS1_2048_8192_SHA256, der.as_bytes()))
    };
    let by_p256 =
        |key: &SigningKey| by(&ECDSA_P256_SHA256_FIXED, key.verifying_key().to_sec1_point(false).as_bytes());
    let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = RSA.as_ref().is_some_and(|key| by_rsa(&key.to_public_key()))
        || P256.as_ref().is_some_and(by_p256)
        || others.iter().any(by_rsa);
    if known { SubjectToken::new(Secret::new(assertion)).unverified_claims().ok() } else { None }
}

/// What an assertion's header calls its key.
pub fn key_id(assertion: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(assertion.split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("kid")?.as_str()?.to_owned())
}
