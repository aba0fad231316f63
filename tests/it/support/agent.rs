//! A step run by the real agent: its hooks are the real binary, its Agent API, issuer and STS the sandbox.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Once;
use std::time::{Duration, Instant};

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::record::end::End;
use buildkite_dataflow::record::{self, Link, Start};
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::rehearse::sandbox::{AUDIENCE, Sandbox};
use buildkite_dataflow::secret::Secret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::components;
use super::hooks::{JOB, ROLE, claims, files, trust};

pub(crate) const TOKEN: &str = "bkaj_the-access-token-of-the-job";
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A real agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    path: PathBuf,
}

impl Agent {
    /// Version 3, which every machine can build.
    pub(crate) fn v3() -> Option<Self> {
        Some(Self { path: components::find("buildkite-agent-v3")? })
    }

    /// Version 4 is not served by the Go module proxy: it is used where somebody put one.
    fn v4() -> Option<Self> {
        let here = std::env::var_os("DATAFLOW_AGENT_V4").map(PathBuf::from);
        let path = here.or_else(|| components::optional("buildkite-agent-v4")).filter(|path| path.exists());
        if path.is_none() {
            static TOLD: Once = Once::new();
            let why = "nothing is tried under agent v4 (DATAFLOW_AGENT_V4 names none)";
            TOLD.call_once(|| components::told(why));
        }
        Some(Self { path: path? })
    }

