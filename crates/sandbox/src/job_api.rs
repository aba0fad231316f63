//! The Job API of one job, as a bootstrap offers it (`jobapi/` of buildkite/agent).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::replacer::Replacer;
use dataflow_host::agent::protected::is_protected;
use dataflow_host::serve::{Handler, Request, Response};
use dataflow_types::secret::Secret;

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
    log: Replacer,
    hidden: Vec<Secret>,
    workdir: Option<String>,
    promised: Option<(i64, String)>,
}

impl JobApi {
    /// An API with a token, over an environment.
    pub fn new(token: Secret, env: BTreeMap<String, Secret>) -> Self {
        Self { token, state: Mutex::new(State { env, ..State::default() }) }
    }

    /// The environment as it is now.
    pub fn env(&self) -> BTreeMap<String, Secret> {
        self.lock().env.clone()
    }

    /// Sets a variable as the bootstrap itself does.
    pub fn set(&self, name: &str, value: &str) {
        self.lock().env.insert(name.to_owned(), Secret::new(value));
    }

    /// Begins another job, with the environment `env` and nothing hidden yet.
    pub fn begin(&self, env: BTreeMap<String, Secret>) {
        *self.lock() = State { env, ..State::default() };
    }

    /// `text` as the log would show it.
    pub fn redacted(&self, text: &str) -> String {
        let mut whole = Replacer::default();
        self.lock().hidden.iter().for_each(|secret| whole.hide(secret.expose()));
        let mut shown = whole.write(text.as_bytes());
        shown.extend(whole.flush());
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Takes a piece of the job's log; what of it the log shows by now.
    pub fn log(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.lock().log.write(text.as_bytes())).into_owned()
    }

    /// What the log held back: the program that wrote it has ended.
    pub fn log_ends(&self) -> String {
        String::from_utf8_lossy(&self.lock().log.flush()).into_owned()
    }

    /// Hides a text in the log from now on.
    pub fn hide(&self, text: &Secret) {
        let mut state = self.lock();
        state.log.hide(text.expose());
        state.hidden.push(text.clone());
    }

