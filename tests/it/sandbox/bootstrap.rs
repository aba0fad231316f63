//! A whole job under the real agent, registered with the sandbox.

use std::collections::BTreeMap;
use std::path::Path;

use buildkite_dataflow::agent::protected::PROTECTED;
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::agent_api::{Job, Progress};
use tokio::process::Command;

use super::{JOB, job};
use crate::support::child::{Ended, command, output, run};
use crate::support::components;

/// A job that runs this, without a checkout.
fn job_of(script: &str) -> Job {
    let env = [
        ("BUILDKITE_COMMAND", script),
        ("BUILDKITE_REPO", "https://git.example.test/web.git"),
        ("BUILDKITE_COMMIT", "4f1c0ffee"),
        ("BUILDKITE_BRANCH", "main"),
        ("BUILDKITE_ORGANIZATION_SLUG", "acme"),
        ("BUILDKITE_PIPELINE_SLUG", "web"),
        ("BUILDKITE_PIPELINE_PROVIDER", "custom"),
        ("BUILDKITE_SKIP_CHECKOUT", "true"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Job { env: env.into(), ..job() }
}

/// An agent that takes the job and ends with it.
fn agent(program: &Path, sandbox: &Sandbox, folder: &Path) -> Command {
    let arguments = ["start", "--acquire-job", JOB, "--ping-mode", "poll-only", "--no-color"];
    let mut agent = command(program, &arguments);
    agent
        .env("HOME", folder)
        .env("BUILDKITE_AGENT_TOKEN", sandbox.agent().agent_token().expose())
        .env("BUILDKITE_AGENT_ENDPOINT", sandbox.agent_endpoint());
    for (name, place) in [("BUILD", "builds"), ("HOOKS", "hooks"), ("PLUGINS", "plugins"), ("SOCKETS", "s")] {
        agent.env(format!("BUILDKITE_{name}_PATH"), folder.join(place));
    }
    agent
}

/// Runs a script as a job; how the agent ended, what the sandbox saw of it, and its log.
async fn performed(program: &Path, script: &str) -> (Ended, Progress, String) {
    let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
    let sandbox = super::sandbox(BTreeMap::new()).await;
    sandbox.agent().add(job_of(script));
    let ended = output(agent(program, &sandbox, folder.path()), "").await;
    let progress = sandbox.agent().progress(JOB).unwrap();
    let log = progress.chunks.values().flatten().copied().collect::<Vec<u8>>();
    let log = output(command(Path::new("gzip"), &["-dc"]), log).await;
    assert_eq!(log.status, Some(0), "{log:?} {ended:?}");
    (ended, progress, log.stdout)
}

#[test]
fn a_real_agent_runs_a_job_to_its_end() {
    let Some(program) = components::find("buildkite-agent-v3") else { return };
    run(async {
        let script = format!("echo the-step-ran; {} meta-data set done yes; exit 3", program.display());
        let (ended, progress, log) = performed(&program, &script).await;
        let finish = progress.finish.unwrap_or_else(|| panic!("{ended:?}"));
        assert_eq!((finish["exit_status"].as_str(), &*progress.state), (Some("3"), "finished"), "{log}");
        assert!(log.contains("the-step-ran"), "{log}");
        assert_eq!(progress.meta_data["done"], "yes");
    });
}

#[test]
fn the_real_job_api_protects_the_names_that_ours_does() {
    let Some(program) = components::find("buildkite-agent-v3") else { return };
    run(async {
        let mut names = PROTECTED.to_vec();
        names.extend(["BUILDKITE_COMMAND", "BUILDKITE_REPO", "AWS_ACCESS_KEY_ID"]);
        let pairs: Vec<String> = names.iter().map(|name| format!("{name}=x")).collect();
        let script = format!("{} env set {} || true", program.display(), pairs.join(" "));
        let (_, _, log) = performed(&program, &script).await;
        let refused = log.rsplit_once("cannot be modified: [").unwrap_or_else(|| panic!("{log}")).1;
        let mut refused: Vec<&str> = refused.split_once(']').unwrap().0.split(' ').collect();
        refused.sort_unstable();
        assert_eq!(refused, PROTECTED);
    });
}