    /// Every version that is here.
    pub(crate) fn all() -> Vec<Self> {
        Self::v3().into_iter().chain(Self::v4()).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// One step and everything around it.
pub(crate) struct Scene {
    _runtime: Runtime,
    pub(super) agent: Agent,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
    /// The step's plugins: source and configuration.
    pub(crate) plugins: Vec<(String, Value)>,
    /// The step's own environment.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) config: Value,
    /// What the agent is told about its host, beside the usual.
    pub(crate) host: BTreeMap<&'static str, String>,
    /// The control group in which agents are started, if any.
    pub(crate) within: Option<PathBuf>,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) log: String,
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, where all went well.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The configuration that asks for a role.
pub(crate) fn asks_for(role: &str) -> Value {
    json!({"credentials": [{"aws": {"role": role, "region": "eu-west-1"}}]})
}

impl Scene {
    /// A step with our plugin from a repository, which asks for one role.
    pub(crate) fn with_plugin(agent: &Agent) -> Self {
        let mut scene = Self::new(agent);
        scene.plugins = vec![(scene.our_plugin(), asks_for(ROLE))];
        scene
    }

    /// A step without plugins.
    pub(crate) fn new(agent: &Agent) -> Self {
        let role = |name: &str| (name.to_owned(), Role { trust: trust(AUDIENCE), max_duration: 7200 });
        let roles = [role(ROLE), role(&format!("{ROLE}-other"))].into();
        Self::against(agent, |runtime| runtime.block_on(Sandbox::start(Clock::System, roles)).unwrap())
    }

    /// A step on a sandbox of the test's own.
    pub(crate) fn against(agent: &Agent, sandbox: impl FnOnce(&Runtime) -> Sandbox) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
        let sandbox = sandbox(&runtime);
        let config = json!({
            "issuers": [sandbox.issuer_url()],
            "aws": {"sts-endpoint": sandbox.url()},
            "state-directory": folder.path().join("state"),
            "sinks": [{"file": {"directory": folder.path().join("records")}}],
            // Each story under the agent is also a test of what a log tells that says the most.
            "log": "debug",
        });
        let (plugins, env, host) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let agent = agent.clone();
        let scene =
            Self { _runtime: runtime, agent, folder, sandbox, plugins, env, config, host, within: None };
        scene.furnish();
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The step's environment, as the control plane sends it.
    fn job_env(&self, job: &str, command: &str) -> BTreeMap<String, String> {
        let mut plugins: Vec<Value> =
            self.plugins.iter().map(|(source, config)| json!({source: config})).collect();
        // Whichever version: its last hook looks at the environment.
        plugins
            .push(json!({(format!("file://{}#main", self.path("watch-buildkite-plugin").display())): null}));
        let mut env = BTreeMap::from([
            ("BUILDKITE_JOB_ID".to_owned(), job.to_owned()),
            ("BUILDKITE_COMMAND".to_owned(), command.to_owned()),
            ("BUILDKITE_REPO".to_owned(), format!("file://{}", self.path("source").display())),
            ("BUILDKITE_PLUGINS".to_owned(), Value::from(plugins).to_string()),
        ]);
        let more = [
            ("BUILDKITE_AGENT_NAME", "a"),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_ORGANIZATION_SLUG", "acme"),
            ("BUILDKITE_PIPELINE_SLUG", "web"),
            ("BUILDKITE_PIPELINE_PROVIDER", "custom"),
            ("BUILDKITE_BUILD_NUMBER", "7"),
            ("BUILDKITE_STEP_KEY", "deploy"),
            // v4 would ask the repository's host for the commit.
            ("BUILDKITE_GIT_COMMIT_VERIFICATION", "off"),
        ];
        env.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env.extend(self.env.clone());
        env
    }

    fn prepare(&self, id: &str, command: &str) -> BTreeMap<String, String> {
        self.write("agent/buildkite-dataflow.yml", &self.config.to_string(), false);
        self.write("agent/buildkite-agent.cfg", "", false);
        let env = self.job_env(id, command);
        let mut claims = claims();
        claims.claims.insert("job_id".into(), json!(id));
        let job = Job { id: id.into(), token: Secret::new(TOKEN), claims, env: env.clone() };
        self.sandbox.agent().add(job);
        env
    }

    /// What an agent is told about its host.
    fn host_env(&self) -> BTreeMap<&'static str, String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut env = plain_environment(self.folder.path());
        env.extend([
            ("BUILDKITE_BUILD_PATH", path("builds")),
            ("BUILDKITE_HOOKS_PATH", path("hooks")),
            ("BUILDKITE_ADDITIONAL_HOOKS_PATHS", path("watch")),
            ("BUILDKITE_PLUGINS_PATH", path("plugins")),
            ("BUILDKITE_SOCKETS_PATH", path("s")),
            ("BUILDKITE_AGENT_ENDPOINT", self.sandbox.agent_endpoint()),
            // The bootstrap's way to say it, and the agent's.
            ("BUILDKITE_SSH_KEYSCAN", "false".to_owned()),
            ("BUILDKITE_NO_SSH_KEYSCAN", "true".to_owned()),
        ]);
        env.extend(self.host.clone());
        env
    }

    /// Runs the step to its end by `buildkite-agent bootstrap`.
    pub(crate) fn run(&self, command: &str) -> Ended {
        let bootstrap = self.bootstrap(Command::new(self.agent.path()), command, "log");
        self.ended(bootstrap, || lossy(&self.path("log")))
    }

    /// Starts `buildkite-agent bootstrap` by a program that may stand before it; its log goes to a file.
    pub(super) fn bootstrap(&self, mut program: Command, command: &str, log: &str) -> Running {
        program.arg("bootstrap").env_clear().envs(self.host_env()).envs(self.prepare(JOB, command));
        let path = |name: &str| self.path(name).display().to_string();
        program
            .env("BUILDKITE_AGENT_ACCESS_TOKEN", TOKEN)
            .env("BUILDKITE_CONFIG_PATH", path("agent/buildkite-agent.cfg"))
            .env("BUILDKITE_BIN_PATH", path("bin"));
        let log = File::create(self.path(log)).unwrap();
        Running(program.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Starts `buildkite-agent start` for this step alone.
    pub(crate) fn start(&self, command: &str, arguments: &[&str]) -> Running {
        self.start_as("a", JOB, command, arguments)
    }

    /// The same by an agent of this name, for a job of this id; it leads a process group, as a service does.
    pub(super) fn start_as(&self, name: &str, job: &str, command: &str, arguments: &[&str]) -> Running {
        self.prepare(job, command);
        let mut start = match &self.within {
            None => Command::new(self.agent.path()),
            Some(group) => {
                let mut shell = Command::new("/bin/sh");
                shell
                    .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
                    .arg(group)
                    .arg(self.agent.path());
                shell
            }
        };
        start.args(["start", "--name", name, "--ping-mode", "poll-only", "--no-color"]);
        start.arg("--config").arg(self.path("agent/buildkite-agent.cfg")).args(arguments);
        let log = File::create(self.path("agent.log")).unwrap();
        start.env_clear().envs(self.host_env()).process_group(0);
        start.env("BUILDKITE_AGENT_TOKEN", self.sandbox.agent().agent_token().expose());
        Running(start.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Waits for a started agent and reads the step's log as it was uploaded.
    pub(crate) fn finished(&self, child: Running) -> Ended {
        self.ended(child, || self.uploaded_log())
    }

    pub(super) fn uploaded_log(&self) -> String {
        let mut log = Vec::new();
        for chunk in self.sandbox.agent().progress(JOB).unwrap().chunks.values() {
            io::copy(&mut flate2::read::GzDecoder::new(&chunk[..]), &mut log).unwrap();
        }
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the command of a started step has made a file.
    #[track_caller]
    pub(crate) fn wait_for(&self, file: &Path, running: &mut Running) {
        let logs = || format!("the command:\n{}{}", lossy(&self.path("agent.log")), self.uploaded_log());
        until(logs, || file.exists() || running.0.try_wait().unwrap().is_some());
        assert!(file.exists(), "ended before {}", logs());
    }

    pub(super) fn ended(&self, mut child: Running, log: impl FnOnce() -> String) -> Ended {
        let mut status = None;
        until(
            || "the agent's end".to_owned(),
            || {
                status = child.0.try_wait().unwrap();
                status.is_some()
            },
        );
        let ended = Ended { status: status.unwrap().code(), log: log() };
        self.hides_every_secret(&ended.log);
        ended
    }

    /// Every secret that the sandbox ever gave, looked for in what was logged.
    #[track_caller]
    pub(crate) fn hides_every_secret(&self, log: &str) {
        let mut secrets = vec![Secret::new(TOKEN), self.sandbox.agent().agent_token().clone()];
        secrets.extend(self.sandbox.agent().tokens());
        for issued in self.sandbox.sts().issued() {
            secrets.extend([issued.secret_access_key, issued.session_token]);
        }
        let others = self.sandbox.providers().iter().flat_map(|service| service.issued());
        secrets.extend(others.map(|issued| issued.secret));
        for secret in secrets {
            assert!(!log.contains(secret.expose()), "a secret is in the log");
        }
    }

    /// Every link of the record, in the order of their chains.
    #[track_caller]
    pub(crate) fn links(&self) -> Vec<Link> {
        let read = |path: PathBuf| record::read(&fs::read(path).unwrap()).unwrap();
        let mut links: Vec<Link> = files(&self.path("records")).into_iter().map(read).collect();
        links.sort_by_key(|link| (link.sequence, link.sealed_at));
        links
    }

    /// The record's START and END of each block, in the order of their starts.
    #[track_caller]
    pub(crate) fn accounts(&self) -> Vec<(Start, End)> {
        let links = self.links();
        let starts = links.iter().filter(|link| link.start.is_some());
        let end = |start: &Link| {
            let end = links.iter().find(|link| link.run.instance == start.run.instance && link.end.is_some());
            *end.and_then(|link| link.end.clone()).unwrap()
        };
        starts.map(|start| (*start.start.clone().unwrap(), end(start))).collect()
    }

    /// Runs `buildkite-dataflow sweep` as the agent's user; what it told.
    #[track_caller]
    pub(crate) fn sweep(&self) -> String {
        let mut sweep = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
        let output = sweep
            .arg("sweep")
            .env_clear()
            .env("BUILDKITE_CONFIG_PATH", self.path("agent/buildkite-agent.cfg"))
            .output()
            .unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{told}");
        self.hides_every_secret(&told);
        told
    }

    /// No journal is open, and no secret is in any file but those that show the step's own environment.
    #[track_caller]
    pub(crate) fn holds_nothing_back(&self) {
        assert_eq!(files(&self.path("state/jobs")), [] as [PathBuf; 0]);
        self.no_secret_on_disk();
    }

    /// No secret is in any file but those that show the step's own environment.
    #[track_caller]
    pub(crate) fn no_secret_on_disk(&self) {
        let watched = ["before", "after"].map(|file| self.path(file));
        for file in files(self.folder.path()).into_iter().filter(|file| !watched.contains(file)) {
            self.hides_every_secret(&lossy(&file));
        }
    }

    /// The environment in the step's first and last hook is the same, no journal is open, no secret is
    /// in any file, nothing lies in the home or the temporary folder, and no process is left.
    #[track_caller]
    pub(crate) fn is_as_before(&self) {
        assert!(self.environment("before").contains_key("HOME"), "nobody looked");
        assert_eq!(self.environment("before"), self.environment("after"));
        for folder in ["home", "tmp"] {
            assert_eq!(files(&self.path(folder)), [] as [PathBuf; 0], "{folder}");
        }
        self.holds_nothing_back();
        // A keeper wakes when its job's bootstrap ends, and then goes.
        until(|| format!("the end of {:?}", self.processes()), || self.processes().is_empty());
    }

    /// Processes that were started by this step: only theirs hold this folder in their environment, or, where
    /// that is nobody's to read, among their arguments.
    pub(crate) fn processes(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().display().to_string();
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours = |process: &PathBuf| {
            ["environ", "cmdline"].iter().any(|file| lossy(&process.join(file)).contains(&folder))
        };
        all.filter(ours).collect()
    }

    /// The environment in the first (`before`) or last (`after`) hook, without what the agent and the
    /// hook's own shell set.
    pub(crate) fn environment(&self, file: &str) -> BTreeMap<String, String> {
        let all = lossy(&self.path(file));
        let pairs = all.split('\0').filter_map(|pair| pair.split_once('='));
        let others =
            |name: &&str| !name.starts_with("BUILDKITE") && !["_", "SHLVL", "PWD", "OLDPWD"].contains(name);
        pairs
            .filter(|(name, _)| others(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

pub(super) fn plain_environment(folder: &Path) -> BTreeMap<&'static str, String> {
    let path = |name: &str| folder.join(name).display().to_string();
    [
        ("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", path("bin"))),
        ("HOME", path("home")),
        ("TMPDIR", path("tmp")),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
    ]
    .into()
}

pub(super) fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Waits for something that another process does.
#[track_caller]
pub(crate) fn until(what: impl Fn() -> String, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "waited too long for {}", what());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
