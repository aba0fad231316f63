//! The processes around a hook: the bootstrap that starts it, the keeper that it leaves, and a reboot.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use buildkite_dataflow::secret::Fingerprint;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::hooks::{Ended, Stage};

/// How long a keeper may take to settle a job of the sandbox and end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the harness tells a process, by name.
pub(super) type Told = Vec<(&'static str, String)>;

/// The job's bootstrap: a shell that starts the hooks as it is told to, so that they have one parent.
pub(super) struct Bootstrap {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Bootstrap {
    pub(super) fn new() -> Self {
        let script = "while read -r line; do eval \"$line\" >/dev/null 2>&1 </dev/null; echo $?; done";
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (shell.stdin.take(), BufReader::new(shell.stdout.take().unwrap()));
        Self { shell, orders, answers }
    }

    /// Runs a hook; its status, 137 when it was killed.
    pub(super) fn hook(&mut self, stage: &Stage, phase: &str, told: &Told) -> i32 {
        stage.write_config();
        let hook = stage.command(phase);
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', r"'\''"));
        // A read line has no line breaks, and a test's values have none.
        let environment = hook
            .get_envs()
            .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), quoted(value.unwrap_or_default())));
        let told = told.iter().map(|(name, value)| format!("{name}={}", quoted(value.as_ref())));
        let program = std::iter::once(hook.get_program()).chain(hook.get_args()).map(quoted);
        let words: Vec<String> =
            ["env -i".to_owned()].into_iter().chain(environment).chain(told).chain(program).collect();
        let line = words.join(" ");
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    /// The job is over.
    pub(super) fn ends(mut self) {
        self.orders = None;
        self.shell.wait().unwrap();
    }
}

/// The keepers of journals below a folder.
fn keepers(folder: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let ours = |path: &Path| {
        std::fs::read_link(path.join("exe"))
            .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_buildkite-dataflow")))
    };
    let has = |path: &PathBuf| {
        let mut line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        // Just started: its arguments are not to be seen yet.
        while line.is_empty() && ours(path) {
            std::thread::yield_now();
            line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        words.clone().any(|word| word == "keeper") && words.any(|word| Path::new(word).starts_with(folder))
    };
    entries.filter(has).filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Waits until no keeper of the stage is left.
#[expect(deprecated, reason = "the successor is unsafe, and this crate has no unsafe code")]
pub(super) fn keepers_end(stage: &Stage) {
    use rustix::process::{PidfdFlags, pidfd_open};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for keeper in keepers(stage.folder.path()) {
        let Ok(held) = pidfd_open(rustix::process::Pid::from_raw(keeper).unwrap(), PidfdFlags::empty())
        else {
            continue;
        };
        runtime.block_on(async {
            let held = tokio::io::unix::AsyncFd::with_interest(held, tokio::io::Interest::READABLE).unwrap();
            let gone = tokio::time::timeout(PATIENCE, held.readable()).await;
            assert!(matches!(gone, Ok(Ok(_))), "a keeper stays");
        });
    }
}

/// Ends every keeper of the stage at once.
pub(super) fn keepers_die(stage: &Stage) {
    for keeper in keepers(stage.folder.path()) {
        // An error: it is gone already.
        let _ = kill(Pid::from_raw(keeper), Signal::SIGKILL);
    }
    keepers_end(stage);
}

/// Where the key of each journal is, below `folder`.
pub(super) fn key(folder: &Path) -> PathBuf {
    key_of(folder, nix::unistd::geteuid().as_raw())
}

/// The same where the agent runs as this user.
pub(super) fn key_of(folder: &Path, user: u32) -> PathBuf {
    let name = Fingerprint::of(folder.as_os_str().as_encoded_bytes());
    Path::new("/dev/shm").join(format!("buildkite-dataflow-{user}")).join(name.short(32))
}

/// The folders of journals, whether or not a journal is in them.
pub(super) fn blocks(stage: &Stage) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(stage.folder.path().join("state/jobs")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What a reboot takes away beside the processes.
pub(super) fn forget(stage: &Stage) {
    for block in blocks(stage) {
        drop(std::fs::remove_file(key(&block)));
    }
    for folder in stage.folders_in_memory() {
        drop(std::fs::remove_dir_all(folder));
    }
}

/// Runs `buildkite-dataflow sweep`, told of a fault.
pub(super) fn sweep(stage: &mut Stage, told: &Told) -> Ended {
    stage.write_config();
    let agent = stage.folder.path().join("agent/buildkite-agent.cfg");
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    sweep.arg("sweep").env_clear().env("BUILDKITE_CONFIG_PATH", agent);
    sweep.envs(told.iter().map(|(name, value)| (name, value)));
    let output = sweep.output().unwrap();
    stage.ended(&output)
}
