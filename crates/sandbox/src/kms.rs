//! AWS KMS, as far as keys sign: `Sign` and `GetPublicKey` (API 2014-11-01), for whoever signed the request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::aws_json::{refused, unsigned};
use super::keys;
use super::sts::Sts;
use dataflow_config::credential::ProviderRequest;
use dataflow_config::key::{Algorithm, PrivateKey};
use dataflow_host::serve::{Request, Response};

/// The keys, by what a step calls them.
#[derive(Debug, Default)]
pub(super) struct Kms(Mutex<BTreeMap<String, Algorithm>>);

impl Kms {
    /// Makes the key that a step takes for granted.
    pub(super) fn prepare(&self, ask: &ProviderRequest) {
        if let Some(PrivateKey::Kms(_, kms)) = ask.kind().private_key() {
            let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.entry(kms.key.clone()).or_insert(kms.algorithm);
        }
    }

    pub(super) fn answer(&self, request: &Request, operation: &str, sts: &Sts) -> Response {
        if let Some(refusal) = unsigned(sts, request, "kms") {
            return refusal;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(&algorithm) = keys.get(text("KeyId")) else {
            return refused("NotFoundException", &format!("Key '{}' does not exist", text("KeyId")));
        };
        let name = match algorithm {
            Algorithm::Rs256 => "RSASSA_PKCS1_V1_5_SHA_256",
            Algorithm::Es256 => "ECDSA_SHA_256",
        };
        let mut answer = json!({"KeyId": text("KeyId"), "SigningAlgorithm": name});
        let made = match operation {
            "TrentService.GetPublicKey" => ("PublicKey", keys::public_der(algorithm)),
            "TrentService.Sign" if text("SigningAlgorithm") != name => {
                let message = format!("Algorithm {} is incompatible with this key", text("SigningAlgorithm"));
                return refused("InvalidKeyUsageException", &message);
            }
            "TrentService.Sign" => ("Signature", signature(algorithm, text("Message"), text("MessageType"))),
            _ => return refused("UnknownOperationException", ""),
        };
        let (Some(answer), (field, Some(bytes))) = (answer.as_object_mut(), made) else {
            return refused("ValidationException", "1 validation error detected: Value at 'message'");
        };
        answer.insert(field.to_owned(), json!(STANDARD.encode(bytes)));
        Response::new(200, "application/x-amz-json-1.1", Value::Object(answer.clone()).to_string())
    }
}

fn signature(algorithm: Algorithm, message: &str, kind: &str) -> Option<Vec<u8>> {
    let message = STANDARD.decode(message).ok().filter(|bytes| (1..=4096).contains(&bytes.len()))?;
    let hashed = if kind == "DIGEST" { message } else { digest(&SHA256, &message).as_ref().to_vec() };
    keys::sign(algorithm, &hashed, true)
}
