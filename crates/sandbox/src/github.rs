//! GitHub's REST API as far as an app's installation needs it, an octo-sts and a chinmina-bridge.
//!
//! Every owner has installed every app, whose key is the one that the sandbox hands out. Every policy of an
//! octo-sts and every profile of a bridge covers the job.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::service::{Issued, Service, Surroundings};
use super::{keys, shown};
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// What marks the host that was asked, in the path that its requests are routed to.
const AT: &str = "/at/";
/// How long an installation's token lives.
const LIFE: TimeDelta = TimeDelta::hours(1);
/// How long an app's assertion may live, in seconds.
const ASSERTION_LIFE: i64 = 600;

/// The three of them.
#[derive(Debug)]
pub struct GitHub {
    issuer: Arc<Issuer>,
    clock: Clock,
    tokens: Mutex<Vec<Given>>,
    /// The owners of installations, whose numbers are their places.
    owners: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Given {
    secret: Secret,
    repositories: Vec<String>,
    ends: DateTime<Utc>,
    revoked: bool,
}

type Refused = (u16, String);

fn refuse<T>(status: u16, message: &str) -> Result<T, Refused> {
    Err((status, message.to_owned()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GitHub {
    /// One that believes this issuer.
    pub fn new(with: &Surroundings) -> Self {
        Self {
            issuer: Arc::clone(&with.issuer),
            clock: with.clock.clone(),
            tokens: Mutex::default(),
            owners: Mutex::default(),
        }
    }

    fn api(&self, request: &Request, path: &str) -> Result<(u16, Value), Refused> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["repos", owner, _, "installation"] | ["orgs" | "users", owner, "installation"]) => {
                self.app(request)?;
                Ok((200, self.installation(owner)))
            }
            ("POST", ["app", "installations", number, "access_tokens"]) => {
                self.app(request)?;
                Ok((201, self.mint(number, &request.body)?))
            }
            ("GET", ["installation", "repositories"]) => {
                let given = self.of_token(request)?;
                let names = given.repositories.iter();
                let repositories: Vec<Value> =
                    names.map(|name| json!({ "id": 1, "name": name, "full_name": name })).collect();
                Ok((200, json!({ "total_count": repositories.len(), "repositories": repositories })))
            }
            ("DELETE", ["installation", "token"]) => {
                let gone = self.of_token(request)?.secret;
                let mut tokens = lock(&self.tokens);
                let same = |given: &&mut Given| given.secret.expose() == gone.expose();
                tokens.iter_mut().filter(same).for_each(|given| given.revoked = true);
                Ok((204, Value::Null))
            }
            _ => refuse(404, "Not Found"),
        }
    }

    /// The app that asks, by an assertion signed with its key.
    fn app(&self, request: &Request) -> Result<(), Refused> {
        let Some(claims) = keys::verify(shown::header(request, "Bearer")) else {
            return refuse(401, "A JSON web token could not be decoded");
        };
        let now = self.clock.now().timestamp();
        let time = |name| claims.seconds(name).unwrap_or_default();
        if time("exp") <= now {
            return refuse(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            );
        }
        if time("exp") > now + ASSERTION_LIFE {
            return refuse(401, "'Expiration time' claim ('exp') is too far in the future");
        }
        if time("iat") > now {
            return refuse(
                401,
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            );
        }
        match claims.text("iss") {
            Some(_) => Ok(()),
            None => refuse(401, "'Issuer' claim ('iss') must be an Integer"),
        }
    }

    fn installation(&self, owner: &str) -> Value {
        let mut owners = lock(&self.owners);
        let known = owners.iter().position(|known| known == owner);
        let number = known.unwrap_or_else(|| {
            owners.push(owner.to_owned());
            owners.len() - 1
        });
        json!({ "id": number + 1, "account": { "login": owner }, "app_id": 1 })
    }

    fn mint(&self, number: &str, body: &[u8]) -> Result<Value, Refused> {
        let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let Some(owner) = place.and_then(|place| lock(&self.owners).get(place).cloned()) else {
            return refuse(404, "Not Found");
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let names = body.get("repositories").and_then(Value::as_array).cloned().unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        if names.iter().any(|name| name.contains('/')) {
            return refuse(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let chosen = if names.is_empty() { "all" } else { "selected" };
        let given = self.give(names.iter().map(|name| format!("{owner}/{name}")).collect());
        Ok(json!({
            "token": given.secret.expose(),
            "expires_at": given.ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "permissions": body.get("permissions").cloned().unwrap_or_else(|| json!({ "metadata": "read" })),
            "repository_selection": chosen,
        }))
    }

    fn give(&self, repositories: Vec<String>) -> Given {
        let secret = Secret::new(format!("ghs_{}", uuid::Uuid::new_v4().simple()));
        let given = Given { secret, repositories, ends: self.clock.now() + LIFE, revoked: false };
        lock(&self.tokens).push(given.clone());
        given
    }

    fn of_token(&self, request: &Request) -> Result<Given, Refused> {
        // Older clients say `token` where newer ones say `Bearer`.
        let shown = [shown::header(request, "Bearer"), shown::header(request, "token")];
        let now = self.clock.now();
        let known = lock(&self.tokens).iter().find(|given| shown.contains(&given.secret.expose())).cloned();
        match known.filter(|given| !given.revoked && given.ends > now) {
            Some(given) => Ok(given),
            None => refuse(401, "Bad credentials"),
        }
    }

    /// An octo-sts: it wants its own name as audience.
    fn octo_sts(&self, request: &Request, host: &str) -> Result<Value, (u16, Value)> {
        let told = |status, code, message: &str| {
            (status, json!({ "code": code, "message": message, "details": [] }))
        };
        let token = shown::header(request, "Bearer");
        let now = self.clock.now().timestamp();
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let asked = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        shown::job(&self.issuer, token, now, |audience| audience == host)
            .map_err(|why| told(401, 16, &why))?;
        let (scope, identity) = (asked("scope"), asked("identity"));
        if scope.is_empty() || identity.is_empty() {
            return Err(told(404, 5, "unable to find trust policy"));
        }
        let given = self.give(vec![scope]);
        Ok(json!({ "token": given.secret.expose(), "refreshToken": "", "expiry": null }))
    }

    /// A bridge: it wants an audience that begins with `chinmina:`.
    fn bridge(&self, request: &Request, path: &str) -> Result<Value, (u16, Value)> {
        let token = shown::header(request, "Bearer");
        let now = self.clock.now().timestamp();
        let claims = shown::job(&self.issuer, token, now, |audience| audience.starts_with("chinmina:"));
        let claims = claims.map_err(|why| (401, json!({ "error": why })))?;
        let text = |name| claims.text(name).unwrap_or_default();
        let repository = format!("{}/{}", text("organization_slug"), text("pipeline_slug"));
        let given = self.give(vec![repository.clone()]);
        Ok(json!({
            "organizationSlug": text("organization_slug"),
            "profile": path,
            "repositories": [repository],
            "permissions": ["contents:read"],
            "token": given.secret.expose(),
            "expiry": given.ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        }))
    }
}

impl Service for GitHub {
    fn provider(&self) -> &'static str {
        "github"
    }

    fn origins(&self) -> Vec<&'static str> {
        vec!["https://api.github.com", "https://octo-sts.dev"]
    }

    fn below(&self, origin: &str) -> String {
        format!("{AT}{}", origin.trim_start_matches("https://").trim_start_matches("http://"))
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let named = path.strip_prefix(AT).and_then(|rest| rest.split_once('/'));
        let (host, path) = named.map_or(("", path), |(host, rest)| {
            (host, path.get(path.len() - rest.len() - 1..).unwrap_or(path))
        });
        let answer = match path {
            "/sts/exchange" => self.octo_sts(request, host),
            path if path == "/token"
                || path.starts_with("/token/")
                || path.starts_with("/organization/token/") =>
            {
                self.bridge(request, path)
            }
            // GitHub Enterprise's API stands below a path.
            path => match self.api(request, path.strip_prefix("/api/v3").unwrap_or(path)) {
                Ok((204, _)) => return Response::new(204, "application/json", ""),
                Ok((status, answer)) => return Response::json(status, &answer),
                Err((status, message)) => Err((
                    status,
                    json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
                )),
            },
        };
        match answer {
            Ok(answer) => Response::json(200, &answer),
            Err((status, body)) => Response::json(status, &body),
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let tokens = lock(&self.tokens);
        let issued = tokens.iter().map(|given| Issued {
            what: "an installation's token".to_owned(),
            secret: given.secret.clone(),
            revoked: given.revoked,
        });
        issued.collect()
    }
}
