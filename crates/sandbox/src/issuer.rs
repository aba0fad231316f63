//! An OIDC issuer with a key of its own, which says what Buildkite's says.
//!
//! Claims: Buildkite's "OpenID Connect" page of the agent's command-line reference.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rsa::pkcs8::{EncodePrivateKey as _, SecretDocument};
use serde_json::{Map, Value, json};

use dataflow_host::serve::Response;
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

/// The life of a token where none is asked for, and the longest, in seconds.
const LIFETIMES: (i64, i64) = (300, 7200);

/// What `subject_claim` may name.
const SUBJECT_CLAIMS: [&str; 7] =
    ["organization_id", "pipeline_id", "cluster_id", "queue_id", "build_id", "job_id", "agent_id"];
const KEY_ID: &str = "rehearsal";

/// Made once: an RSA key takes a while.
static SHARED: LazyLock<Result<SecretDocument, String>> = LazyLock::new(fresh_key);

/// A key (PKCS #8), made by the rsa crate, which ring cannot do; used only by ring, whose signing leaks no timing.
fn fresh_key() -> Result<SecretDocument, String> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(|error| error.to_string())?;
    key.to_pkcs8_der().map_err(|error| error.to_string())
}

/// What a token says of one job.
#[derive(Clone, Debug)]
pub struct JobClaims {
    /// The claims that every token of the job has, without times, audience and subject.
    pub claims: Map<String, Value>,
    /// Claims that a token has when asked for them.
    pub optional: Map<String, Value>,
}

impl JobClaims {
    fn value(&self, name: &str) -> Option<&Value> {
        self.claims.get(name).or_else(|| self.optional.get(name))
    }
}

/// The issuer.
pub struct Issuer {
    url: String,
    key: RsaKeyPair,
    certificate: Option<Vec<u8>>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why there is no issuer, or a request for a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key could not be made.
    #[error("no signing key could be made: {0}")]
    Key(String),
    /// The request asks for what Buildkite refuses, in Buildkite's words.
    #[error("{0}")]
    Refused(String),
}

impl Issuer {
    /// An issuer at `url` with a fresh key.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with_key(url, fresh_key().map_err(Error::Key)?.as_bytes(), None)
    }

    /// An issuer at `url` with the key that all of this process share.
    pub(super) fn sharing(url: &str) -> Result<Self, Error> {
        Self::with_key(url, SHARED.as_ref().map_err(|problem| Error::Key(problem.clone()))?.as_bytes(), None)
    }

    /// An issuer with a given key (PKCS #8) and certificate, for a relying party that wants `x5c` (RFC 7517).
    pub fn with_key(url: &str, pkcs8: &[u8], certificate: Option<Vec<u8>>) -> Result<Self, Error> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|error| Error::Key(error.to_string()))?;
        Ok(Self { url: url.to_owned(), key, certificate })
    }

    /// Its name: the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers discovery and key requests.
    pub fn answer(&self, path: &str) -> Option<Response> {
        match path {
            "/.well-known/openid-configuration" => Some(Response::json(
                200,
                &json!({
                    "issuer": self.url,
                    "jwks_uri": format!("{}/.well-known/jwks", self.url),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }),
            )),
            "/.well-known/jwks" => Some(Response::json(200, &json!({ "keys": [self.jwk()] }))),
            _ => None,
        }
    }

    fn jwk(&self) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.key.public());
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = json!({
            "kty": "RSA", "kid": KEY_ID, "alg": "RS256", "use": "sig",
            "n": number(&public.n),
            "e": number(&public.e),
        });
        if let (Some(certificate), Some(jwk)) = (&self.certificate, jwk.as_object_mut()) {
            jwk.insert("x5c".into(), json!([STANDARD.encode(certificate)]));
        }
        jwk
    }

    /// Mints a token for a job, as `POST jobs/ID/oidc/tokens` asks for it.
    pub fn mint(
        &self,
        job: &JobClaims,
        asked: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<String, Error> {
        let lifetime = lifetime(asked)?;
        let mut claims = job.claims.clone();
        let mut set = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        let words = |name: &str| asked.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        for name in words("claims") {
            let name = name.as_str().unwrap_or_default();
            let value =
                job.optional.get(name).ok_or_else(|| Error::Refused(format!("Unknown claim {name}")))?;
            set(name, value.clone());
        }
        match asked.get("subject_claim").and_then(Value::as_str) {
            Some(name) => {
                let subject = job.value(name).filter(|_| SUBJECT_CLAIMS.contains(&name)).cloned();
                let subject =
                    subject.ok_or_else(|| Error::Refused(format!("Unknown subject claim {name}")))?;
                set("sub", subject.clone());
                set(name, subject);
            }
            None => set("sub", json!(composite_subject(&job.claims))),
        }
        if let Some(tags) = session_tags(&words("aws_session_tags"), job)? {
            set("https://aws.amazon.com/tags", tags);
        }
        let organization = job.claims.get("organization_slug").and_then(Value::as_str).unwrap_or_default();
        let audience = asked.get("audience").cloned();
        set("aud", audience.unwrap_or_else(|| json!(format!("https://buildkite.com/{organization}"))));
        set("iss", json!(self.url));
        set("jti", json!(uuid::Uuid::new_v4().to_string()));
        for (name, at) in [("iat", 0), ("nbf", 0), ("exp", lifetime)] {
            set(name, json!(now.timestamp() + at));
        }
        self.sign(&claims)
    }

    /// Signs any claims (RS256, RFC 7515).
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, Error> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": KEY_ID });
        let part = |value: String| URL_SAFE_NO_PAD.encode(value);
        let signed =
            format!("{}.{}", part(header.to_string()), part(Value::Object(claims.clone()).to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| Error::Key("the signature failed".into()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this issuer signed; `None` for any other.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = RsaPublicKeyComponents::<Vec<u8>>::from(self.key.public());
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).ok()?;
        SubjectToken::new(Secret::new(token)).unverified_claims().ok()
    }
}

fn composite_subject(claims: &Map<String, Value>) -> String {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let reference = match text("build_tag") {
        "" => format!("refs/heads/{}", text("build_branch")),
        tag => format!("refs/tags/{tag}"),
    };
    format!(
        "organization:{}:pipeline:{}:ref:{reference}:commit:{}:step:{}",
        text("organization_slug"),
        text("pipeline_slug"),
        text("build_commit"),
        text("step_key")
    )
}

fn session_tags(names: &[Value], job: &JobClaims) -> Result<Option<Value>, Error> {
    if names.is_empty() {
        return Ok(None);
    }
    let tag = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        let text = match job.value(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
            None => return Err(Error::Refused(format!("Unknown claim {name}"))),
        };
        Ok((name.to_owned(), json!([text])))
    };
    let tags = names.iter().map(tag).collect::<Result<Map<_, _>, _>>()?;
    Ok(Some(json!({ "principal_tags": tags })))
}

