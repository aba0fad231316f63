//! Buildkite's token exchange, and what its REST API says to a token about itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::service::{Issued, Service, Surroundings};
use super::{keys, shown};
use dataflow_host::Clock;
use dataflow_host::http::Method;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// What an assertion is for, wherever it is sent.
const AUDIENCE: &str = "https://buildkite.com/oauth/token";
/// How long an assertion may live, in seconds.
const ASSERTION_LIFE: i64 = 300;
const TYPES: &str = "urn:buildkite:params:oauth:token-type:";

/// Both of them.
#[derive(Debug)]
pub struct Buildkite {
    clock: Clock,
    tokens: Mutex<Vec<Given>>,
    /// The assertions that were seen: each is good once.
    seen: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Given {
    id: String,
    secret: Secret,
    scopes: String,
    ends: DateTime<Utc>,
    revoked: bool,
}

type Refused = (u16, &'static str, &'static str);
type Form = BTreeMap<String, String>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map(String::as_str).unwrap_or_default()
}

impl Buildkite {
    /// One with this clock.
    pub fn new(with: &Surroundings) -> Self {
        Self { clock: with.clock.clone(), tokens: Mutex::default(), seen: Mutex::default() }
    }

    fn exchange(&self, form: &Form) -> Result<Value, Refused> {
        self.client(field(form, "client_assertion"))?;
        if field(form, "grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
            return Err((400, "unsupported_grant_type", "The grant type is not supported"));
        }
        let subject = field(form, "subject_token");
        let fits = match field(form, "subject_token_type").strip_prefix(TYPES) {
            Some("user-email") => subject.contains('@'),
            Some("user-uuid") => uuid::Uuid::parse_str(subject).is_ok(),
            _ => return Err((400, "invalid_request", "subject_token_type is not supported")),
        };
        if !fits {
            return Err((400, "invalid_request", "subject_token is invalid"));
        }
        if field(form, "audience").is_empty() {
            return Err((400, "invalid_target", "audience is not an organization of this application"));
        }
        let scopes = field(form, "scope");
        let known = |scope: &str| scope.starts_with("read_") || scope.starts_with("write_");
        if scopes.is_empty() || !scopes.split(' ').all(known) {
            return Err((400, "invalid_scope", "scope is not allowed for this application"));
        }
        let life: i64 = field(form, "expires_in").parse().unwrap_or(3600);
        if !(30..=86400).contains(&life) {
            return Err((400, "invalid_request", "expires_in must be between 30 and 86400"));
        }
        let given = self.give(scopes, life);
        Ok(json!({
            "access_token": given.secret.expose(), "token_type": "Bearer", "expires_in": life, "scope": scopes,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }))
    }

    /// The application: an assertion of its key, for Buildkite, short, and not seen before.
    fn client(&self, assertion: &str) -> Result<(), Refused> {
        let invalid = |message| (401, "invalid_client", message);
        let claims =
            keys::verify(assertion).ok_or_else(|| invalid("The assertion's signature is invalid"))?;
        if keys::key_id(assertion).is_none() {
            return Err(invalid("The assertion's header has no kid"));
        }
        if claims.text("iss").is_none() || claims.text("iss") != claims.text("sub") {
            return Err(invalid("iss and sub must be the client_id"));
        }
        if !claims.audiences().iter().any(|audience| audience == AUDIENCE) {
            return Err(invalid("aud is not the token endpoint"));
        }
        let now = self.clock.now().timestamp();
        let time = |name| claims.seconds(name).unwrap_or_default();
        if time("exp") <= now || time("exp") > time("iat") + ASSERTION_LIFE {
            return Err(invalid("The assertion is expired or lives too long"));
        }
        let mut seen = lock(&self.seen);
        match claims.text("jti") {
            Some(jti) if !jti.is_empty() && jti.len() <= 255 && !seen.contains(&jti) => {
                seen.push(jti);
                Ok(())
            }
            _ => Err(invalid("jti is missing or was used before")),
        }
    }

    fn give(&self, scopes: &str, life: i64) -> Given {
        let id = uuid::Uuid::new_v4().to_string();
        let secret = Secret::new(format!("bktx_{}", uuid::Uuid::new_v4().simple()));
        let ends = self.clock.now() + TimeDelta::seconds(life);
        let given = Given { id, secret, scopes: scopes.to_owned(), ends, revoked: false };
        lock(&self.tokens).push(given.clone());
        given
    }

    fn access_token(&self, request: &Request) -> Response {
        let (shown, now) = (shown::header(request, "Bearer"), self.clock.now());
        let mut tokens = lock(&self.tokens);
        let known = tokens.iter_mut().find(|given| given.secret.expose() == shown);
        let Some(given) = known.filter(|given| !given.revoked && given.ends > now) else {
            let message = "Authentication required. Please supply a valid API Access Token: https://buildkite.com/docs/apis/rest-api#authentication";
            return Response::json(401, &json!({ "message": message }));
        };
        if request.method == Method::DELETE {
            given.revoked = true;
            return Response::new(204, "application/json", "");
        }
        let scopes: Vec<&str> = given.scopes.split(' ').collect();
        Response::json(200, &json!({ "uuid": given.id, "scopes": scopes }))
    }
}

impl Service for Buildkite {
    fn provider(&self) -> &'static str {
        "buildkite"
    }

    fn origins(&self) -> Vec<&'static str> {
        vec!["https://buildkite.com", "https://api.buildkite.com"]
    }

    fn answer(&self, request: &Request) -> Response {
        match request.path.split('?').next().unwrap_or_default() {
            "/oauth/token" | "/v2/oauth/token" => {
                let form = url::form_urlencoded::parse(&request.body).into_owned().collect();
                match self.exchange(&form) {
                    Ok(answer) => Response::json(200, &answer),
                    Err((status, code, message)) => {
                        Response::json(status, &json!({ "error": code, "error_description": message }))
                    }
                }
            }
            "/v2/access-token" => self.access_token(request),
            _ => Response::json(404, &json!({ "message": "No endpoint" })),
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let tokens = lock(&self.tokens);
        let issued = tokens.iter().map(|given| Issued {
            what: "an API token".to_owned(),
            secret: given.secret.clone(),
            revoked: given.revoked,
        });
        issued.collect()
    }
}
