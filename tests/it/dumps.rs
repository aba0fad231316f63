//! No process of this program can be dumped or read by others of its user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::json;

use crate::support::agent::until;
use crate::support::hooks::{Stage, files};

/// Long enough to be looked at in the middle of an exchange.
const SLOW: Duration = Duration::from_secs(3);
const NOBODY: u32 = 65534;

/// A job of another user, whose host config is root's.
fn of_nobody() -> Stage {
    let mut stage = Stage::new();
    stage.config["state-directory"] = json!(stage.folder.path().join("nobodys/state"));
    stage.config["sinks"] = json!([{"file": {"directory": stage.folder.path().join("nobodys/records")}}]);
    stage.write_config();
    fs::create_dir(stage.folder.path().join("nobodys")).unwrap();
    for path in ["", "agent", "nobodys"] {
        fs::set_permissions(stage.folder.path().join(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    // Whoever can reach the socket is the job.
    fs::set_permissions(stage.folder.path().join("job.sock"), fs::Permissions::from_mode(0o777)).unwrap();
    let config = stage.folder.path().join("agent/buildkite-dataflow.yml");
    fs::set_permissions(stage.folder.path().join("agent"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(config, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(stage.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    stage
}

/// A hook in the middle of its exchange, in a folder of its own, with core files of any size.
fn exchanging(stage: &Stage, change: impl FnOnce(&mut Command)) -> Child {
    let folder = stage.folder.path().join("checkout");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    stage.sandbox.faults().set_latency(SLOW);
    let mut hook = stage.command("pre-command");
    // Inherited by what this test starts.
    setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).unwrap_or_default();
    hook.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    change(&mut hook);
    let child = hook.spawn().unwrap();
    until(|| "the exchange".to_owned(), || stage.sandbox.faults().asked("/oidc/tokens") > 0);
    child
}

#[test]
fn a_signal_that_dumps_core_leaves_no_core_file_of_an_exchange() {
    for signal in [Signal::SIGQUIT, Signal::SIGABRT, Signal::SIGXCPU] {
        let stage = Stage::new();
        stage.write_config();
        let mut child = exchanging(&stage, |_| ());
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            (status.signal(), status.core_dumped()),
            (Some(signal as i32), false),
            "{signal}: {status}"
        );
        assert_eq!(files(&stage.folder.path().join("checkout")), [] as [std::path::PathBuf; 0]);
    }
}

#[test]
fn another_process_of_the_same_user_reads_neither_memory_nor_environment_of_an_exchange() {
    if !geteuid().is_root() {
        return;
    }
    let stage = of_nobody();
    let mut child = exchanging(&stage, |hook| {
        hook.uid(NOBODY).gid(NOBODY);
    });
    let proc = format!("/proc/{}", child.id());
    // The kernel says so by the owner of what it shows of the process.
    assert_eq!(fs::metadata(&proc).unwrap().uid(), NOBODY);
    assert_eq!(fs::metadata(format!("{proc}/environ")).unwrap().uid(), 0);
    for secret in ["environ", "mem", "fd", "maps"] {
        let cat = Command::new("/bin/cat").arg(format!("{proc}/{secret}")).uid(NOBODY).gid(NOBODY).output();
        let cat = cat.unwrap();
        assert!(!cat.status.success() && cat.stdout.is_empty(), "{secret} can be read");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_hook_of_a_user_who_is_not_root_does_its_work_and_knows_its_bootstrap() {
    if !geteuid().is_root() {
        return;
    }
    let stage = of_nobody();
    for phase in ["pre-command", "post-command"] {
        let output = stage.command(phase).uid(NOBODY).gid(NOBODY).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{phase}: {text}");
        let word = if phase == "pre-command" { "lent" } else { "settled" };
        assert!(text.contains(word), "{phase}: {text}");
    }
}

#[test]
fn the_shell_of_a_rehearsed_step_has_the_core_files_it_had() {
    setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.yml"), "steps:\n  - command: 'echo core: $(ulimit -c)'\n")
        .unwrap();
    let mut rehearse = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    rehearse.args(["rehearse", "pipeline.yml"]).current_dir(folder.path());
    let output = rehearse.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("core: unlimited"), "{text}");
}
