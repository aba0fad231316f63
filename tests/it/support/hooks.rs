//! A job on the sandbox whose hooks are the real binary, one process each, as the agent starts them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buildkite_dataflow::config::credential::CredentialSource;
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::host::Clock;
use buildkite_dataflow::host::serve::{Response, Server, on_socket};
use buildkite_dataflow::record::{self, Link};
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use buildkite_dataflow::rehearse::sandbox::issuer::JobClaims;
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::rehearse::sandbox::{AUDIENCE, Sandbox};
use buildkite_dataflow::secret::Secret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";
pub(crate) const JOB: &str = "0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e5f";
const TOKEN: &str = "bkaj_the-access-token-of-the-job";

/// One job, its sandbox and its host.
pub(crate) struct Stage {
    runtime: Runtime,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) api: Arc<JobApi>,
    /// The host config, written anew before each hook.
    pub(crate) config: Value,
    /// The plugin's block.
    pub(crate) block: Value,
    _server: Server,
    shown: String,
}

/// How a hook ended.
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) text: String,
}

impl Ended {
    /// What is reported, without diagnostics: hooks of the tests log at `debug`.
    pub(crate) fn said(&self) -> String {
        undiagnosed(&self.text)
    }
}

/// A text without the lines of `log: info` and `log: debug`.
pub(crate) fn undiagnosed(text: &str) -> String {
    let is_diagnostic =
        |line: &&str| ["dataflow: DEBUG ", "dataflow:  INFO "].iter().any(|level| line.starts_with(level));
    text.split_inclusive('\n').filter(|line| !is_diagnostic(line)).collect()
}

/// The same stories can be told of another build: the static one.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("DATAFLOW_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_buildkite-dataflow").into())
}

pub(crate) fn trust(audience: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/agent.buildkite.com"},
        "Condition": {"StringEquals": {"agent.buildkite.com:aud": audience}}}]})
}

pub(crate) fn claims() -> JobClaims {
    let claims = json!({"organization_slug": "acme", "pipeline_slug": "web", "build_number": 7, "build_branch": "main",
        "build_tag": null, "build_commit": "4f1c", "step_key": "deploy", "job_id": JOB, "build_source": "ui"});
    let optional = json!({"pipeline_id": "p-1"});
    JobClaims { claims: claims.as_object().unwrap().clone(), optional: optional.as_object().unwrap().clone() }
}

