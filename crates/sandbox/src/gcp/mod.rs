//! Google's STS and its service account credentials API, as far as a step uses them.
//!
//! Any pool, provider and service account is there, and an identity of a pool may impersonate: who may is said
//! in no file of a rehearsal. So is any universe. The usual mapping is taken, `google.subject=assertion.sub`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::service::{Issued, Service, Surroundings};
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

mod exchange;
mod impersonate;

/// What is known of a token that was given.
#[derive(Clone, Debug)]
struct Token {
    what: &'static str,
    secret: Secret,
    /// Whose it is: a service account's email, or a pool's identity.
    principal: String,
    ends: DateTime<Utc>,
}

/// Both services: their paths differ.
#[derive(Debug)]
pub struct Google {
    with: Surroundings,
    tokens: Mutex<Vec<Token>>,
}

/// A refusal, in the form of the service that refuses.
#[derive(Debug)]
struct Refused(Response);

impl Refused {
    /// OAuth's form.
    fn oauth(error: &str, description: impl Into<String>) -> Self {
        Self(Response::json(400, &json!({"error": error, "error_description": description.into()})))
    }

    /// Google's own form.
    fn api(code: u16, status: &str, message: impl Into<String>) -> Self {
        let error = json!({"code": code, "message": message.into(), "status": status});
        Self(Response::json(code, &json!({ "error": error })))
    }
}

impl Google {
    /// Services that believe the surroundings' issuer.
    pub fn new(with: Surroundings) -> Self {
        Self { with, tokens: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, what: &'static str, principal: &str, secret: String, seconds: i64) -> Token {
        let ends = self.with.clock.now() + TimeDelta::seconds(seconds);
        let token = Token { what, secret: Secret::new(secret), principal: principal.to_owned(), ends };
        self.known().push(token.clone());
        token
    }

    fn route(&self, request: &Request) -> Result<Value, Refused> {
        let path = request.path.split('?').next().unwrap_or_default();
        match path.strip_prefix("/v1/projects/-/serviceAccounts/") {
            Some(rest) => self.impersonated(rest, request),
            None if path == "/v1/token" => self.exchanged(request),
            None if path == "/v1/introspect" => Ok(self.introspected(request)),
            None if path == "/token" => self.on_behalf(request),
            None => Err(Refused::api(404, "NOT_FOUND", "Requested entity was not found.")),
        }
    }
}

impl Service for Google {
    fn provider(&self) -> &'static str {
        "gcp"
    }

    fn origins(&self) -> Vec<&'static str> {
        vec![
            "https://sts.googleapis.com",
            "https://iamcredentials.googleapis.com",
            "https://oauth2.googleapis.com",
        ]
    }

    fn answer(&self, request: &Request) -> Response {
        match self.route(request) {
            Ok(body) => Response::json(200, &body),
            Err(Refused(response)) => response,
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let known = self.known().clone().into_iter();
        let issued = |one: Token| Issued {
            what: format!("{} of {}", one.what, one.principal),
            secret: one.secret,
            revoked: false,
        };
        known.map(issued).collect()
    }
}

/// Whether Google knows a scope of this form: an API's, or one of OpenID Connect.
fn is_scope(scope: &str) -> bool {
    let api = scope.strip_prefix("https://www.googleapis.com/auth/");
    ["openid", "email", "profile", "https://mail.google.com/"].contains(&scope)
        || api.is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}

/// As an access token looks.
fn random() -> String {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    format!("ya29.d.{}{}", random(), random())
}

/// A form, or the same in JSON with names in camel case: STS takes both.
fn fields(request: &Request) -> BTreeMap<String, String> {
    let Ok(json) = serde_json::from_slice::<BTreeMap<String, String>>(&request.body) else {
        return url::form_urlencoded::parse(&request.body).into_owned().collect();
    };
    let snake = |name: String| {
        let parts = name.chars().map(|c| {
            if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() }
        });
        parts.collect::<String>()
    };
    json.into_iter().map(|(name, value)| (snake(name), value)).collect()
}
