//! The environment of a rehearsed job.

use std::collections::BTreeMap;

use dataflow_host::Host;
use dataflow_pipeline::plugin;
use dataflow_types::secret::Secret;

use super::job::{Build, Job};
use super::stage::Stage;

/// The job's environment, as an agent would make it.
pub(super) fn of_job(
    job: &Job,
    build: &Build,
    host: &Host,
    stage: &Stage,
    token: &Secret,
) -> BTreeMap<String, Secret> {
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut env = host.env.of_person();
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), Secret::new(value)));
    for (name, value) in Job::upload_variables(build).into_iter().chain(job.env.clone()) {
        set(&name, value);
    }
    set("BUILDKITE_JOB_ID", job.id.clone());
    set("BUILDKITE_STEP_KEY", job.step_key.clone().unwrap_or_default());
    set("BUILDKITE_LABEL", job.name.clone());
    if let Some((job, count)) = job.parallel {
        set("BUILDKITE_PARALLEL_JOB", job.to_string());
        set("BUILDKITE_PARALLEL_JOB_COUNT", count.to_string());
    }
    set("BUILDKITE_COMMAND", job.command.clone());
    set("BUILDKITE_PLUGINS", plugin::to_json(&job.plugins).to_string());
    set("BUILDKITE_AGENT_ENDPOINT", stage.sandbox.agent_endpoint());
    set("BUILDKITE_CONFIG_PATH", text(stage.agent_config()));
    set("BUILDKITE_BIN_PATH", text(stage.bin()));
    set("BUILDKITE_STEP_ID", job.id.clone());
    if super::stand_in::is_needed(&host.env) {
        let path = host.env.told("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
        set("PATH", format!("{path}:{}", stage.bin().display()));
    }
    set("BUILDKITE_BUILD_CHECKOUT_PATH", text(host.cwd.clone()));
    // A step that asks STS who it is asks the sandbox; other services have no double here.
    set("AWS_ENDPOINT_URL_STS", stage.sandbox.url());
    // So does gcloud, which asks whose a federated token is.
    let google = stage.sandbox.provider_url("gcp");
    set("CLOUDSDK_AUTH_TOKEN_INTROSPECTION_ENDPOINT", format!("{google}/v1/introspect"));
    env.insert("BUILDKITE_AGENT_ACCESS_TOKEN".into(), token.clone());
    env
}
