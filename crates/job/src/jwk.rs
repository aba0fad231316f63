//! A signing key of an issuer, and what it says of a signature.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreJsonCurveType as Curve, CoreJsonWebKeyType as Type, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm as Alg,
};
use openidconnect::{JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, SignatureVerificationError};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The signatures that are believed: RSA PKCS #1 and ECDSA (RFC 7518 sections 3.3 and 3.4).
pub const ALGORITHMS: [Alg; 4] =
    [Alg::RsaSsaPkcs1V15Sha256, Alg::RsaSsaPkcs1V15Sha512, Alg::EcdsaP256Sha256, Alg::EcdsaP384Sha384];

/// A public key (RFC 7517), for `openidconnect`, by the cryptography that TLS brings along: `openidconnect`'s own takes
/// a sixth of all that a hook computes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Jwk {
    kty: Type,
    #[serde(rename = "use")]
    usage: Option<CoreJsonWebKeyUse>,
    kid: Option<JsonWebKeyId>,
    alg: Option<Named>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<Curve>,
    x: Option<String>,
    y: Option<String>,
}

/// The algorithm that a key is for: of signatures, or of something else.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Named {
    Signing(Alg),
    Other(String),
}

/// The shortest RSA modulus that is believed, in bytes (RFC 7518 section 3.3).
const MODULUS: usize = 256;

impl Jwk {
    fn rsa(&self) -> Option<RsaPublicKeyComponents<Vec<u8>>> {
        let n = number(self.n.as_ref()?).filter(|n| n.len() >= MODULUS)?;
        Some(RsaPublicKeyComponents { n, e: number(self.e.as_ref()?)? })
    }

    /// The point, uncompressed (SEC 1 section 2.3.3), on `curve`.
    fn point(&self, curve: &Curve) -> Option<Vec<u8>> {
        let coordinate = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let on_curve = self.crv.as_ref() == Some(curve);
        on_curve.then(|| Some([vec![4], coordinate(&self.x)?, coordinate(&self.y)?].concat()))?
    }
}

/// A `Base64urlUInt` (RFC 7518 section 2). Some issuers write a leading zero, which is part of no number.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

impl JsonWebKey for Jwk {
    type KeyUse = CoreJsonWebKeyUse;
    type SigningAlgorithm = Alg;

    fn key_id(&self) -> Option<&JsonWebKeyId> {
        self.kid.as_ref()
    }

    fn key_type(&self) -> &Type {
        &self.kty
    }

    fn key_use(&self) -> Option<&CoreJsonWebKeyUse> {
        self.usage.as_ref()
    }

    fn signing_alg(&self) -> JsonWebKeyAlgorithm<&Alg> {
        match &self.alg {
            None => JsonWebKeyAlgorithm::Unspecified,
            Some(Named::Signing(alg)) => JsonWebKeyAlgorithm::Algorithm(alg),
            Some(Named::Other(_)) => JsonWebKeyAlgorithm::Unsupported,
        }
    }

    /// Of a client's secret, which no public client has: a key without parts, by which nothing is verified.
    fn new_symmetric(_: Vec<u8>) -> Self {
        Self {
            kty: Type::Symmetric,
            usage: None,
            kid: None,
            alg: None,
            n: None,
            e: None,
            crv: None,
            x: None,
            y: None,
        }
    }

    fn verify_signature(
        &self,
        alg: &Alg,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureVerificationError> {
        let rsa = |rules| self.rsa().map(|key| key.verify(rules, message, signature));
        let ecdsa = |rules, curve| {
            self.point(&curve).map(|point| UnparsedPublicKey::new(rules, point).verify(message, signature))
        };
        let verified = match alg {
            Alg::RsaSsaPkcs1V15Sha256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Alg::RsaSsaPkcs1V15Sha512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Alg::EcdsaP256Sha256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED, Curve::P256),
            Alg::EcdsaP384Sha384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED, Curve::P384),
            _ => return Err(SignatureVerificationError::UnsupportedAlg(format!("{alg:?}"))),
        };
        match verified {
            Some(verified) => {
                verified.map_err(|_| SignatureVerificationError::CryptoError("bad signature".into()))
            }
            None => Err(SignatureVerificationError::InvalidKey(format!(
                "it is no key for {alg:?} (RSA: of 2048 bits or more)"
            ))),
        }
    }

    /// For the hashes of codes and access tokens in an ID token: a job's token has none.
    fn hash_bytes(&self, _: &[u8], _: &Alg) -> Result<Vec<u8>, String> {
        Err("nothing is hashed with an issuer's key".to_owned())
    }
}
