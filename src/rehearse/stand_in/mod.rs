//! What answers to `buildkite-agent` in a rehearsed command where the agent itself is not on the search path: as much of
//! it as steps use, spoken to the sandbox in the agent's own words. What it has not it refuses.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use dataflow_host::agent::job_api::JobApi;
use dataflow_host::agent::oidc::{Issuer, TokenRequest};
use dataflow_host::http::{Http, Method, Network, Request, Response, StatusCode};
use dataflow_host::{Env, Host, env, files, stdin};
use dataflow_types::secret::Secret;

mod artifacts;
mod pipeline;
mod words;

use words::Words;

/// How the line begins that says what there is no stand-in for.
pub(super) const MISSING: &str = "buildkite-agent: not rehearsed: ";

/// The longest that the sandbox may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a command of the agent's came to.
#[derive(Debug, Default)]
pub struct Answer {
    /// What it prints.
    pub out: String,
    /// Its exit status.
    pub status: u8,
}

impl Answer {
    fn lines(lines: impl Iterator<Item = String>) -> Self {
        Self::said(lines.flat_map(|line| [line, "\n".to_owned()]).collect::<String>())
    }

    fn said(out: impl Into<String>) -> Self {
        Self { out: out.into(), status: 0 }
    }
}

/// Why it did not do it: a line for standard error.
type Refusal = String;

/// Does what `buildkite-agent` with these words does.
pub async fn run(host: &Host, all: &[String]) -> Result<Answer, Refusal> {
    let agent = Agent::of(host)?;
    let words: Vec<&str> = all.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version" | "-v", ..] => Ok(Answer::said("buildkite-agent, the stand-in of a rehearsal\n")),
        ["meta-data", verb, rest @ ..] => agent.meta_data(verb, rest).await,
        ["annotate", rest @ ..] => agent.annotate(rest).await,
        ["annotation", "remove", rest @ ..] => {
            let words = Words::read(rest, &["context", "scope"], &[])?;
            let context = words.value("context").unwrap_or("default");
            agent.ask(Method::DELETE, &agent.job(&format!("annotations/{context}"))?, None).await?;
            Ok(Answer::default())
        }
        ["artifact", verb, rest @ ..] => agent.artifact(verb, rest).await,
        ["pipeline", "upload", rest @ ..] => agent.upload(rest).await,
        ["env", verb, rest @ ..] => agent.env(verb, rest).await,
        ["oidc", "request-token", rest @ ..] => agent.token(rest).await,
        ["redactor", "add", rest @ ..] => agent.redact(rest).await,
        ["step", verb, rest @ ..] => agent.step(verb, rest).await,
        [] => missing(""),
        [first, ..] => missing(first),
    }
}

fn missing(what: &str) -> Result<Answer, Refusal> {
    Err(format!(
        "{MISSING}`{what}` has no stand-in in a rehearsal; where the agent itself is on PATH it is asked"
    ))
}

/// The way to the sandbox.
struct Agent<'a> {
    host: &'a Host,
    http: Http,
    endpoint: Url,
    token: Secret,
}

impl<'a> Agent<'a> {
    fn of(host: &'a Host) -> Result<Self, Refusal> {
        let unset = || "buildkite-agent: this is not a rehearsed job".to_owned();
        let endpoint = host.env.get(&env::ENDPOINT).ok_or_else(unset)?;
        let endpoint = Url::parse(&format!("{endpoint}/")).map_err(|error| error.to_string())?;
        let token = host.env.secret(&env::ACCESS_TOKEN).ok_or_else(unset)?;
        Ok(Self { host, http: Http::new(Network::default()), endpoint, token })
    }

    fn told(&self, name: &str) -> &str {
        self.host.env.told(name).unwrap_or_default()
    }

    fn job(&self, rest: &str) -> Result<Url, Refusal> {
        self.url(&format!("jobs/{}/{rest}", self.told("BUILDKITE_JOB_ID")))
    }