    /// How many texts are hidden.
    pub fn hidden(&self) -> usize {
        self.lock().log.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that a hook asked the job to go on in.
    pub fn workdir(&self) -> Option<String> {
        self.lock().workdir.clone()
    }

    /// The failure that was promised: exit status and reason.
    pub fn promised(&self) -> Option<(i64, String)> {
        self.lock().promised.clone()
    }

    fn patch(&self, wanted: Variables) -> Response {
        let wanted = wanted.env.unwrap_or_default();
        if let Some(refusal) = refuse_protected(wanted.keys().map(String::as_str)) {
            return refusal;
        }
        let nulls: Vec<&str> =
            wanted.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
        if !nulls.is_empty() {
            return error(
                422,
                &format!(
                    "removing environment variables (ie setting them to null) is not permitted on this endpoint. The \
                     following keys were set to null: [{}]",
                    nulls.join(" ")
                ),
            );
        }
        let mut state = self.lock();
        let (mut added, mut updated) = (Vec::new(), Vec::new());
        for (name, value) in wanted {
            let changed = if state.env.contains_key(&name) { &mut updated } else { &mut added };
            changed.push(name.clone());
            state.env.insert(name, Secret::new(value.unwrap_or_default()));
        }
        Response::json(200, &json!({ "added": added, "updated": updated }))
    }

    fn delete(&self, unwanted: Keys) -> Response {
        let mut keys = unwanted.keys.unwrap_or_default();
        if let Some(refusal) = refuse_protected(keys.iter().map(String::as_str)) {
            return refusal;
        }
        let mut state = self.lock();
        keys.retain(|name| state.env.remove(name).is_some());
        keys.sort();
        Response::json(200, &json!({ "deleted": keys }))
    }

    fn redact(&self, wanted: Redaction) -> Response {
        let answer = Response::json(201, &json!({ "redacted": &wanted.redact }));
        self.hide(&Secret::new(wanted.redact));
        answer
    }

    fn go_to(&self, wanted: &Workdir) -> Response {
        match wanted.workdir.as_str() {
            "" => error(422, "workdir must not be empty"),
            path if !path.starts_with('/') => {
                error(422, &format!("workdir must be an absolute path, got {path:?}"))
            }
            path => {
                self.lock().workdir = Some(path.to_owned());
                Response::json(200, &json!({ "workdir": path }))
            }
        }
    }

    fn promise(&self, failure: Promise) -> Response {
        if failure.exit_status <= 0 {
            return error(400, "exit_status must be a positive integer");
        }
        let mut state = self.lock();
        let answer = match &state.promised {
            None => json!({ "outcome": "declared", "accepted": true, "upstream_status": 200 }),
            Some((status, _)) if *status == failure.exit_status => {
                json!({ "outcome": "debounced", "accepted": true, "upstream_status": 200 })
            }
            Some((status, _)) => json!({
                "outcome": "declared", "accepted": false, "upstream_status": 422,
                "error": format!("exit status {status} was already promised"),
            }),
        };
        state.promised.get_or_insert((failure.exit_status, failure.reason));
        Response::json(200, &answer)
    }
}

#[derive(Deserialize)]
struct Variables {
    env: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Redaction {
    redact: String,
}

#[derive(Deserialize)]
struct Workdir {
    #[serde(default)]
    workdir: String,
}

#[derive(Deserialize)]
struct Promise {
    exit_status: i64,
    #[serde(default)]
    reason: String,
}

fn refuse_protected<'a>(names: impl Iterator<Item = &'a str>) -> Option<Response> {
    let protected: Vec<&str> = names.filter(|name| is_protected(name)).collect();
    let text = format!(
        "the following environment variables are protected, and cannot be modified: [{}]",
        protected.join(" ")
    );
    (!protected.is_empty()).then(|| error(422, &text))
}

/// Acts on a body that has the shape for it.
fn with<T: DeserializeOwned>(request: &Request, act: impl FnOnce(T) -> Response) -> Response {
    match serde_json::from_slice(&request.body) {
        Ok(body) => act(body),
        Err(problem) => error(400, &format!("failed to decode request body: {problem}")),
    }
}

impl Handler for JobApi {
    fn answer(&self, request: Request) -> Response {
        let expected = format!("Bearer {}", self.token.expose());
        if request.headers.get("authorization").is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return error(401, "invalid authorization token");
        }
        match (request.method.as_str(), request.path.strip_prefix(PREFIX)) {
            ("GET", Some("env")) => {
                let state = self.lock();
                let env: BTreeMap<&String, &str> =
                    state.env.iter().map(|(name, value)| (name, value.expose())).collect();
                Response::json(200, &json!({ "env": env }))
            }
            ("PATCH", Some("env")) => with(&request, |body| self.patch(body)),
            ("DELETE", Some("env")) => with(&request, |body| self.delete(body)),
            ("POST", Some("redactions")) => with(&request, |body| self.redact(body)),
            ("PUT", Some("workdir")) => with(&request, |body| self.go_to(&body)),
            ("POST", Some("promise-failure")) => with(&request, |body| self.promise(body)),
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
    use dataflow_host::http::Method;
    use serde_json::Value;

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
    fn what_has_not_the_shape_is_refused_whole() {
        let api = api();
        for (method, path, body, status) in [
            (Method::PATCH, "env", json!({"env": {"A": "1", "B": null}}), 422),
            (Method::PATCH, "env", json!({"env": {"A": "1", "B": 2}}), 400),
            (Method::PATCH, "env", json!([]), 400),
            (Method::DELETE, "env", json!({"keys": ["HOME", "BUILDKITE_SHELL"]}), 422),
            (Method::PUT, "workdir", json!({"workdir": "relative"}), 422),
            (Method::POST, "promise-failure", json!({"exit_status": 0}), 400),
        ] {
            assert_eq!(ask(&api, method, path, &body).status, status, "{path} {body}");
        }
        assert_eq!(api.env().into_keys().collect::<Vec<_>>(), ["HOME"]);
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
