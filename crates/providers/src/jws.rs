//! Assertions that this program signs itself, with a client's or an app's private key (RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

pub use super::pem::Unusable;
use super::pem::{self, Der};
use dataflow_config::key::Algorithm;
use dataflow_types::secret::Secret;

/// A private key that signs: RSA for RS256, P-256 for ES256.
pub enum Key {
    /// RS256.
    Rsa(Box<RsaKeyPair>),
    /// ES256.
    P256(Box<EcdsaKeyPair>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.algorithm().word())
    }
}

impl Key {
    /// Reads a key, however it was written down.
    pub fn of_pem(text: &Secret) -> Result<Self, Unusable> {
        match pem::read(text.expose())? {
            Der::Pkcs1(der) => Self::of_rsa(&der),
            Der::Pkcs8(der) => Self::of_pkcs8(&der),
            Der::Bare(der) => Self::of_pkcs8(&der).or_else(|error| Self::of_rsa(&der).map_err(|_| error)),
        }
    }

    fn of_rsa(der: &[u8]) -> Result<Self, Unusable> {
        RsaKeyPair::from_der(der).map(|key| Self::Rsa(Box::new(key))).map_err(unknown)
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, Unusable> {
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()) {
            Ok(key) => Ok(Self::P256(Box::new(key))),
            Err(_) => Ok(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(unknown)?))),
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    /// Signs what is to be signed of an assertion.
    pub fn sign(&self, unsigned: &str) -> Result<Vec<u8>, Unusable> {
        let random = SystemRandom::new();
        let failed = |_| Unusable::DidNotSign;
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, unsigned.as_bytes(), &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, unsigned.as_bytes()).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

fn unknown(error: ring::error::KeyRejected) -> Unusable {
    Unusable::Unknown(error.to_string())
}

/// What is to be signed of an assertion: its header and these claims.
pub fn unsigned(algorithm: Algorithm, key_id: Option<&str>, claims: &Value) -> String {
    let mut header = json!({ "typ": "JWT", "alg": algorithm.word() });
    if let (Some(id), Some(header)) = (key_id, header.as_object_mut()) {
        header.insert("kid".into(), json!(id));
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(&header), part(claims))
}

/// The whole assertion.
pub fn signed(unsigned: &str, signature: &[u8]) -> Secret {
    Secret::new(format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A signature of P-256 as JWS wants it, two numbers of 32 bytes, out of the DER that most others write
/// (RFC 3279, section 2.2.3).
pub fn of_der(der: &[u8]) -> Option<Vec<u8>> {
    p256::ecdsa::Signature::from_der(der).ok().map(|signature| signature.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };
    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    use rsa::pkcs8::EncodePrivateKey as _;

    fn assertion(key: &Key, id: Option<&str>, claims: &Value) -> (String, Vec<u8>) {
        let unsigned = unsigned(key.algorithm(), id, claims);
        let token = signed(&unsigned, &key.sign(&unsigned).unwrap());
        let (signed, signature) = token.expose().rsplit_once('.').unwrap();
        (signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    #[test]
    fn an_rsa_key_signs_in_either_form_of_pem() {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let forms = [
            key.to_pkcs1_pem(rsa::pkcs8::LineEnding::LF).unwrap(),
            key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap(),
        ];
        for pem in forms {
            let key = Key::of_pem(&Secret::new(pem.as_str())).unwrap();
            let (signed, signature) = assertion(&key, Some("k1"), &json!({"iss": "svc"}));
            let header = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap();
            assert_eq!(
                serde_json::from_slice::<Value>(&header).unwrap(),
                json!({"typ": "JWT", "alg": "RS256", "kid": "k1"})
            );
            let Key::Rsa(pair) = key else { panic!() };
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
            assert!(public.verify(signed.as_bytes(), &signature).is_ok());
        }
    }

    #[test]
    fn a_p_256_key_signs_with_a_signature_of_fixed_length() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = Key::of_pem(&Secret::new(pair.serialize_pem())).unwrap();
        assert_eq!(format!("{key:?}"), "Key(ES256)");
        let (signed, signature) = assertion(&key, None, &json!({}));
        let Key::P256(pair) = key else { panic!() };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn a_signature_in_der_becomes_one_of_fixed_length() {
        let number = |first: u8, length: usize| [vec![first], vec![7; length - 1]].concat();
        let element = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).unwrap()], inner].concat();
        let der =
            |numbers: [&[u8]; 2]| element(0x30, &[element(2, numbers[0]), element(2, numbers[1])].concat());
        // A number whose first bit is set has a zero in front; a small one is short.
        let long = [vec![0], number(0x80, 32)].concat();
        let signature = of_der(&der([&long, &number(1, 30)])).unwrap();
        assert_eq!(signature, [number(0x80, 32), vec![0, 0], number(1, 30)].concat());
        let good = der([&number(1, 32), &number(1, 32)]);
        for end in 0..good.len() {
            assert_eq!(of_der(&good[..end]), None);
        }
        assert_eq!(of_der(&[&good[..], &[0]].concat()), None, "more than one signature");
        assert_eq!(of_der(&der([&number(1, 33), &number(1, 32)])), None, "of another curve");
    }

    #[test]
    fn what_is_no_key_is_told_without_showing_it() {
        for bad in
            ["hunter2hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"]
        {
            let error = Key::of_pem(&Secret::new(bad)).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("aHVud"), "{error}");
        }
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\naHVudGVyMg==\n-----END EC PRIVATE KEY-----\n";
        assert!(Key::of_pem(&Secret::new(sec1)).unwrap_err().to_string().contains("PKCS #8"));
    }
}
