//! Whoever signs an assertion: this program with a key that it holds, or Vault or AWS KMS with one that never
//! leaves them.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::call::{Refusal, Remedy, call};
use super::json::Tree;
use super::jws::{self, Unusable};
use super::refusal::about;
use super::sigv4::Call;
use super::{Context, Error, vault};
use dataflow_config::key::{Algorithm, Kms, PrivateKey, Transit};
use dataflow_host::files;
use dataflow_host::http::StatusCode;
use dataflow_types::credential::Material;
use dataflow_types::secret::Secret;

/// The longest message of a server that is told.
const LONGEST: usize = 300;

/// A key that signs, wherever it is.
#[derive(Debug)]
pub struct Signer<'a> {
    key: &'a PrivateKey,
    by: By<'a>,
}

#[derive(Debug)]
enum By<'a> {
    /// This program.
    Us(Box<jws::Key>),
    /// Vault, for this login.
    Transit(&'a Transit, Secret),
    /// AWS, for these keys.
    Kms(&'a Kms, Arc<Material>),
}

impl<'a> Signer<'a> {
    /// The signer that a block names: its file is read, its source waited for.
    pub async fn of(key: &'a PrivateKey, context: &Context<'_>) -> Result<Self, Error> {
        let us = |pem: &Secret| {
            let key_of = jws::Key::of_pem(pem);
            key_of.map(|of| By::Us(Box::new(of))).map_err(|source| Error::Key { name: key.place(), source })
        };
        let by = match key {
            PrivateKey::Held(field) => us(&context.sources.field(field).await?)?,
            PrivateKey::File(path) => us(&read(path)?)?,
            PrivateKey::Transit(source, transit) => match &*context.sources.get(source).await? {
                Material::Token(login) => By::Transit(transit, login.clone()),
                _ => return Err(Error::WrongSource { name: source.clone(), wanted: "login of Vault" }),
            },
            PrivateKey::Kms(source, kms) => match context.sources.get(source).await? {
                keys if matches!(*keys, Material::AwsKeys { .. }) => By::Kms(kms, keys),
                _ => return Err(Error::WrongSource { name: source.clone(), wanted: "keys of AWS" }),
            },
        };
        Ok(Self { key, by })
    }

    /// Signs these claims.
    pub async fn sign(
        &self,
        key_id: Option<&str>,
        claims: &Value,
        context: &Context<'_>,
    ) -> Result<Secret, Error> {
        let algorithm = match &self.by {
            By::Us(key) => key.algorithm(),
            By::Transit(transit, _) => transit.algorithm,
            By::Kms(kms, _) => kms.algorithm,
        };
        let unsigned = jws::unsigned(algorithm, key_id, claims);
        let signature = match &self.by {
            By::Us(key) => {
                key.sign(&unsigned).map_err(|source| Error::Key { name: self.key.place(), source })?
            }
            // A signature is no credential: whatever became of its answer, nothing was lent.
            By::Transit(transit, login) => {
                vault::sign(transit, login, &unsigned, context).await.map_err(leg)?
            }
            By::Kms(kms, keys) => by_kms(kms, keys, &unsigned, context).await.map_err(leg)?,
        };
        let assertion = jws::signed(&unsigned, &signature);
        context.mask.add(&assertion);
        Ok(assertion)
    }
}

fn leg(error: Error) -> Error {
    let source = Box::new(Error::Beforehand(Box::new(error)));
    Error::Leg { name: "signature".to_owned(), made: false, source }
}

/// A file that nobody else may read or write; one behind a link could be changed by whoever owns the link.
fn read(path: &Path) -> Result<Secret, Error> {
    let owners = [0, nix::unistd::geteuid().as_raw()];
    let bytes = files::read_private(path, &owners).map_err(Error::KeyFile)?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes);
    let broken = |_| Error::Key { name: path.display().to_string(), source: Unusable::NotPem };
    Ok(Secret::new(text.map_err(broken)?))
}

