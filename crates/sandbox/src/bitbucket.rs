//! Bitbucket: Cloud's token endpoint, and Data Center's HTTP access tokens of projects and repositories.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::service::{Issued, Service};
use super::shown;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// How long Cloud's tokens live, in seconds.
const LIFE: i64 = 7200;

/// Both of them.
#[derive(Debug, Default)]
pub struct Bitbucket {
    tokens: Mutex<Vec<Given>>,
}

#[derive(Clone, Debug)]
struct Given {
    id: String,
    /// Where Data Center keeps it; nothing for Cloud's.
    path: String,
    secret: Secret,
    revoked: bool,
}

impl Bitbucket {
    fn tokens(&self) -> MutexGuard<'_, Vec<Given>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, prefix: &str, path: &str) -> Given {
        let (id, random) = (uuid::Uuid::new_v4().simple().to_string(), uuid::Uuid::new_v4().simple());
        let secret = Secret::new(format!("{prefix}{random}"));
        let given = Given { id, path: path.to_owned(), secret, revoked: false };
        self.tokens().push(given.clone());
        given
    }

    fn cloud(&self, request: &Request) -> Response {
        let told = |code: &str, message: &str| {
            Response::json(400, &json!({ "error": code, "error_description": message }))
        };
        // A consumer is known by the header alone.
        if shown::basic(request).is_none() {
            return told("unauthorized_client", "Invalid OAuth client credentials");
        }
        let grant = url::form_urlencoded::parse(&request.body).find(|(name, _)| name == "grant_type");
        match grant.as_ref().map(|(_, grant)| grant.as_ref()) {
            Some("client_credentials") => {
                let given = self.give("bbc_", "");
                let answer = json!({
                    "access_token": given.secret.expose(), "token_type": "bearer", "expires_in": LIFE,
                    "scopes": "repository", "state": "client_credentials",
                });
                Response::json(200, &answer)
            }
            Some(_) => told("unsupported_grant_type", "unsupported grant_type value"),
            None => told("invalid_request", "Missing grant_type parameter"),
        }
    }

    /// Whoever makes tokens: a user's password or an OAuth token, but no token that was made here.
    fn administers(&self, request: &Request) -> bool {
        let bearer = shown::header(request, "Bearer");
        let made_here = self.tokens().iter().any(|given| given.secret.expose() == bearer);
        shown::basic(request).is_some() || (!bearer.is_empty() && !made_here)
    }

    fn data_center(&self, request: &Request, path: &str) -> Response {
        if !self.administers(request) {
            return told(
                401,
                "AuthenticationException",
                "Authentication failed. Please check your credentials and try again.",
            );
        }
        match request.method.as_str() {
            "PUT" => self.make(path, &request.body),
            "DELETE" => {
                let mut tokens = self.tokens();
                let known = tokens.iter_mut().find(|given| format!("{}/{}", given.path, given.id) == path);
                match known.filter(|given| !given.revoked) {
                    Some(given) => {
                        given.revoked = true;
                        Response::new(204, "application/json", "")
                    }
                    None => told(404, "NoSuchEntityException", "No access token with that id exists."),
                }
            }
            _ => told(405, "MethodNotAllowedException", "Method Not Allowed"),
        }
    }

    fn make(&self, path: &str, body: &[u8]) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let permissions = body.get("permissions").and_then(Value::as_array).cloned().unwrap_or_default();
        let known = |permission: &Value| {
            let permission = permission.as_str().unwrap_or_default();
            permission.starts_with("REPO_") || permission.starts_with("PROJECT_")
        };
        if body.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return told(400, "ConstraintViolationException", "A name is required.");
        }
        if permissions.is_empty() || !permissions.iter().all(known) {
            return told(400, "ConstraintViolationException", "At least one valid permission is required.");
        }
        let given = self.give("BBDC-", path);
        let answer = json!({
            "id": given.id, "name": body.get("name"), "permissions": permissions,
            "expiryDays": body.get("expiryDays"), "token": given.secret.expose(),
        });
        Response::json(200, &answer)
    }
}

fn told(status: u16, exception: &str, message: &str) -> Response {
    let name = format!("com.atlassian.bitbucket.{exception}");
    Response::json(
        status,
        &json!({ "errors": [{ "context": null, "message": message, "exceptionName": name }] }),
    )
}

impl Service for Bitbucket {
    fn provider(&self) -> &'static str {
        "bitbucket"
    }

    fn origins(&self) -> Vec<&'static str> {
        vec!["https://bitbucket.org"]
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/site/oauth2/access_token" {
            return self.cloud(request);
        }
        match path.find("/rest/access-tokens/latest/projects/").and_then(|at| path.get(at..)) {
            Some(path) => self.data_center(request, path),
            None => told(404, "NoSuchEntityException", "There is nothing here."),
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let tokens = self.tokens();
        let issued = tokens.iter().map(|given| Issued {
            what: "a token of Bitbucket".to_owned(),
            secret: given.secret.clone(),
            revoked: given.revoked,
        });
        issued.collect()
    }
}
