//! Signatures by the engine `transit`, whose keys do not leave Vault (its HTTP API, "Transit", "Sign data").

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::place::Place;
use super::{JSON, refusal};
use crate::call::call;
use crate::{Context, Error};
use dataflow_config::key::Transit;
use dataflow_host::http::Method;
use dataflow_types::secret::Secret;

/// Has Vault sign this text for a login.
pub(crate) async fn sign(
    transit: &Transit,
    login: &Secret,
    text: &str,
    context: &Context<'_>,
) -> Result<Vec<u8>, Error> {
    let place = Place { address: transit.address.clone(), namespace: transit.namespace.clone() };
    let path = format!("{}/sign/{}", transit.mount, transit.key);
    // The digest alone goes there. RSA ignores the marshaling, P-256 the other.
    let mut body = json!({
        "input": STANDARD.encode(digest(&SHA256, text.as_bytes())), "prehashed": true,
        "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15", "marshaling_algorithm": "jws",
    });
    if let (Some(version), Some(body)) = (transit.version, body.as_object_mut()) {
        body.insert("key_version".to_owned(), json!(version));
    }
    let body = body.to_string();
    let make = async |_| {
        let request = place.request(Method::POST, place.url(&path))?;
        let request = request.secret_header("x-vault-token", "", login)?;
        Ok(request.body(JSON, body.clone().into_bytes()))
    };
    let answer = call(context, |status, body| refusal::sign(status, body, &path), make).await?;
    let fields = answer.fields()?;
    let signature = fields.text(&["/data/signature"]).ok_or_else(|| fields.lacks("/data/signature"))?;
    let signature = bytes(signature, transit);
    signature.ok_or_else(|| answer.malformed(format!("answered no {} of its key", transit.algorithm.word())))
}

/// `vault:v1:` and the signature, in either alphabet of Base64: servers differ in which they use for RSA.
fn bytes(signature: &str, transit: &Transit) -> Option<Vec<u8>> {
    let encoded = signature.strip_prefix("vault:v")?.split_once(':')?.1;
    let encoded = encoded.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let (rsa, p256) = (bytes.len() >= 256, bytes.len() == 64);
    let fits = if transit.algorithm == dataflow_config::key::Algorithm::Es256 { p256 } else { rsa };
    fits.then_some(bytes)
}