/// 0 is what the agent leaves out.
fn lifetime(asked: &Map<String, Value>) -> Result<i64, Error> {
    let (usual, longest) = LIFETIMES;
    let refused = |what: &str, lifetime| {
        Error::Refused(format!("Requested lifetime too {what} (requested: {lifetime} max: {longest})"))
    };
    match asked.get("lifetime").and_then(Value::as_i64).unwrap_or_default() {
        0 => Ok(usual),
        lifetime @ ..0 => Err(refused("low", lifetime)),
        lifetime if lifetime > longest => Err(refused("high", lifetime)),
        lifetime => Ok(lifetime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobClaims {
        let claims = json!({"organization_slug": "acme", "pipeline_slug": "web", "build_branch": "main",
            "build_tag": null, "build_commit": "abc", "step_key": "train", "job_id": "j"});
        let optional = json!({"pipeline_id": "p-1"});
        JobClaims {
            claims: claims.as_object().unwrap().clone(),
            optional: optional.as_object().unwrap().clone(),
        }
    }

    fn mint(asked: &Value) -> Result<Claims, Error> {
        let issuer = Issuer::sharing("http://127.0.0.1:1")?;
        let token = issuer.mint(&job(), asked.as_object().unwrap(), DateTime::UNIX_EPOCH)?;
        Ok(issuer.verify(&token).unwrap())
    }

    #[test]
    fn a_token_says_what_buildkites_says() {
        let claims = mint(
            &json!({"audience": "sts.amazonaws.com", "aws_session_tags": ["pipeline_slug", "build_tag"]}),
        );
        let claims = claims.unwrap();
        let subject = "organization:acme:pipeline:web:ref:refs/heads/main:commit:abc:step:train";
        assert_eq!(claims.text("sub").unwrap(), subject);
        assert_eq!(claims.seconds("exp"), Some(300));
        let tags = json!({"principal_tags": {"pipeline_slug": ["web"], "build_tag": [""]}});
        assert_eq!(claims.as_map()["https://aws.amazon.com/tags"], tags);
    }

    #[test]
    fn a_subject_claim_replaces_the_subject_and_is_there_itself() {
        let claims = mint(&json!({"subject_claim": "pipeline_id"})).unwrap();
        assert_eq!(
            (claims.text("sub"), claims.text("pipeline_id")),
            (Some("p-1".into()), Some("p-1".into()))
        );
    }

    #[test]
    fn what_buildkite_does_not_know_is_refused() {
        for asked in [
            json!({"subject_claim": "pipeline_slug"}),
            json!({"claims": ["build_creator"]}),
            json!({"aws_session_tags": ["colour"]}),
            json!({"lifetime": -1}),
        ] {
            assert!(matches!(mint(&asked), Err(Error::Refused(_))), "{asked}");
        }
    }

    #[test]
    fn a_life_that_buildkite_refuses_is_refused_in_its_words() {
        let error = mint(&json!({"lifetime": 14400})).unwrap_err();
        assert_eq!(error.to_string(), "Requested lifetime too high (requested: 14400 max: 7200)");
    }

    #[test]
    fn another_issuers_token_is_not_ours() {
        let token = Issuer::new("http://a").unwrap().sign(&Map::new()).unwrap();
        assert!(Issuer::new("http://a").unwrap().verify(&token).is_none());
    }
}
