//! The Job API of one job, as a bootstrap offers it (`jobapi/` of buildkite/agent).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::agent::protected::is_protected;
use crate::host::http::Method;
use crate::host::serve::{Handler, Request, Response};
use crate::secret::Secret;

const PREFIX: &str = "/api/current-job/v0/";

/// The Job API: the job's environment, and what its log hides.
#[derive(Debug)]
pub struct JobApi {
    token: Secret,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    env: BTreeMap<String, Secret>,
    hidden: Vec<Secret>,
}

impl JobApi {
    /// An API with a token, over an environment.
    pub fn new(token: Secret, env: BTreeMap<String, Secret>) -> Self {
        Self { token, state: Mutex::new(State { env, hidden: Vec::new() }) }
    }

    /// The environment as it is now.
    pub fn env(&self) -> BTreeMap<String, Secret> {
        self.lock().env.clone()
    }

    /// Sets a variable as the bootstrap itself does.
    pub fn set(&self, name: &str, value: &str) {
        self.lock().env.insert(name.to_owned(), Secret::new(value));
    }

    /// `text` as the log would show it.
    pub fn redacted(&self, text: &str) -> String {
        let state = self.lock();
        // Longest first: a form may be part of another.
        let mut hidden: Vec<&Secret> =
            state.hidden.iter().filter(|secret| !secret.expose().is_empty()).collect();
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "[REDACTED]"))
    }

    /// How many texts are hidden.
    pub fn hidden(&self) -> usize {
        self.lock().hidden.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patch(&self, body: &Value) -> Response {
        let Some(variables) = body.get("env").and_then(Value::as_object) else { return error(400, "no env") };
        let protected: Vec<&str> =
            variables.keys().map(String::as_str).filter(|name| is_protected(name)).collect();
        if !protected.is_empty() {
            return error(
                422,
                &format!(
                    "the following environment variables are protected, and cannot be modified: {protected:?}"
                ),
            );
        }
        if variables.values().any(|value| !value.is_string()) {
            return error(422, "setting environment variables to nil is not permitted, use DELETE");
        }
        let mut state = self.lock();
        let (mut added, mut updated) = (Vec::new(), Vec::new());
        for (name, value) in variables {
            let value = Secret::new(value.as_str().unwrap_or_default());
            match state.env.insert(name.clone(), value) {
                None => added.push(name),
                Some(_) => updated.push(name),
            }
        }
        Response::json(200, &json!({ "added": added, "updated": updated }))
    }

    fn delete(&self, body: &Value) -> Response {
        let keys: Vec<&str> = body
            .get("keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if keys.iter().any(|name| is_protected(name)) {
            return error(422, "the following environment variables are protected, and cannot be modified");
        }
        let mut state = self.lock();
        let deleted: Vec<&str> = keys.into_iter().filter(|name| state.env.remove(*name).is_some()).collect();
        Response::json(200, &json!({ "deleted": deleted }))
    }

    fn redact(&self, body: &Value) -> Response {
        let Some(text) = body.get("redact").and_then(Value::as_str) else { return error(400, "no redact") };
        self.lock().hidden.push(Secret::new(text));
        Response::json(201, &json!({ "redacted": text }))
    }
}

impl Handler for JobApi {
    fn answer(&self, request: Request) -> Response {
        let expected = format!("Bearer {}", self.token.expose());
        if request.headers.get("authorization").is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return error(401, "invalid authorization token");
        }
        let body: Value = match serde_json::from_slice(&request.body) {
            Ok(body) => body,
            Err(_) if request.method == Method::GET => Value::Null,
            Err(problem) => return error(400, &format!("failed to decode request body: {problem}")),
        };
        match (request.method.as_str(), request.path.strip_prefix(PREFIX)) {
            ("GET", Some("env")) => {
                let state = self.lock();
                let env: BTreeMap<&String, &str> =
                    state.env.iter().map(|(name, value)| (name, value.expose())).collect();
                Response::json(200, &json!({ "env": env }))
            }
            ("PATCH", Some("env")) => self.patch(&body),
            ("DELETE", Some("env")) => self.delete(&body),
            ("POST", Some("redactions")) => self.redact(&body),
            _ => error(404, "not found"),
        }
    }
}

fn error(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "error": message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> JobApi {
        JobApi::new(
            Secret::new("token-of-the-job"),
            BTreeMap::from([("HOME".to_owned(), Secret::new("/root"))]),
        )
    }

    fn ask(api: &JobApi, method: Method, path: &str, body: &Value) -> Response {
        let headers = [("authorization".parse().unwrap(), "Bearer token-of-the-job".parse().unwrap())];
        let request = Request {
            method,
            path: format!("{PREFIX}{path}"),
            headers: headers.into_iter().collect(),
            body: body.to_string().into_bytes(),
        };
        api.answer(request)
    }

    #[test]
    fn one_protected_name_refuses_the_whole_change() {
        let api = api();
        let answer = ask(&api, Method::PATCH, "env", &json!({"env": {"A": "1", "BUILDKITE_SHELL": "x"}}));
        assert_eq!((answer.status, api.env().len()), (422, 1));
    }

    #[test]
    fn changes_say_what_was_added_and_what_was_there() {
        let answer = ask(&api(), Method::PATCH, "env", &json!({"env": {"A": "1", "HOME": "/x"}}));
        assert_eq!(answer.body, br#"{"added":["A"],"updated":["HOME"]}"#);
    }

    #[test]
    fn what_is_redacted_is_hidden() {
        let api = api();
        assert_eq!(ask(&api, Method::POST, "redactions", &json!({"redact": "hunter2"})).status, 201);
        assert_eq!(api.redacted("it is hunter2"), "it is [REDACTED]");
    }

    #[test]
    fn without_the_token_nothing_is_told() {
        let request = Request {
            method: Method::GET,
            path: format!("{PREFIX}env"),
            headers: ::http::HeaderMap::default(),
            body: Vec::new(),
        };
        assert_eq!(api().answer(request).status, 401);
    }
}