    fn url(&self, path: &str) -> Result<Url, Refusal> {
        self.endpoint.join(path).map_err(|error| format!("buildkite-agent: {error}"))
    }

    async fn send(&self, request: Request) -> Result<Response, Refusal> {
        let request = request.secret_header("authorization", "Token ", &self.token);
        let answer = match request {
            Ok(request) => self.http.send(request).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| format!("buildkite-agent: the sandbox gave no answer: {error}"))
    }

    /// Asks, and takes nothing but success for an answer.
    async fn ask(&self, method: Method, url: &Url, body: Option<Value>) -> Result<Value, Refusal> {
        let (status, answer) = self.asked(method, url, body).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
        Err(format!("buildkite-agent: the sandbox answered {status}: {message}"))
    }

    async fn asked(
        &self,
        method: Method,
        url: &Url,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), Refusal> {
        let request = Request::new(method, url.clone(), TIMEOUT);
        let request = match body {
            Some(body) => request.body("application/json", body.to_string().into_bytes()),
            None => request,
        };
        let answer = self.send(request).await?;
        Ok((answer.status, serde_json::from_slice(answer.body.bytes()).unwrap_or_default()))
    }

    async fn meta_data(&self, verb: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &["default", "job", "build"], &["strip-newlines"])?;
        let data = |verb: &str| self.job(&format!("data/{verb}"));
        let key = || words.rest.first().cloned().ok_or("buildkite-agent: a key is missing".to_owned());
        match verb {
            "set" => {
                let value = match words.rest.get(1) {
                    Some(value) => value.clone(),
                    None => piped()?,
                };
                if value.trim().is_empty() {
                    return Err("buildkite-agent: a value cannot be empty, or composed of only white space"
                        .to_owned());
                }
                let body = json!({ "key": key()?, "value": value });
                self.ask(Method::POST, &data("set")?, Some(body)).await.map(|_| Answer::default())
            }
            "get" => {
                let body = json!({ "key": key()? });
                match self.asked(Method::POST, &data("get")?, Some(body)).await? {
                    (StatusCode::OK, answer) => Ok(Answer::said(text(&answer, "value"))),
                    (_, answer) => match words.value("default") {
                        Some(default) => Ok(Answer::said(default)),
                        None => Err(format!(
                            "buildkite-agent: failed to get meta-data: {}",
                            text(&answer, "message")
                        )),
                    },
                }
            }
            "exists" => {
                let answer = self.ask(Method::POST, &data("exists")?, Some(json!({ "key": key()? }))).await?;
                let there = answer.get("exists").and_then(Value::as_bool);
                // The agent's own status for a key that is not there.
                Ok(Answer { status: if there == Some(true) { 0 } else { 100 }, ..Answer::default() })
            }
            "keys" => {
                let answer = self.ask(Method::POST, &data("keys")?, Some(json!({}))).await?;
                let keys = answer.as_array().into_iter().flatten().filter_map(Value::as_str);
                Ok(Answer::lines(keys.map(str::to_owned)))
            }
            other => missing(&format!("meta-data {other}")),
        }
    }

    async fn annotate(&self, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &["context", "style", "priority", "scope", "job"], &["append"])?;
        let body = match words.rest.first() {
            Some(body) => body.clone(),
            None => piped()?,
        };
        let annotation = json!({
            "body": body, "context": words.value("context"), "style": words.value("style"),
            "append": words.flag("append"), "scope": words.value("scope").unwrap_or("build"),
        });
        self.ask(Method::POST, &self.job("annotations")?, Some(annotation)).await.map(|_| Answer::default())
    }

    async fn env(&self, verb: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &[], &[])?;
        let job = self.job_api()?;
        let done = match verb {
            "set" => {
                let pairs: BTreeMap<&str, &str> =
                    words.rest.iter().filter_map(|word| word.split_once('=')).collect();
                job.set(&pairs).await
            }
            "unset" => job.unset(&words.rest.iter().map(String::as_str).collect::<Vec<_>>()).await,
            other => return missing(&format!("env {other}")),
        };
        done.map(|()| Answer::default()).map_err(|error| format!("buildkite-agent: {error}"))
    }

    async fn token(&self, rest: &[&str]) -> Result<Answer, Refusal> {
        let values = ["audience", "lifetime", "claim", "aws-session-tag", "subject-claim", "job"];
        let words = Words::read(rest, &values, &["skip-redaction"])?;
        let lifetime = words.value("lifetime").map(str::parse::<u64>).transpose();
        let token_request = TokenRequest {
            audience: words.value("audience").map(str::to_owned),
            lifetime: lifetime.map_err(|_| "buildkite-agent: `--lifetime` takes seconds".to_owned())?,
            claims: words.values("claim"),
            aws_session_tags: words.values("aws-session-tag"),
            subject_claim: words.value("subject-claim").map(str::to_owned),
        };
        let refused = |error: &dyn std::fmt::Display| format!("buildkite-agent: {error}");
        let issuer =
            Issuer::of(self.host, &self.http, Duration::from_secs(1)).map_err(|error| refused(&error))?;
        let until = self.host.clock.now() + TIMEOUT;
        let token = issuer.mint(&token_request, until).await.map_err(|error| refused(&error))?;
        if !words.flag("skip-redaction") {
            self.job_api()?.redact(token.secret()).await.map_err(|error| refused(&error))?;
        }
        Ok(Answer::said(format!("{}\n", token.expose())))
    }

    async fn redact(&self, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &["format"], &[])?;
        if words.value("format").is_some_and(|format| format != "none") {
            return missing("redactor add --format");
        }
        let content = match words.rest.first().filter(|path| *path != "-") {
            Some(path) => files::read(&self.host.cwd.join(path)).map_err(|error| error.to_string())?,
            None => piped()?.into_bytes(),
        };
        let secret = Secret::new(String::from_utf8_lossy(&content).trim());
        let hidden = self.job_api()?.redact(&secret).await;
        hidden.map(|()| Answer::default()).map_err(|error| format!("buildkite-agent: {error}"))
    }

    async fn step(&self, verb: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(rest, &["step", "build", "format"], &["append"])?;
        let step = words.value("step").unwrap_or_else(|| self.told("BUILDKITE_STEP_ID"));
        let attribute = words.rest.first().cloned().unwrap_or_default();
        match verb {
            "get" => {
                let body = json!({ "attribute": attribute, "build_id": self.told("BUILDKITE_BUILD_ID") });
                let answer =
                    self.ask(Method::POST, &self.url(&format!("steps/{step}/export"))?, Some(body)).await?;
                Ok(Answer::said(format!("{}\n", text(&answer, "output"))))
            }
            "update" => {
                let value = words.rest.get(1).cloned().map_or_else(piped, Ok)?;
                let body = json!({ "attribute": attribute, "value": value, "append": words.flag("append") });
                self.ask(Method::PUT, &self.url(&format!("steps/{step}"))?, Some(body)).await?;
                Ok(Answer::default())
            }
            other => missing(&format!("step {other}")),
        }
    }

    fn job_api(&self) -> Result<JobApi, Refusal> {
        JobApi::of(&self.host.env).map_err(|error| format!("buildkite-agent: {error}"))
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What is piped in, without the line's end.
fn piped() -> Result<String, Refusal> {
    let bytes = stdin::read().map_err(|error| format!("buildkite-agent: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "buildkite-agent: what is piped in is not UTF-8 text".to_owned())
}

/// Whether the agent itself is on a search path.
pub(super) fn is_needed(env: &Env) -> bool {
    let path = env.told("PATH").unwrap_or_default();
    !path.split(':').any(|folder| Path::new(folder).join("buildkite-agent").is_file())
}
