//! What both contenders are given: a sandbox behind TLS, a job, a Job API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::host::serve::on_socket;
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::rehearse::sandbox::issuer::{Issuer, JobClaims};
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::secret::Secret;
use serde_json::{Value, json};

use crate::{several, tls};

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/bench";

/// The binary to measure: cargo's own, or another build of it that `DATAFLOW_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("DATAFLOW_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_buildkite-dataflow").into())
}

/// Everything that both contenders are given.
pub(crate) struct Arena {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) api: Arc<JobApi>,
    pub(crate) binary: PathBuf,
    port: u16,
    _server: buildkite_dataflow::host::serve::Server,
}

impl Arena {
    /// On the disk of temporary files.
    pub(crate) fn new() -> Self {
        Self::on(&std::env::temp_dir())
    }

    /// The same on a host that knows every provider.
    pub(crate) fn of_every_provider() -> Self {
        let arena = Self::new();
        let origins = several::ENDPOINTS.map(|(_, origin)| origin);
        arena.write_config(&json!({"endpoints": origins}), &json!({"routes": arena.routes()}));
        arena
    }

    pub(crate) fn on(disk: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir_in(disk).unwrap();
        let front = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = front.local_addr().unwrap().port();
        let issuer = Issuer::new(&format!("https://localhost:{port}")).unwrap();
        let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:*", "Principal": "*"}]});
        let roles = BTreeMap::from([(ROLE.to_owned(), Role { trust, max_duration: 3600 })]);
        let sandbox =
            Arc::new(runtime.block_on(Sandbox::start_with(issuer, 0, Clock::System, roles)).unwrap());
        let back = sandbox.url().trim_start_matches("http://").to_owned();
        runtime.spawn(tls::serve(front, tls::acceptor(folder.path()), back));
        let socket = folder.path().join("job.sock");
        let api = Arc::new(JobApi::new(Secret::new("bench-api-token"), BTreeMap::new()));
        let server = runtime.block_on(async { on_socket(&socket, Arc::clone(&api)) }).unwrap();
        let arena = Self { runtime, folder, sandbox, api, binary: binary(), port, _server: server };
        arena.write_config(&json!({}), &json!({}));
        arena
    }

    /// A job of its own for each round, as each step has.
    pub(crate) fn job(&self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let claims =
            json!({"organization_slug": "acme", "pipeline_slug": "web", "build_number": 1, "job_id": id});
        let claims = JobClaims {
            claims: claims.as_object().unwrap().clone(),
            optional: serde_json::Map::from_iter([("pipeline_id".to_owned(), json!("p-1"))]),
        };
        let token = Secret::new("bench-token");
        self.sandbox.agent().add(Job { id: id.clone(), token, claims, env: BTreeMap::new() });
        id
    }

    /// Where the sandbox answers, over TLS.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What a host of one cloud says, and more.
    fn write_config(&self, more: &Value, of_network: &Value) {
        let folder = self.folder.path();
        let url = self.url();
        let mut config =
            json!({"issuers": [url], "aws": {"sts-endpoint": url}, "state-directory": folder.join("state")});
        let mut network = json!({"ca-file": folder.join("ca.pem")});
        network.as_object_mut().unwrap().extend(of_network.as_object().unwrap().clone());
        config["network"] = network;
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::create_dir_all(folder.join("agent")).unwrap();
        std::fs::write(folder.join("agent/buildkite-dataflow.yml"), config.to_string()).unwrap();
    }

    /// Every address of a provider, and where the sandbox answers for it.
    fn routes(&self) -> Vec<Value> {
        let mut routes = Vec::new();
        for service in self.sandbox.providers() {
            let to = |from: &str| {
                let below = service.below(from);
                json!({"from": from, "to": format!("https://localhost:{}/{}{below}", self.port, service.provider())})
            };
            let own = service.origins();
            let named = several::ENDPOINTS.iter().filter(|(provider, _)| *provider == service.provider());
            routes.extend(own.iter().copied().chain(named.map(|(_, origin)| *origin)).map(to));
        }
        routes
    }

    pub(crate) fn hook(&self, phase: &str, job: &str, block: &Value) -> Command {
        let folder = self.folder.path().display();
        let mut command = Command::new(&self.binary);
        command.arg(format!("/hooks/{phase}")).env_clear();
        for (name, value) in self.api.env() {
            command.env(name, value.expose());
        }
        command
            .env("BUILDKITE_JOB_ID", job)
            .env("BUILDKITE_AGENT_ENDPOINT", format!("{}/v3", self.url()))
            .env("BUILDKITE_AGENT_ACCESS_TOKEN", "bench-token")
            .env("BUILDKITE_CONFIG_PATH", format!("{folder}/agent/buildkite-agent.cfg"))
            .env("BUILDKITE_AGENT_JOB_API_SOCKET", format!("{folder}/job.sock"))
            .env("BUILDKITE_AGENT_JOB_API_TOKEN", "bench-api-token")
            .env("BUILDKITE_COMMAND_EXIT_STATUS", "0")
            .env("BUILDKITE_HOOK_SCOPE", "plugin")
            .env("BUILDKITE_PLUGIN_CONFIGURATION", block.to_string());
        command
    }

    pub(crate) fn floor(&self, which: &str, job: &str, redactions: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(which).arg(self.folder.path());
        command.args([self.port.to_string(), redactions.to_string(), job.to_owned()]);
        command
    }
}
