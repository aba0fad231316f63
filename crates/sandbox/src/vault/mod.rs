//! A Vault that checks what the real one checks at a login: signature, audience, time, subject and claims; and
//! that gives leases, revokes them with their token, and wraps (Vault's HTTP API, `v1`).
//!
//! Policies are not simulated: a login may read every path that is there. The root token sets it up, as an
//! operator would with a server in development mode.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::service::{Issued, Life, Service, Surroundings};
use dataflow_config::credential::ProviderRequest;
use dataflow_config::key::PrivateKey;
use dataflow_config::secrets::Store;
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_providers::vault::accessor;
use dataflow_types::secret::Secret;

mod engine;
mod login;
mod prepare;
mod token;

use engine::Engine;
use login::Role;
pub(super) use prepare::set;
use token::Token;

/// The token that sets the server up; it is good in a rehearsal only.
pub const ROOT: &str = "hvs.root-of-the-rehearsal";

/// The server.
#[derive(Debug)]
pub struct Vault {
    issuer: Arc<Issuer>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Roles by the path of their API, its namespace in front.
    roles: BTreeMap<String, Role>,
    /// What is mounted where secrets are, by path, likewise.
    engines: BTreeMap<String, Engine>,
    tokens: Vec<Token>,
    values: Vec<Lent>,
    wrapped: BTreeMap<String, Wrapped>,
}

/// A value that was read, and the token whose end is its end.
#[derive(Debug)]
struct Lent {
    value: Secret,
    leased_to: Option<String>,
}

/// An answer that waits for its one unwrapping.
#[derive(Debug)]
struct Wrapped {
    answer: Value,
    ends: DateTime<Utc>,
}

/// A refusal in Vault's words.
#[derive(Debug)]
struct Refusal(u16, Vec<String>);

fn refuse(status: u16, words: impl Into<String>) -> Refusal {
    Refusal(status, vec![words.into()])
}

impl Refusal {
    fn denied() -> Self {
        refuse(403, "permission denied")
    }

    /// How servers since 1.16 say that they do not know a token.
    fn no_such_token() -> Self {
        refuse(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
    }

    fn nothing_there() -> Self {
        Self(404, Vec::new())
    }
}

/// A request, taken apart.
struct Call<'a> {
    method: &'a Method,
    /// The namespace and the path without `v1`.
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
    token: &'a str,
    wrap: Option<i64>,
}

impl<'a> Call<'a> {
    fn of(request: &'a Request) -> Option<Self> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let path = path.strip_prefix("/v1/")?;
        let path = percent_decoded(path);
        let namespace =
            header("x-vault-namespace").map(|text| text.trim_matches('/')).filter(|text| !text.is_empty());
        let wrap = header("x-vault-wrap-ttl").map(|text| text.trim_end_matches('s').parse().unwrap_or(300));
        Some(Self {
            method: &request.method,
            path: namespace.map_or_else(|| path.clone(), |namespace| format!("{namespace}/{path}")),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            token: header("x-vault-token").unwrap_or_default(),
            wrap,
        })
    }

    fn writes(&self) -> bool {
        matches!(*self.method, Method::POST | Method::PUT)
    }
}

fn percent_decoded(path: &str) -> String {
    // `+` is itself in a path, and a space in a form.
    let form = format!("x={}", path.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, path)| path.into_owned()).unwrap_or_default()
}

/// What every answer with a body looks like.
fn answer(fields: Value) -> Value {
    let mut whole = json!({
        "request_id": uuid::Uuid::new_v4().to_string(), "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": null, "wrap_info": null, "warnings": null, "auth": null,
    });
    if let (Some(whole), Value::Object(fields)) = (whole.as_object_mut(), fields) {
        whole.extend(fields);
    }
    whole
}

impl Service for Vault {
    fn provider(&self) -> &'static str {
        "vault"
    }

    fn origins(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn answer(&self, request: &Request) -> Response {
        let done = Call::of(request).ok_or_else(Refusal::nothing_there).and_then(|call| self.call(&call));
        match done {
            Ok(Value::Null) => Response::new(204, "application/json", ""),
            Ok(body) => Response::json(200, &body),
            Err(Refusal(status, words)) => Response::json(status, &json!({ "errors": words })),
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let state = lock(&self.state);
        let gone = |token: &str| state.tokens.iter().any(|one| one.value.expose() == token && one.revoked);
        let tokens = state.tokens.iter().map(|token| Issued {
            what: "a token of Vault".into(),
            secret: token.value.clone(),
            revoked: token.revoked,
        });
        let values = state.values.iter().map(|lent| Issued {
            what: "a value read from Vault".into(),
            secret: lent.value.clone(),
            revoked: lent.leased_to.as_deref().is_some_and(gone),
        });
        tokens.chain(values).collect()
    }

    fn lives(&self) -> Vec<Life> {
        let state = lock(&self.state);
        let life = |token: &token::Token| Life {
            handle: token.accessor.clone(),
            ends: token.ends,
            revoked: token.revoked,
        };
        state.tokens.iter().map(life).collect()
    }

    fn prepare(&self, asked: &[ProviderRequest]) {
        for ask in asked {
            if let Some(PrivateKey::Transit(_, transit)) = ask.kind().private_key() {
                prepare::prepare_key(&mut lock(&self.state), transit);
            }
            match ask {
                ProviderRequest::Vault(vault) => prepare::prepare(&mut lock(&self.state), vault),
                ProviderRequest::Secrets(secrets) if secrets.store == Store::Vault => {
                    prepare::prepare_stored(&mut lock(&self.state), secrets);
                }
                _ => {}
            }
        }
    }
}

impl Vault {
    /// A server that believes the issuer around it.
    pub fn new(with: &Surroundings) -> Self {
        Self { issuer: Arc::clone(&with.issuer), clock: with.clock.clone(), state: Mutex::default() }
    }

    fn call(&self, call: &Call<'_>) -> Result<Value, Refusal> {
        let (state, now) = (&mut *lock(&self.state), self.clock.now());
        let path = call.path.as_str();
        let done = if path.ends_with("/login") && path.contains("auth/") && call.writes() {
            login::login(state, &self.issuer, call, now)?
        } else if path.ends_with("sys/wrapping/unwrap") && call.writes() {
            return token::unwrap(state, call, now);
        } else if path.ends_with(accessor::LOOKUP) || path.ends_with(accessor::PATH) {
            return match call.token {
                ROOT if path.ends_with(accessor::LOOKUP) => token::by_accessor(state, call, now),
                ROOT => Ok(token::revoke_by_accessor(state, call)),
                _ => Err(Refusal::denied()),
            };
        } else if call.token == ROOT {
            return prepare::by_root(state, call);
        } else {
            let whose = token::known(state, call.token, now)?;
            if path.ends_with("auth/token/lookup-self") {
                return Ok(token::about(state, whose, now));
            }
            if path.ends_with("auth/token/revoke-self") && call.writes() {
                return token::revoke(state, whose);
            }
            engine::call(state, call, now)?
        };
        Ok(match call.wrap {
            Some(seconds) => token::wrap(state, done, seconds, path, now),
            None => done,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
