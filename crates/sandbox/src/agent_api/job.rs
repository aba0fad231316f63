//! What is asked below `jobs/ID`.

use serde_json::{Map, Value, json};

use super::{AgentApi, Job, Progress, lock, message, percent_decoded};
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// An agent takes a job.
pub(super) fn accept(job: &Job, progress: &mut Progress) -> Response {
    if progress.state != "assigned" {
        return message(422, &format!("The job is {} and can no longer be taken", progress.state));
    }
    "accepted".clone_into(&mut progress.state);
    // An agent's own name comes back to it from the service.
    let mut env = job.env.clone();
    for (name, value) in [("BUILDKITE_JOB_ID", job.id.as_str()), ("BUILDKITE_AGENT_NAME", super::AGENT)] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let answer = json!({
        "id": job.id, "state": "accepted", "env": env, "token": job.token.expose(),
        "step": { "command": job.env.get("BUILDKITE_COMMAND") },
        "chunks_max_size_bytes": 102_400, "chunks_interval_seconds": 1, "log_max_size_bytes": 10_485_760,
    });
    Response::json(200, &answer)
}

impl AgentApi {
    pub(super) fn answer_job(
        &self,
        job: &Job,
        progress: &mut Progress,
        rest: &[&str],
        request: &Request,
    ) -> Response {
        let done = || Response::json(200, &json!({}));
        // Only chunks are no JSON; what is no object where one is needed asks for nothing.
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), rest) {
            ("GET", []) => Response::json(200, &json!({ "id": job.id, "state": progress.state })),
            ("PUT", ["start"]) => {
                // A job may have been cancelled since.
                if progress.state == "accepted" {
                    "running".clone_into(&mut progress.state);
                }
                done()
            }
            ("POST", ["chunks"]) => {
                progress.chunks.insert(sequence(&request.path), request.body.clone());
                Response::json(201, &json!({}))
            }
            ("PUT", ["finish"]) => {
                "finished".clone_into(&mut progress.state);
                progress.finish = Some(body);
                done()
            }
            ("POST", ["oidc", "tokens"]) => self.token(job, &body),
            ("POST", ["data", verb]) => lock(&self.build).data(verb, &body),
            ("POST", ["pipelines"]) => lock(&self.build).upload(&request.body),
            ("GET", ["pipelines", _]) => Response::json(200, &json!({ "state": "applied" })),
            ("POST", ["annotations"]) => {
                progress.annotations.push(body);
                done()
            }
            ("DELETE", ["annotations", context]) => {
                progress.annotations.push(json!({ "removed": percent_decoded(context) }));
                done()
            }
            ("POST", ["artifacts"]) => {
                let list = body.get("artifacts").and_then(Value::as_array).cloned().unwrap_or_default();
                progress.artifacts.extend(list.iter().cloned());
                lock(&self.build).artifacts(list, &job.id, request, &body)
            }
            ("POST", ["header_times"]) | ("PUT", ["artifacts"]) => done(),
            _ => message(404, "Not found"),
        }
    }

    fn token(&self, job: &Job, asked: &Value) -> Response {
        let none = Map::new();
        match self.issuer.mint(&job.claims, asked.as_object().unwrap_or(&none), self.clock.now()) {
            Ok(token) => {
                lock(&self.tokens).push(Secret::new(token.clone()));
                Response::json(200, &json!({ "token": token }))
            }
            Err(error) => message(422, &error.to_string()),
        }
    }
}

/// `?sequence=N`: chunks are uploaded concurrently.
fn sequence(path: &str) -> u64 {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let number = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sequence");
    number.and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}