/// `Sign` (API 2014-11-01): the text goes there whole, for KMS hashes up to 4096 bytes itself.
async fn by_kms(kms: &Kms, keys: &Material, text: &str, context: &Context<'_>) -> Result<Vec<u8>, Error> {
    let url = kms.url().ok_or_else(|| Error::Value { problem: "KMS has no URL".into() })?;
    let algorithm = match kms.algorithm {
        Algorithm::Rs256 => "RSASSA_PKCS1_V1_5_SHA_256",
        Algorithm::Es256 => "ECDSA_SHA_256",
    };
    let body = json!({"KeyId": kms.key, "Message": STANDARD.encode(text), "MessageType": "RAW",
        "SigningAlgorithm": algorithm})
    .to_string();
    let region = kms.signed_for();
    let make = async |_| {
        let call =
            Call { service: "kms", target: "TrentService.Sign", region: &region, url: &url, body: &body };
        call.request(keys, context.clock)
    };
    let answer = call(context, |status, body| explain(status, body, kms), make).await?;
    let fields = answer.fields()?;
    let signature = fields.text(&["/Signature"]).ok_or_else(|| fields.lacks("/Signature"))?;
    let signature = STANDARD.decode(signature).ok().filter(|bytes| !bytes.is_empty());
    let signature = signature.and_then(|bytes| match kms.algorithm {
        Algorithm::Rs256 => Some(bytes),
        Algorithm::Es256 => jws::of_der(&bytes),
    });
    signature.ok_or_else(|| answer.malformed("answered no signature of this kind"))
}

/// What KMS says when it says no ("Errors" of `Sign`, and AWS's common errors), by what to do about it.
fn explain(status: StatusCode, body: &[u8], kms: &Kms) -> Refusal {
    let tree = Tree::of(body);
    let text =
        |names: &[&str]| tree.text(names).unwrap_or_default().chars().take(LONGEST).collect::<String>();
    let usual = Refusal::by_status(status);
    let code = text(&["/__type"]);
    let code = code.rsplit('#').next().filter(|code| !code.is_empty()).unwrap_or(&usual.code).to_owned();
    let message = about(&kms.key, text(&["/message", "/Message"]), body);
    let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if usual.remedy == Remedy::Wait
        || is(&["Throttling", "KMSInternal", "DependencyTimeout", "KeyUnavailable"])
    {
        return Refusal { code, message, remedy: Remedy::Wait, hint: None };
    }
    let hint = if is(&["AccessDenied"]) {
        Some(format!(
            "the source must be allowed `kms:Sign` on `{}`, by its role and the key's policy",
            kms.key
        ))
    } else if is(&["NotFound"]) {
        Some("is this its id, ARN or `alias/NAME`, its account and its region?".to_owned())
    } else if is(&["InvalidKeyUsage", "UnsupportedOperation", "ValidationException"]) {
        Some(format!("the key must be of the usage `SIGN_VERIFY` and sign {}", kms.algorithm.word()))
    } else if is(&["ExpiredToken", "UnrecognizedClient", "InvalidSignature"]) {
        Some("look at the host's clock, and whether the source is of this account".to_owned())
    } else {
        None
    };
    // What this refuses is the source and not the job's token.
    Refusal { code, message, remedy: Remedy::Stop, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kms_refuses_is_told_by_its_type() {
        use Remedy::{Stop, Wait};
        let kms: Kms = serde_yaml::from_str("{key: alias/app, region: eu-west-1}").unwrap();
        for (status, code, remedy, hint) in [
            (400, "AccessDeniedException", Stop, "`kms:Sign` on `alias/app`"),
            (400, "com.amazonaws#NotFoundException", Stop, "its region"),
            (400, "InvalidKeyUsageException", Stop, "`SIGN_VERIFY`"),
            (400, "ExpiredTokenException", Stop, "clock"),
            (400, "ThrottlingException", Wait, ""),
            (500, "KMSInternalException", Wait, ""),
            (400, "DisabledException", Stop, ""),
        ] {
            let body = json!({"__type": code, "message": "No such luck"}).to_string();
            let refusal = explain(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &kms);
            assert_eq!((refusal.remedy, refusal.message.as_str()), (remedy, "for `alias/app`: No such luck"));
            assert!(
                code.ends_with(&refusal.code) && refusal.hint.unwrap_or_default().contains(hint),
                "{code}"
            );
        }
        assert_eq!(explain(StatusCode::FORBIDDEN, b"<html>", &kms).code, "403");
    }
}
