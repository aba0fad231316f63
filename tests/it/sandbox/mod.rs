//! The sandbox as its clients see it, none of them written here: what they accept and how they read a refusal.

mod agent;
mod aws;
mod bootstrap;
mod buildkite;
mod github;
mod google;
mod issuer;
mod microsoft;
mod secrets;
mod vault;

use std::collections::BTreeMap;

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::rehearse::sandbox::issuer::JobClaims;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::secret::Secret;
use serde_json::{Value, json};

const JOB: &str = "01a1f640-bc00-4351-aa2a-eaa750062e7a";
const TOKEN: &str = "bkaj_token-of-the-job";

fn map(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A job of `acme/web` whose step is `train`.
fn job() -> Job {
    let claims = json!({
        "organization_slug": "acme", "pipeline_slug": "web", "build_number": 7, "build_branch": "main",
        "build_tag": null, "build_commit": "4f1c0ffee", "step_key": "train", "job_id": JOB, "agent_id": "agent-1",
        "build_source": "ui", "runner_environment": "self-hosted",
    });
    let optional = json!({"organization_id": "org-1", "pipeline_id": "pipe-1", "build_id": "build-1"});
    Job {
        id: JOB.into(),
        token: Secret::new(TOKEN),
        claims: JobClaims { claims: map(&claims), optional: map(&optional) },
        env: BTreeMap::new(),
    }
}

async fn sandbox(roles: BTreeMap<String, Role>) -> Sandbox {
    let sandbox = Sandbox::start(Clock::System, roles).await.unwrap();
    sandbox.agent().add(job());
    sandbox
}

/// What the agent tells its hooks of where it is.
fn job_env(sandbox: &Sandbox) -> [(&'static str, String); 3] {
    [
        ("BUILDKITE_AGENT_ENDPOINT", sandbox.agent_endpoint()),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", TOKEN.to_owned()),
        ("BUILDKITE_JOB_ID", JOB.to_owned()),
    ]
}

/// A token for the sandbox's STS, with what `changed` says instead.
fn token(sandbox: &Sandbox, asked: &Value, changed: &Value) -> String {
    let issuer = sandbox.issuer();
    let token = issuer.mint(&job().claims, &map(asked), Clock::System.now()).unwrap();
    let mut claims = issuer.verify(&token).unwrap().as_map().clone();
    claims.extend(map(changed));
    issuer.sign(&claims).unwrap()
}
