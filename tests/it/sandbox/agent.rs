//! The Agent API and the Job API, as the commands of the agent see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildkite_dataflow::host::serve::{Server, on_socket};
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::secret::Secret;
use serde_json::{Value, json};

use super::{JOB, job_env, sandbox};
use crate::support::agent::Agent;
use crate::support::child::{Ended, command, output, run};

const TOKEN: &str = "the-token-of-the-job-api";

/// A job as one of its hooks sees it.
struct Inside {
    agent: Agent,
    folder: tempfile::TempDir,
    sandbox: Sandbox,
    api: Arc<JobApi>,
    _server: Server,
}

impl Inside {
    async fn new(agent: Agent) -> Self {
        let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
        let env = [("HOME", "/root"), ("BUILDKITE_SHELL", "/bin/sh -c")];
        let env = env.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let api = Arc::new(JobApi::new(Secret::new(TOKEN), env.into()));
        let server = on_socket(&folder.path().join("job.sock"), Arc::clone(&api)).unwrap();
        Self { agent, folder, sandbox: sandbox(BTreeMap::new()).await, api, _server: server }
    }

    /// Runs a command of the agent's, with this input.
    async fn run(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = command(self.agent.path(), arguments);
        command.envs(job_env(&self.sandbox)).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env("BUILDKITE_AGENT_JOB_API_SOCKET", self.folder.path().join("job.sock"));
        command.env("BUILDKITE_AGENT_JOB_API_TOKEN", TOKEN);
        output(command, input).await
    }

    /// Runs one that must succeed; what it printed.
    async fn succeed(&self, arguments: &[&str], input: &str) -> String {
        let ended = self.run(arguments, input).await;
        assert_eq!(ended.status, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }
}

/// Runs a test inside a job, of each version of the agent.
fn inside(test: &impl AsyncFn(&Inside)) {
    for agent in Agent::all() {
        run(async { test(&Inside::new(agent).await).await });
    }
}

#[test]
fn a_token_is_redacted_before_it_is_printed() {
    inside(&async |job| {
        let token = job.succeed(&["oidc", "request-token", "--audience", "urn:x"], "").await;
        let claims = job.sandbox.issuer().verify(token.trim()).unwrap();
        assert_eq!(claims.audiences(), ["urn:x"]);
        assert_eq!(job.api.redacted(token.trim()), "[REDACTED]");
        assert_eq!(job.sandbox.agent().tokens().len(), 1);
    });
}

#[test]
fn a_token_that_lives_too_long_is_refused_in_buildkites_words() {
    inside(&async |job| {
        let ended = job.run(&["oidc", "request-token", "--lifetime", "14400"], "").await;
        assert_ne!(ended.status, Some(0));
        assert!(
            ended.stderr.contains("Requested lifetime too high (requested: 14400 max: 7200)"),
            "{}",
            ended.stderr
        );
    });
}

#[test]
fn variables_are_set_read_and_removed() {
    inside(&async |job| {
        job.succeed(&["env", "set", "A=1", "HOME=/x"], "").await;
        assert_eq!(job.succeed(&["env", "get", "--format", "plain", "A"], "").await.trim(), "1");
        job.succeed(&["env", "unset", "A"], "").await;
        let env = job.api.env();
        assert_eq!((env.contains_key("A"), env["HOME"].expose()), (false, "/x"));
    });
}

#[test]
fn a_protected_variable_refuses_those_beside_it() {
    inside(&async |job| {
        let ended = job.run(&["env", "set", "A=1", "BUILDKITE_SHELL=x"], "").await;
        assert_ne!(ended.status, Some(0));
        assert!(
            ended.stderr.contains("protected, and cannot be modified: [BUILDKITE_SHELL]"),
            "{}",
            ended.stderr
        );
        assert!(!job.api.env().contains_key("A"));
    });
}

#[test]
fn a_redaction_hides_what_was_given_on_standard_input() {
    inside(&async |job| {
        job.succeed(&["redactor", "add"], "hunter2hunter2").await;
        assert_eq!(job.api.redacted("it is hunter2hunter2"), "it is [REDACTED]");
    });
}

#[test]
fn a_working_directory_is_asked_for() {
    inside(&async |job| {
        job.succeed(&["workdir", "set", "/usr"], "").await;
        assert_eq!(job.api.workdir().as_deref(), Some("/usr"));
    });
}

#[test]
fn a_failure_is_promised_and_another_one_is_not() {
    inside(&async |job| {
        for _ in 0..2 {
            job.succeed(&["job", "promise-failure", "--reason", "flaky", "3"], "").await;
        }
        assert_ne!(job.run(&["job", "promise-failure", "4"], "").await.status, Some(0));
        assert_eq!(job.api.promised(), Some((3, "flaky".to_owned())));
    });
}

#[test]
fn meta_data_is_kept_and_given_back() {
    inside(&async |job| {
        job.succeed(&["meta-data", "set", "digest", "sha256:1"], "").await;
        assert_eq!(job.succeed(&["meta-data", "get", "digest"], "").await.trim(), "sha256:1");
        assert_eq!(job.succeed(&["meta-data", "keys"], "").await.trim(), "digest");
        assert_eq!(job.run(&["meta-data", "exists", "another"], "").await.status, Some(100));
    });
}

#[test]
fn an_annotation_is_seen() {
    inside(&async |job| {
        job.succeed(&["annotate", "--style", "info", "--context", "record", "**done**"], "").await;
        let seen = job.sandbox.agent().progress(JOB).unwrap().annotations;
        assert_eq!(seen.iter().map(|one| one["body"].clone()).collect::<Value>(), json!(["**done**"]));
    });
}

#[test]
fn an_artifact_is_uploaded_and_described() {
    inside(&async |job| {
        std::fs::write(job.folder.path().join("model.bin"), "weights").unwrap();
        job.succeed(&["artifact", "upload", "model.bin"], "").await;
        let seen = job.sandbox.agent().progress(JOB).unwrap().artifacts;
        let described = seen.iter().map(|one| json!([one["path"], one["file_size"]])).collect::<Value>();
        assert_eq!(described, json!([["model.bin", 7]]));
        assert_eq!(job.sandbox.faults().asked("/v3/artifact-store"), 1);
    });
}

#[test]
fn a_stranger_is_told_nothing() {
    inside(&async |job| {
        let mut stranger = command(job.agent.path(), &["oidc", "request-token", "--skip-redaction"]);
        stranger.envs(job_env(&job.sandbox)).env("BUILDKITE_AGENT_ACCESS_TOKEN", "bkaj_another");
        let ended = output(stranger, "").await;
        assert!(ended.stderr.contains("401"), "{}", ended.stderr);
        assert!(job.sandbox.agent().tokens().is_empty());
    });
}
