//! One job of a rehearsal: who it is, and its environment.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::sandbox::agent_api;
use super::sandbox::issuer::JobClaims;
use dataflow_pipeline::PluginUse;
use dataflow_types::secret::Secret;

/// The build's id.
const BUILD: &str = "0194f6f2-0000-4000-8000-000000000004";

/// Whose build is rehearsed.
#[derive(Clone, Debug)]
pub struct Build {
    /// The organization's slug.
    pub organization: String,
    /// The pipeline's slug.
    pub pipeline: String,
    /// The branch.
    pub branch: String,
    /// The commit.
    pub commit: String,
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to call it.
    pub name: String,
    /// The step's key.
    pub step_key: Option<String>,
    /// The command's lines.
    pub command: String,
    /// The pipeline's and the step's variables.
    pub env: BTreeMap<String, String>,
    /// Every plugin of the step, ours among them.
    pub plugins: Vec<PluginUse>,
    /// Its id.
    pub id: String,
    /// Which of several equal jobs it is, from 0, and how many there are.
    pub parallel: Option<(u32, u32)>,
}

impl Job {
    /// The variables that `pipeline upload` would know, for interpolation.
    pub(super) fn upload_variables(build: &Build) -> BTreeMap<String, String> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        [
            ("BUILDKITE", "true"),
            ("CI", "true"),
            ("BUILDKITE_ORGANIZATION_SLUG", &build.organization),
            ("BUILDKITE_PIPELINE_SLUG", &build.pipeline),
            ("BUILDKITE_BRANCH", &build.branch),
            ("BUILDKITE_COMMIT", &build.commit),
            ("BUILDKITE_BUILD_ID", BUILD),
            ("BUILDKITE_BUILD_NUMBER", "1"),
            ("BUILDKITE_SOURCE", "ui"),
            ("BUILDKITE_PIPELINE_PROVIDER", "rehearsal"),
            ("BUILDKITE_REPO", "https://git.example.test/rehearsal.git"),
            ("BUILDKITE_AGENT_NAME", "rehearsal-1"),
        ]
        .map(own)
        .into()
    }

    /// What the sandbox's issuer says of this job.
    pub(super) fn for_sandbox(&self, build: &Build, token: &Secret) -> agent_api::Job {
        let claims = json!({
            "organization_slug": build.organization, "pipeline_slug": build.pipeline, "build_number": 1,
            "build_branch": build.branch, "build_tag": null, "build_commit": build.commit,
            "step_key": self.step_key, "job_id": self.id, "agent_id": "0194f6f2-0000-4000-8000-000000000001",
            "build_source": "ui", "runner_environment": "self-hosted",
        });
        let optional = json!({
            "organization_id": "0194f6f2-0000-4000-8000-000000000002", "pipeline_id": "0194f6f2-0000-4000-8000-000000000003",
            "build_id": BUILD, "cluster_id": "0194f6f2-0000-4000-8000-000000000005",
            "cluster_name": "rehearsal", "queue_id": "0194f6f2-0000-4000-8000-000000000006", "queue_key": "default",
        });
        let map = |value: Value| value.as_object().cloned().unwrap_or_else(Map::new);
        agent_api::Job {
            id: self.id.clone(),
            token: token.clone(),
            claims: JobClaims { claims: map(claims), optional: map(optional) },
            env: BTreeMap::new(),
        }
    }
}