pub(crate) fn aws(more: &Value) -> Value {
    let mut aws = json!({"role": ROLE, "region": "eu-west-1"});
    aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"credentials": [{"aws": aws}]})
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::at(Clock::System)
    }

    /// A sandbox whose clock is not the host's.
    pub(crate) fn at(clock: Clock) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
        let roles = [
            (ROLE.to_owned(), Role { trust: trust(AUDIENCE), max_duration: 7200 }),
            (format!("{ROLE}-strict"), Role { trust: trust("nobody"), max_duration: 7200 }),
        ];
        let sandbox = runtime.block_on(Sandbox::start(clock, roles.into())).unwrap();
        sandbox.agent().add(Job {
            id: JOB.into(),
            token: Secret::new(TOKEN),
            claims: claims(),
            env: BTreeMap::new(),
        });
        let socket = folder.path().join("job.sock");
        let env = environment(&sandbox, folder.path(), &socket);
        let api = Arc::new(JobApi::new(Secret::new("the-token-of-the-job-api"), env));
        let server = runtime.block_on(async { on_socket(&socket, Arc::clone(&api)) }).unwrap();
        let config = json!({
            "issuers": [sandbox.issuer_url()],
            "aws": {"sts-endpoint": sandbox.url()},
            "state-directory": folder.path().join("state"),
            "sinks": [{"file": {"directory": folder.path().join("records")}}],
            "deadlines": {"grant": "10s", "retry": "1ms"},
            // Whatever a story tells, it tells of a log that says the most: see `Drop`.
            "log": "debug",
        });
        let block = aws(&json!({}));
        Self { runtime, folder, sandbox, api, config, block, _server: server, shown: String::new() }
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.api.set(name, value);
    }

    /// Runs a hook as the agent does: the file's path is the first argument, the environment is the job's.
    pub(crate) fn hook(&mut self, phase: &str) -> Ended {
        self.write_config();
        let output = self.command(phase).output().unwrap();
        self.ended(&output)
    }

    /// Runs `buildkite-dataflow sweep`, which nothing may stop.
    #[track_caller]
    pub(crate) fn sweep(&mut self) -> Ended {
        let output = self.sweeping().output().unwrap();
        let ended = self.ended(&output);
        assert_eq!(ended.status, 0, "{}", ended.text);
        ended
    }

    pub(crate) fn sweeping(&self) -> Command {
        self.write_config();
        let agent = self.folder.path().join("agent/buildkite-agent.cfg");
        let mut sweep = Command::new(binary());
        sweep.arg("sweep").env_clear().env("BUILDKITE_CONFIG_PATH", agent);
        sweep
    }

    pub(crate) fn write_config(&self) {
        let path = self.folder.path().join("agent/buildkite-dataflow.yml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let config = self.config.to_string();
        if std::fs::read_to_string(&path).is_ok_and(|text| text == config) {
            return;
        }
        // A keeper may be reading it.
        let whole = path.with_extension("new");
        std::fs::write(&whole, config).unwrap();
        std::fs::rename(whole, path).unwrap();
    }

    /// The program as a step's process starts it.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear();
        for (name, value) in self.api.env() {
            command.env(name, value.expose());
        }
        command
    }

    pub(crate) fn command(&self, phase: &str) -> Command {
        let mut command = self.program(&[&format!("/plugins/dataflow/hooks/{phase}")]);
        command
            .env("BUILDKITE_HOOK_PHASE", phase)
            .env("BUILDKITE_HOOK_SCOPE", "plugin")
            .env("BUILDKITE_PLUGIN_NAME", "DATAFLOW")
            .env("BUILDKITE_PLUGIN_CONFIGURATION", self.block.to_string());
        command
    }

    pub(crate) fn ended(&mut self, output: &Output) -> Ended {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8(text).unwrap();
        crate::printed::does_nothing(text.as_bytes());
        self.shown.push_str(&text);
        Ended { status: output.status.code().unwrap_or(-1), text }
    }

    /// A server on this address that serves with what stands behind; its port.
    pub(crate) fn listen<F>(
        &self,
        ip: &str,
        serve: impl FnOnce(tokio::net::TcpListener) -> F,
    ) -> io::Result<u16>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let front = self.runtime.block_on(tokio::net::TcpListener::bind((ip, 0)))?;
        let port = front.local_addr()?.port();
        self.runtime.spawn(serve(front));
        Ok(port)
    }

    /// Where the sandbox is: `127.0.0.1:PORT`.
    pub(crate) fn behind(&self) -> String {
        self.sandbox.url().trim_start_matches("http://").to_owned()
    }

    /// TLS in front of the sandbox; its port. The certificate is `ca.pem` in the folder.
    pub(crate) fn tls(&self) -> u16 {
        let acceptor = super::tls::acceptor(self.folder.path());
        self.listen("127.0.0.1", |front| super::tls::serve(front, acceptor, self.behind())).unwrap()
    }

    /// Puts TLS in front of the agent's endpoint and the STS.
    pub(crate) fn speak_tls(&mut self) {
        let port = self.tls();
        self.set("BUILDKITE_AGENT_ENDPOINT", &format!("https://localhost:{port}/v3"));
        let aws = json!({"sts-endpoint": format!("https://localhost:{port}")});
        self.config.as_object_mut().unwrap().insert("aws".into(), aws);
    }

    /// Sets up at the sandbox's providers what the block takes for granted.
    pub(crate) fn prepare(&self) {
        let step = Step::read(self.block.clone()).unwrap();
        let asked = step.credentials.into_iter().filter_map(|credential| match credential.source {
            CredentialSource::Request(ask) => Some(ask),
            CredentialSource::Grant(_) => None,
        });
        let asked: Vec<_> = asked.collect();
        self.sandbox.providers().iter().for_each(|service| service.prepare(&asked));
    }

    /// The command ran and ended so.
    pub(crate) fn command_ended(&self, status: i32) {
        self.set("BUILDKITE_COMMAND_EXIT_STATUS", &status.to_string());
    }

    pub(crate) fn fault(&self, path: &str, times: usize, answer: Response) {
        self.sandbox.faults().order(Fault { path: path.into(), times, answer, after_acting: false });
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.api.env().get(name).map(|value| value.expose().to_owned())
    }

    pub(crate) fn records(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for path in files(&self.folder.path().join("records")) {
            links.push(record::read(&std::fs::read(path).unwrap()).unwrap());
        }
        links.sort_by_key(|link| (link.run.instance.clone(), link.sequence));
        links
    }

    /// The files of credentials that are there, in memory and beside the journals.
    pub(crate) fn private_files(&self) -> Vec<PathBuf> {
        let beside = self.folder.path().join("state/files");
        self.folders_in_memory().into_iter().chain([beside]).flat_map(|folder| files(&folder)).collect()
    }

    /// The folders in memory whose journal is one of these.
    pub(crate) fn folders_in_memory(&self) -> Vec<PathBuf> {
        let list = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let named = |path: &PathBuf| path.to_string_lossy().contains("/buildkite-dataflow-");
        let all = list(Path::new("/dev/shm")).into_iter().filter(named).flat_map(|folder| list(&folder));
        let journals = self.folder.path().join("state/jobs").display().to_string();
        let is_ours = |folder: &PathBuf| {
            std::fs::read_to_string(folder.join(".owner")).is_ok_and(|owner| owner.contains(&journals))
        };
        all.filter(is_ours).collect()
    }

    /// Journals that are still open.
    pub(crate) fn open_journals(&self) -> Vec<PathBuf> {
        files(&self.folder.path().join("state/jobs"))
    }

    /// The error that a failed hook told, by its identifier.
    #[track_caller]
    pub(crate) fn refuses(&mut self, status: i32, ident: &str) -> String {
        let deadlines = self.config["deadlines"].clone();
        if deadlines["grant"] == "10s" {
            // A provider that is busy is tried until then.
            self.config["deadlines"]["grant"] = json!("3s");
        }
        let ended = self.hook("pre-command");
        self.config["deadlines"] = deadlines;
        assert!(ended.text.contains(&format!("error[{ident}]")), "{}", ended.text);
        assert_eq!(ended.status, status, "{}", ended.text);
        self.nothing_left();
        ended.text
    }

    /// Nothing is exported, nothing is unsettled, and no secret was shown or kept.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DATAFLOW_ENV_NAMES"]
        {
            assert_eq!(self.variable(name), None, "{name} is exported");
        }
        assert_eq!(self.open_journals(), [] as [PathBuf; 0], "a journal is open");
        self.no_secret_anywhere();
    }

    /// Every secret that the sandbox ever gave, looked for in what was printed and in every file.
    #[track_caller]
    pub(crate) fn no_secret_anywhere(&self) {
        let kept = files(self.folder.path()).into_iter().map(|path| {
            // Gone: a keeper has just removed it.
            let bytes = std::fs::read(&path).unwrap_or_default();
            (format!("is in {}", path.display()), bytes)
        });
        let shown = ("was printed".to_owned(), self.shown.clone().into_bytes());
        let places: Vec<_> = kept.chain([shown]).collect();
        is_shown_nowhere(&self.secrets(), &places);
    }

    /// Every secret that the sandbox ever gave, and those of the job.
    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![Secret::new(TOKEN), Secret::new("the-token-of-the-job-api")];
        secrets.extend(self.sandbox.agent().tokens());
        for issued in self.sandbox.sts().issued() {
            secrets.extend([issued.secret_access_key, issued.session_token]);
        }
        let others = self.sandbox.providers().iter().flat_map(|service| service.issued());
        secrets.extend(others.map(|issued| issued.secret));
        secrets
    }
}

