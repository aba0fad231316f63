//! Checking a request's signature (AWS Signature Version 4), so that a wrong secret is noticed.

use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::host::serve::Request;
use crate::secret::Secret;

/// What a request's `Authorization` header says.
#[derive(Debug)]
pub struct Signed {
    /// Whose key.
    pub access_key_id: String,
    scope: String,
    headers: Vec<String>,
    signature: String,
}

impl Signed {
    /// Reads the header.
    pub fn of(request: &Request) -> Option<Self> {
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

    /// Whether `secret` made the signature of this request.
    pub fn is_by(&self, secret: &Secret, request: &Request) -> bool {
        let value = |name: &String| {
            let value = request.headers.get(name)?.to_str().ok()?;
            Some(format!("{name}:{}\n", value.trim()))
        };
        let headers: Option<String> = self.headers.iter().map(value).collect();
        let (Some(headers), Some(at)) =
            (headers, request.headers.get("x-amz-date").and_then(|at| at.to_str().ok()))
        else {
            return false;
        };
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let canonical = [
            request.method.as_str(),
            path,
            query,
            &headers,
            &self.headers.join(";"),
            &hex(digest(&SHA256, &request.body).as_ref()),
        ]
        .join("\n");
        let text = format!(
            "AWS4-HMAC-SHA256\n{at}\n{}\n{}",
            self.scope,
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", secret.expose()).as_bytes());
        for part in self.scope.split('/') {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        hex(hmac::sign(&key, text.as_bytes()).as_ref()) == self.signature
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect()
}
