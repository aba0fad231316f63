//! What a user would have instead: a shell hook with the agent, the AWS CLI and jq (`benches/hook/peer`).

use std::path::PathBuf;
use std::process::Command;

use crate::arena::{Arena, ROLE};
use crate::components;

/// The programs that the shell hook calls.
pub(crate) struct Peer {
    path: String,
}

impl Peer {
    /// Finds the programs, and gives the agent the name that a hook knows it by.
    ///
    /// `None`, said loudly, where one is missing: the table then lacks these rows.
    pub(crate) fn find(arena: &Arena) -> Option<Self> {
        let (agent, aws) = (components::find("buildkite-agent-v3")?, components::find("venv/bin/aws")?);
        let jq = ["/usr/bin/jq", "/usr/local/bin/jq"].into_iter().map(PathBuf::from).find(|jq| jq.exists());
        if jq.is_none() {
            components::not_run("`jq` is not installed");
            return None;
        }
        let bin = arena.folder.path().join("bin");
        let name = bin.join("buildkite-agent");
        if !name.exists() {
            std::fs::create_dir_all(&bin).unwrap();
            std::os::unix::fs::symlink(agent, name).unwrap();
        }
        let folders = [
            bin.as_path(),
            aws.parent().unwrap(),
            "/usr/local/bin".as_ref(),
            "/usr/bin".as_ref(),
            "/bin".as_ref(),
        ];
        Some(Self { path: folders.map(|folder| folder.display().to_string()).join(":") })
    }

    /// The hook, for a job of its own.
    pub(crate) fn hook(&self, arena: &Arena) -> Command {
        let (folder, url) = (arena.folder.path(), arena.url());
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hook/peer"));
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", folder)
            .env("ROLE", ROLE)
            .env("BUILDKITE_JOB_ID", arena.job())
            .env("BUILDKITE_AGENT_ENDPOINT", format!("{url}/v3"))
            .env("BUILDKITE_AGENT_ACCESS_TOKEN", "bench-token")
            // The agent hides the token in the log before it prints it.
            .env("BUILDKITE_AGENT_JOB_API_SOCKET", folder.join("job.sock"))
            .env("BUILDKITE_AGENT_JOB_API_TOKEN", "bench-api-token")
            .env("SSL_CERT_FILE", folder.join("ca.pem"))
            .env("AWS_CA_BUNDLE", folder.join("ca.pem"))
            .env("AWS_ENDPOINT_URL_STS", url)
            .env("AWS_REGION", "eu-west-1");
        command
    }
}
