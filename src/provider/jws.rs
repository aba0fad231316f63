//! Assertions that this program signs itself, with a client's or an app's private key (RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::secret::Secret;

/// A private key that signs: RSA for RS256, P-256 for ES256.
pub enum Key {
    /// RS256.
    Rsa(Box<RsaKeyPair>),
    /// ES256.
    P256(Box<EcdsaKeyPair>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.algorithm())
    }
}

/// Why a key signs nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not PEM.
    #[error("it is no private key in PEM, such as `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A form that is not read.
    #[error("an EC key must be in PKCS #8: `openssl pkcs8 -topk8 -nocrypt` makes it so")]
    Sec1,
    /// A kind that is not known.
    #[error("it is neither an RSA key of 2048 to 4096 bits nor a P-256 key ({0})")]
    Unknown(String),
    /// The signature failed.
    #[error("it did not sign")]
    DidNotSign,
}

impl Key {
    /// Reads a key.
    pub fn of_pem(pem: &Secret) -> Result<Self, Unusable> {
        let unknown = |error: ring::error::KeyRejected| Unusable::Unknown(error.to_string());
        match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| Unusable::NotPem)? {
            PrivateKeyDer::Pkcs1(der) => {
                let key = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(unknown)?;
                Ok(Self::Rsa(Box::new(key)))
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let random = SystemRandom::new();
                match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
                    Ok(key) => Ok(Self::P256(Box::new(key))),
                    Err(_) => Ok(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(unknown)?))),
                }
            }
            PrivateKeyDer::Sec1(_) => Err(Unusable::Sec1),
            _ => Err(Unusable::NotPem),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    /// Signs these claims.
    pub fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<Secret, Unusable> {
        let mut header = json!({ "typ": "JWT", "alg": self.algorithm() });
        if let (Some(id), Some(header)) = (key_id, header.as_object_mut()) {
            header.insert("kid".into(), json!(id));
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let failed = |_| Unusable::DidNotSign;
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).map_err(failed)?;
                signature
            }
            Self::P256(key) => key.sign(&random, signed.as_bytes()).map_err(failed)?.as_ref().to_vec(),
        };
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };
    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    use rsa::pkcs8::EncodePrivateKey as _;

    fn parts(token: &Secret) -> (String, Vec<u8>) {
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
            let token = key.sign(Some("k1"), &json!({"iss": "svc"})).unwrap();
            let (signed, signature) = parts(&token);
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
        let (signed, signature) = parts(&key.sign(None, &json!({})).unwrap());
        let Key::P256(pair) = key else { panic!() };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
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