/// None of these stands in any of the places, in whatever form a server or a program repeats it.
#[track_caller]
pub(crate) fn is_shown_nowhere(secrets: &[Secret], places: &[(String, Vec<u8>)]) {
    for form in secrets.iter().flat_map(|secret| repeated(secret.expose())) {
        let found = memchr::memmem::Finder::new(&form);
        let shown = places.iter().find(|(_, bytes)| found.find(bytes).is_some());
        assert!(shown.is_none(), "a secret {}", shown.map(|(place, _)| place.as_str()).unwrap_or_default());
    }
}

impl Drop for Stage {
    /// Each story is also a test of what its log tells, at the level that tells the most.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let shown = ("was printed".to_owned(), std::mem::take(&mut self.shown).into_bytes());
            is_shown_nowhere(&self.secrets(), &[shown]);
        }
    }
}

/// A secret as it is, as forms and JSON have it, in hexadecimal digits, and in base64 at each alignment.
fn repeated(secret: &str) -> Vec<String> {
    let json = Value::from(secret).to_string();
    let mut all = vec![
        secret.to_owned(),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        json[1..json.len() - 1].to_owned(),
        secret.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}")),
    ];
    for shift in 0..3 {
        let whole = STANDARD.encode([&b"..."[..shift], secret.as_bytes()].concat());
        // Digits that hold bits of what stands around it are not its own.
        let own = whole[(shift * 8).div_ceil(6)..(shift + secret.len()) * 8 / 6].to_owned();
        all.extend([own.replace('+', "-").replace('/', "_"), own]);
    }
    all.dedup();
    all
}

fn environment(sandbox: &Sandbox, folder: &Path, socket: &Path) -> BTreeMap<String, Secret> {
    let folder = folder.display();
    [
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
        ("BUILDKITE_JOB_ID", JOB.to_owned()),
        ("BUILDKITE_AGENT_ENDPOINT", sandbox.agent_endpoint()),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", TOKEN.to_owned()),
        ("BUILDKITE_CONFIG_PATH", format!("{folder}/agent/buildkite-agent.cfg")),
        ("BUILDKITE_BIN_PATH", format!("{folder}/bin")),
        ("BUILDKITE_AGENT_JOB_API_SOCKET", socket.display().to_string()),
        ("BUILDKITE_AGENT_JOB_API_TOKEN", "the-token-of-the-job-api".to_owned()),
        ("BUILDKITE_ORGANIZATION_SLUG", "acme".to_owned()),
        ("BUILDKITE_PIPELINE_SLUG", "web".to_owned()),
        ("BUILDKITE_BRANCH", "main".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), Secret::new(value)))
    .into()
}

/// Every regular file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
