//! The Agent API: as much of it as hooks, the agent's commands and a real `buildkite-agent start` ask for
//! (`api/` of buildkite/agent).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::HeaderValue;
use serde_json::{Value, json};

use super::issuer::{Issuer, JobClaims};
use dataflow_host::Clock;
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

mod build;
mod job;

use build::Build;
pub use build::Upload;

/// What every agent that registers is called.
const AGENT: &str = "sandbox-1";

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
    /// `assigned`, `accepted`, `running`, `canceling`, `finished`.
    pub state: String,
    /// The log's chunks by their sequence, as uploaded: gzip, so that put together in order they are gzip too.
    pub chunks: BTreeMap<u64, Vec<u8>>,
    /// What the agent said at the end.
    pub finish: Option<Value>,
    /// The build's meta-data.
    pub meta_data: BTreeMap<String, String>,
    /// Annotations, as they were made or removed.
    pub annotations: Vec<Value>,
    /// Artifacts, as the agent describes them.
    pub artifacts: Vec<Value>,
}

/// The service.
#[derive(Debug)]
pub struct AgentApi {
    issuer: Arc<Issuer>,
    clock: Clock,
    /// What an agent registers with, and what it is given for that.
    registration: Secret,
    session: Secret,
    jobs: Mutex<BTreeMap<String, (Job, Progress)>>,
    tokens: Mutex<Vec<Secret>>,
    /// What the jobs of the build share.
    build: Mutex<Build>,
}

impl AgentApi {
    /// A service whose tokens come from `issuer`.
    pub fn new(issuer: Arc<Issuer>, clock: Clock) -> Self {
        let random = |prefix| Secret::new(format!("{prefix}{}", uuid::Uuid::new_v4().simple()));
        let (registration, session) = (random("bkct_"), random("bkaa_"));
        let (jobs, tokens, build) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { issuer, clock, registration, session, jobs, tokens, build }
    }

    /// The token by which a real agent registers.
    pub fn agent_token(&self) -> &Secret {
        &self.registration
    }

    /// Adds a job.
    pub fn add(&self, job: Job) {
        let progress = Progress { state: "assigned".into(), ..Progress::default() };
        self.jobs().insert(job.id.clone(), (job, progress));
    }

    /// What became of a job.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        let progress = self.jobs().get(id).map(|(_, progress)| progress.clone());
        progress.map(|progress| Progress { meta_data: lock(&self.build).meta_data.clone(), ..progress })
    }

    /// Takes the pipelines that jobs have uploaded since, in their order.
    pub fn take_uploads(&self) -> Vec<Upload> {
        std::mem::take(&mut lock(&self.build).uploads)
    }

    /// Keys that the steps of the build have, and that no upload may have again.
    pub fn know<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        lock(&self.build).keys.extend(keys.map(str::to_owned));
    }

    /// Tells the agent that a job is to be cancelled.
    pub fn cancel(&self, id: &str) {
        if let Some((_, progress)) = self.jobs().get_mut(id)
            && progress.state != "finished"
        {
            "canceling".clone_into(&mut progress.state);
        }
    }

    /// Every OIDC token minted so far.
    pub fn tokens(&self) -> Vec<Secret> {
        lock(&self.tokens).clone()
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, (Job, Progress)>> {
        lock(&self.jobs)
    }

    /// Answers a request below `/v3`.
    pub fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches("/v3/").split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            // Where instructions for an artifact lead: a store that asks for no token, as Buildkite's does.
            ("POST", ["artifact-store"]) => lock(&self.build).store(request),
            ("GET", ["artifact-store", id]) => lock(&self.build).content(id),
            ("POST", ["register"]) => with(request, &[&self.registration], || registered(&self.session)),
            ("POST", ["connect" | "disconnect" | "heartbeat"]) => {
                with(request, &[&self.session], || Response::json(200, &json!({})))
            }
            ("GET", ["ping"]) => with(request, &[&self.session], || self.ping()),
            (_, ["jobs", id, rest @ ..]) => self.of_job(request, &percent_decoded(id), rest),
            (_, ["builds" | "steps", ..]) => self.of_build(request, &parts),
            _ => message(404, "Not found"),
        }
    }

    fn of_job(&self, request: &Request, id: &str, rest: &[&str]) -> Response {
        let mut jobs = self.jobs();
        let Some((job, progress)) = jobs.get_mut(id) else { return message(404, "No job found") };
        if let ["accept" | "acquire"] = rest {
            return with(request, &[&self.session], || job::accept(job, progress));
        }
        let token = job.token.clone();
        with(request, &[&token, &self.session], || self.answer_job(job, progress, rest, request))
    }

    fn of_build(&self, request: &Request, parts: &[&str]) -> Response {
        let tokens: Vec<Secret> = self.jobs().values().map(|(job, _)| job.token.clone()).collect();
        let known: Vec<&Secret> = tokens.iter().chain([&self.session]).collect();
        with(request, &known, || lock(&self.build).answer(request, parts))
    }

    fn ping(&self) -> Response {
        let jobs = self.jobs();
        let waiting = jobs.values().find(|(_, progress)| progress.state == "assigned");
        let job = waiting.map(|(job, _)| json!({ "id": job.id, "state": "assigned" }));
        Response::json(200, &job.map_or_else(|| json!({}), |job| json!({ "job": job })))
    }
}

/// Acts for whoever brings one of these tokens.
fn with(request: &Request, any_of: &[&Secret], act: impl FnOnce() -> Response) -> Response {
    let given = request.headers.get("authorization").map(HeaderValue::as_bytes);
    let given = given.and_then(|value| value.strip_prefix(b"Token "));
    if any_of.iter().any(|token| given == Some(token.expose().as_bytes())) {
        return act();
    }
    message(401, "Please supply a valid Agent Access Token")
}

fn registered(session: &Secret) -> Response {
    // Intervals of 0 make the agent's tickers panic.
    let answer = json!({
        "id": uuid::Uuid::new_v4().to_string(), "name": AGENT, "access_token": session.expose(), "endpoint": "",
        "ping_interval": 1, "job_status_interval": 1, "heartbeat_interval": 60, "meta_data": [],
    });
    Response::json(200, &answer)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
