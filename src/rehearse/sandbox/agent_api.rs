//! The Agent API: as much of it as hooks, the agent's commands and a real `buildkite-agent start` ask for
//! (`api/` of buildkite/agent).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::issuer::{Issuer, JobClaims};
use crate::host::Clock;
use crate::host::serve::{Request, Response};
use crate::secret::Secret;

/// A job that the sandbox knows.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What its hooks authenticate with.
    pub token: Secret,
    /// What its OIDC tokens say.
    pub claims: JobClaims,
    /// Its environment, for an agent that accepts it.
    pub env: BTreeMap<String, String>,
}

/// What became of a job that a real agent ran.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `running`, `canceling`, `finished`.
    pub state: String,
    /// The log's chunks, as uploaded (gzip).
    pub chunks: Vec<Vec<u8>>,
    /// What the agent said at the end.
    pub finish: Option<Value>,
    /// The job's meta-data.
    pub meta_data: BTreeMap<String, String>,
}

/// The service.
#[derive(Debug)]
pub struct AgentApi {
    issuer: Arc<Issuer>,
    clock: Clock,
    jobs: Mutex<BTreeMap<String, (Job, Progress)>>,
    tokens: Mutex<Vec<Secret>>,
}

impl AgentApi {
    /// A service whose tokens come from `issuer`.
    pub fn new(issuer: Arc<Issuer>, clock: Clock) -> Self {
        Self { issuer, clock, jobs: Mutex::default(), tokens: Mutex::default() }
    }

    /// Adds a job.
    pub fn add(&self, job: Job) {
        let progress = Progress { state: "assigned".into(), ..Progress::default() };
        self.jobs().insert(job.id.clone(), (job, progress));
    }

    /// What became of a job.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.jobs().get(id).map(|(_, progress)| progress.clone())
    }

    /// Tells the agent that a job is to be cancelled.
    pub fn cancel(&self, id: &str) {
        if let Some((_, progress)) = self.jobs().get_mut(id) {
            "canceling".clone_into(&mut progress.state);
        }
    }

    /// Every OIDC token minted so far.
    pub fn tokens(&self) -> Vec<Secret> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Job, Progress)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request below `/v3`.
    pub fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches("/v3/");
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["register"] => registered(),
            ["connect" | "disconnect" | "heartbeat"] => Response::json(200, &json!({})),
            ["ping"] => self.ping(),
            ["jobs", id, rest @ ..] => {
                let id = percent_decoded(id);
                let mut jobs = self.jobs();
                let Some((job, progress)) = jobs.get_mut(&id) else { return message(404, "No job found") };
                let accepting = matches!(rest, ["accept" | "acquire"]);
                if !accepting && !authorized(request, job) {
                    return message(401, "Please supply a valid Agent Access Token");
                }
                self.job(job, progress, rest, request, &body)
            }
            _ => message(404, "Not found"),
        }
    }

    fn ping(&self) -> Response {
        let jobs = self.jobs();
        let waiting = jobs.values().find(|(_, progress)| progress.state == "assigned");
        let job = waiting.map(|(job, _)| json!({ "id": job.id, "state": "assigned" }));
        Response::json(200, &job.map_or_else(|| json!({}), |job| json!({ "job": job })))
    }

    fn job(
        &self,
        job: &Job,
        progress: &mut Progress,
        rest: &[&str],
        request: &Request,
        body: &Value,
    ) -> Response {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match rest {
            [] => Response::json(200, &json!({ "id": job.id, "state": progress.state })),
            ["accept" | "acquire"] => {
                "accepted".clone_into(&mut progress.state);
                accepted(job)
            }
            ["start"] => {
                "running".clone_into(&mut progress.state);
                Response::json(200, &json!({}))
            }
            ["chunks"] => {
                progress.chunks.push(request.body.clone());
                Response::json(201, &json!({}))
            }
            ["finish"] => {
                "finished".clone_into(&mut progress.state);
                progress.finish = Some(body.clone());
                Response::json(200, &json!({}))
            }
            ["oidc", "tokens"] => self.token(job, body),
            ["data", "exists"] => {
                Response::json(200, &json!({ "exists": progress.meta_data.contains_key(&text("key")) }))
            }
            ["data", "set"] => {
                progress.meta_data.insert(text("key"), text("value"));
                Response::json(200, &json!({}))
            }
            ["data", "get"] => match progress.meta_data.get(&text("key")) {
                Some(value) => Response::json(200, &json!({ "key": text("key"), "value": value })),
                None => message(404, "No key exists"),
            },
            ["header_times" | "annotations" | "artifacts", ..] => Response::json(200, &json!({})),
            _ => message(404, "Not found"),
        }
    }

    fn token(&self, job: &Job, asked: &Value) -> Response {
        let none = Map::new();
        match self.issuer.mint(&job.claims, asked.as_object().unwrap_or(&none), self.clock.now()) {
            Ok(token) => {
                self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(Secret::new(token.clone()));
                Response::json(200, &json!({ "token": token }))
            }
            Err(error) => message(422, &error.to_string()),
        }
    }
}

fn registered() -> Response {
    // Intervals of 0 make the agent's tickers panic.
    let answer = json!({
        "id": uuid::Uuid::new_v4().to_string(), "name": "sandbox-1", "access_token": "sandbox-session", "endpoint": "",
        "ping_interval": 1, "job_status_interval": 1, "heartbeat_interval": 60, "meta_data": [],
    });
    Response::json(200, &answer)
}

fn accepted(job: &Job) -> Response {
    let answer = json!({
        "id": job.id, "state": "accepted", "env": job.env, "token": job.token.expose(),
        "step": { "command": job.env.get("BUILDKITE_COMMAND") },
        "chunks_max_size_bytes": 102_400, "chunks_interval_seconds": 1, "log_max_size_bytes": 10_485_760,
    });
    Response::json(200, &answer)
}

fn authorized(request: &Request, job: &Job) -> bool {
    let expected = format!("Token {}", job.token.expose());
    request.headers.get("authorization").is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

fn message(status: u16, text: &str) -> Response {
    Response::json(status, &json!({ "message": text }))
}

fn percent_decoded(text: &str) -> String {
    // `form_urlencoded` reads `+` as a space, which no path segment of the agent's holds.
    url::form_urlencoded::parse(format!("k={text}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
