//! An OAuth 2.0 server: metadata, tokens by each grant, revocation and introspection.
//!
//! It knows no client beforehand: a name with any secret is one. It is its own secrets manager too: asked for
//! `audience=urn:rehearsal:private-key` it gives a private key, which it knows again, and any token that it gave
//! will do as a client's secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::service::{Issued, Life, Service, Surroundings};
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

mod judge;

/// What marks the origin that a step names, in the path that its requests are routed to.
const AT: &str = "/at/";
/// How long its tokens live, in seconds.
const LIFE: i64 = 3600;

/// The server.
#[derive(Debug)]
pub struct Server {
    issuer: Arc<Issuer>,
    clock: Clock,
    tokens: Mutex<Vec<Given>>,
}

/// A token that was given.
#[derive(Clone, Debug)]
struct Given {
    secret: Secret,
    client: String,
    scope: String,
    ends: DateTime<Utc>,
    revoked: bool,
}

/// A refusal in RFC 6749's words.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

fn refuse<T>(status: u16, code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, code, message: message.into() })
}

/// The form of a request, where fields may be there several times.
type Form = BTreeMap<String, Vec<String>>;

fn first<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).and_then(|values| values.first()).map(String::as_str).unwrap_or_default()
}

impl Server {
    /// A server that believes this issuer.
    pub fn new(with: &Surroundings) -> Self {
        Self { issuer: Arc::clone(&with.issuer), clock: with.clock.clone(), tokens: Mutex::default() }
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<Given>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, secret: Secret, client: &str, scope: &str) -> Given {
        let ends = self.clock.now() + chrono::TimeDelta::seconds(LIFE);
        let (client, scope) = (client.to_owned(), scope.to_owned());
        let given = Given { secret, client, scope, ends, revoked: false };
        self.tokens().push(given.clone());
        given
    }

    fn revoke(&self, form: &Form, request: &Request) -> Result<Value, Refusal> {
        let asker = judge::known_client(self, form, request)?;
        let token = first(form, "token");
        if token.is_empty() {
            return refuse(400, "invalid_request", "token is missing");
        }
        let mut tokens = self.tokens();
        // RFC 7009, section 2.2: a token that is not known, or another's, is no error.
        let known = tokens.iter_mut().find(|given| given.secret.expose() == token);
        if let Some(given) = known.filter(|given| given.client == asker) {
            given.revoked = true;
        }
        Ok(json!({}))
    }

    fn introspect(&self, form: &Form, request: &Request) -> Result<Value, Refusal> {
        judge::known_client(self, form, request)?;
        let now = self.clock.now();
        let tokens = self.tokens();
        let known = tokens.iter().find(|given| given.secret.expose() == first(form, "token"));
        Ok(match known.filter(|given| !given.revoked && given.ends > now) {
            Some(given) => json!({
                "active": true, "client_id": given.client, "scope": given.scope, "exp": given.ends.timestamp(),
            }),
            None => json!({ "active": false }),
        })
    }
}

fn metadata(base: &str) -> Value {
    json!({
        "issuer": base,
        "token_endpoint": format!("{base}/token"),
        "revocation_endpoint": format!("{base}/revoke"),
        "introspection_endpoint": format!("{base}/introspect"),
        "grant_types_supported": judge::GRANTS,
    })
}

/// The issuer that is asked, by the origin in the path or the host that was asked, and the path at it.
fn located(request: &Request) -> (String, String) {
    let path = request.path.split('?').next().unwrap_or_default();
    if let Some((origin, rest)) = path.strip_prefix(AT).and_then(|rest| rest.split_once('/')) {
        return (format!("https://{origin}"), format!("/{rest}"));
    }
    let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    (format!("http://{host}/oauth"), path.to_owned())
}

impl Service for Server {
    fn provider(&self) -> &'static str {
        "oauth"
    }

    fn origins(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn below(&self, origin: &str) -> String {
        format!("{AT}{}", origin.trim_start_matches("https://").trim_start_matches("http://"))
    }

    fn answer(&self, request: &Request) -> Response {
        let (origin, path) = located(request);
        if let Some(own) = path.strip_suffix("/.well-known/openid-configuration") {
            return Response::json(200, &metadata(&format!("{origin}{own}")));
        }
        let mut form = Form::new();
        for (name, value) in url::form_urlencoded::parse(&request.body).into_owned() {
            form.entry(name).or_default().push(value);
        }
        let answer = match path.rsplit('/').next() {
            Some("token" | "token.oauth2" | "access_token") => {
                judge::token(self, &form, request, &[origin.clone() + &path, issuer(&origin, &path)])
            }
            Some("revoke") => self.revoke(&form, request),
            Some("introspect") => self.introspect(&form, request),
            _ => refuse(404, "not_found", "there is nothing here"),
        };
        match answer {
            Ok(answer) => Response::json(200, &answer),
            Err(Refusal { status, code, message }) => {
                let body = json!({ "error": code, "error_description": message });
                Response::json(status, &body)
            }
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let tokens = self.tokens();
        let issued = tokens.iter().map(|given| Issued {
            what: "an access token".to_owned(),
            secret: given.secret.clone(),
            revoked: given.revoked,
        });
        issued.collect()
    }

    fn lives(&self) -> Vec<Life> {
        let tokens = self.tokens();
        let life = |given: &Given| Life {
            handle: format!("sha256:{}", given.secret.fingerprint().short(16)),
            ends: given.ends,
            revoked: given.revoked,
        };
        tokens.iter().map(life).collect()
    }
}

/// The issuer whose token endpoint this is.
fn issuer(origin: &str, path: &str) -> String {
    format!("{origin}{}", path.rsplit_once('/').map_or("", |(before, _)| before))
}
