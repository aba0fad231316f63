//! Checking a request's signature ("AWS Signature Version 4" of the IAM User Guide), so that a wrong secret is noticed.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use ring::digest::{SHA256, digest};
use ring::hmac;

use dataflow_host::serve::Request;
use dataflow_types::secret::Secret;

/// How old or how early a signature may be.
const LEEWAY: TimeDelta = TimeDelta::minutes(15);

/// What must be signed for the signature to mean this request and no other.
const SIGNED: [&str; 3] = ["host", "x-amz-date", "x-amz-security-token"];

/// What a request's `Authorization` header says.
#[derive(Debug)]
pub(super) struct Signed {
    /// Whose key.
    pub(super) access_key_id: String,
    scope: String,
    headers: Vec<String>,
    signature: String,
}

/// The time of the signature is too far from now.
#[derive(Debug)]
pub(super) struct Stale {
    /// The time as the request says it.
    pub(super) at: String,
}

impl Signed {
    /// Reads the header.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let header = request.headers.get("authorization")?.to_str().ok()?;
        let fields = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (access_key_id, scope) = field("Credential")?.split_once('/')?;
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            scope: scope.to_owned(),
            headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
        })
    }

    /// The region and the service that it is for; empty where it says none.
    pub(super) fn scope(&self) -> (&str, &str) {
        match self.scope.split('/').collect::<Vec<_>>().as_slice() {
            [_, region, service, "aws4_request"] => (region, service),
            _ => ("", ""),
        }
    }

    /// Whether `secret` made the signature of this request to `service`, near `now`.
    pub(super) fn is_by(
        &self,
        secret: &Secret,
        request: &Request,
        service: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, Stale> {
        let Some(at) = request.headers.get("x-amz-date").and_then(|at| at.to_str().ok()) else {
            return Ok(false);
        };
        let made = NaiveDateTime::parse_from_str(at, "%Y%m%dT%H%M%SZ").map(|made| made.and_utc());
        if !made.is_ok_and(|made| (made - now).abs() <= LEEWAY) {
            return Err(Stale { at: at.to_owned() });
        }
        let day = at.split('T').next().unwrap_or_default();
        let in_scope = self.scope.starts_with(&format!("{day}/"))
            && self.scope.ends_with(&format!("/{service}/aws4_request"));
        let complete = SIGNED.iter().all(|name| self.headers.iter().any(|signed| signed == name));
        let Some(canonical) = self.canonical(request).filter(|_| in_scope && complete) else {
            return Ok(false);
        };
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{}\n{}", self.scope, hash(canonical.as_bytes()));
        Ok(hex(hmac::sign(&self.key(secret), text.as_bytes()).as_ref()) == self.signature)
    }

    fn canonical(&self, request: &Request) -> Option<String> {
        let value = |name: &String| {
            let value = request.headers.get(name)?.to_str().ok()?;
            let single_spaced = value.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(format!("{name}:{single_spaced}\n"))
        };
        let headers = self.headers.iter().map(value).collect::<Option<String>>()?;
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let names = self.headers.join(";");
        Some([request.method.as_str(), path, query, &headers, &names, &hash(&request.body)].join("\n"))
    }

    fn key(&self, secret: &Secret) -> hmac::Key {
        let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", secret.expose()).as_bytes());
        self.scope.split('/').fold(first, |key, part| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
        })
    }
}

fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect()
}
