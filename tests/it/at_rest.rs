//! What of a job lies where: secrets in memory where there is some, nothing left when the job is over.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::components::not_run;
use crate::support::hooks::{ROLE, Stage};
use crate::support::users::{ONE, OTHER, as_user, give, two_users};

/// A step with what a callback is handed, a profile's file and a secret in a file of its own.
fn stage() -> Stage {
    let mut stage = Stage::new();
    let aws = json!({"role": ROLE, "region": "eu-west-1"});
    let profile = json!({"role": ROLE, "region": "eu-west-1", "profile": "live"});
    stage.block = json!({"credentials": [{"name": "main", "refresh": true, "aws": aws}, {"aws": profile}]});
    stage
}

fn lend(stage: &mut Stage) -> PathBuf {
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage.variable("DATAFLOW_BLOCK").unwrap().into()
}

fn findings(stage: &Stage) -> Vec<String> {
    let start = stage.records().swap_remove(0).start.unwrap();
    start.findings.into_iter().map(|finding| finding.ident).collect()
}

/// The same command where `/dev/shm` is another: mounted anew by `script`. `None` where nothing can be mounted.
fn with_memory(command: &Command, script: &str) -> Option<Command> {
    let within = |program: &Path| {
        let mut within = Command::new("/usr/bin/unshare");
        within.args(["--mount", "/bin/sh", "-ec", &format!("{script}; exec \"$@\""), "sh"]).arg(program);
        within.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        within
    };
    if !within(Path::new("/bin/true")).output().is_ok_and(|output| output.status.success()) {
        not_run("nothing can be mounted here (unshare --mount)");
        return None;
    }
    let mut same = within(Path::new(command.get_program()));
    same.args(command.get_args());
    same.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(same)
}

fn run(stage: &mut Stage, phase: &str, script: &str) -> Option<(i32, String)> {
    stage.write_config();
    let ended = stage.ended(&with_memory(&stage.command(phase), script)?.output().unwrap());
    Some((ended.status, ended.text))
}

#[test]
fn secrets_of_callbacks_and_files_are_on_no_disk_and_gone_with_the_step() {
    let mut stage = stage();
    let folder = lend(&mut stage);
    assert!(folder.starts_with("/dev/shm") && folder.join("main.kept").exists(), "{}", folder.display());
    stage.no_secret_anywhere();
    assert_eq!(findings(&stage).iter().filter(|ident| *ident == "not-encrypted-at-rest").count(), 0);
    stage.command_ended(0);
    let ended = stage.hook("post-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage.nothing_left();
    assert!(stage.private_files().is_empty() && !folder.exists());
}

#[test]
fn files_of_a_job_that_is_over_and_whose_journal_was_removed_go_with_a_sweep() {
    let mut stage = stage();
    let folder = lend(&mut stage);
    fs::remove_dir_all(stage.folder.path().join("state/jobs")).unwrap();
    // The bootstrap, which is this process, lives.
    stage.sweep();
    assert!(folder.exists());
    let owner = folder.join(".owner");
    let mut value: Value = serde_json::from_slice(&fs::read(&owner).unwrap()).unwrap();
    value["opened"]["bootstrap"]["boot"] = "earlier".into();
    value["opened"]["bootstrap"]["pid"] = 4_190_000.into();
    fs::write(&owner, value.to_string()).unwrap();
    // The folder in memory is all of this user's: the sweep of another test may have been here first.
    stage.sweep();
    assert!(!folder.exists());
}

#[test]
fn files_without_an_owner_go_when_they_are_old() {
    let mut stage = stage();
    let folder = lend(&mut stage);
    fs::remove_dir_all(stage.folder.path().join("state/jobs")).unwrap();
    for odd in ["", "{}", "\0"] {
        fs::write(folder.join(".owner"), odd).unwrap();
        stage.sweep();
        assert!(folder.exists());
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(25);
    fs::File::open(&folder).unwrap().set_modified(long_ago).unwrap();
    stage.sweep();
    assert!(!folder.exists());
}

#[test]
fn a_file_that_cannot_be_removed_stops_no_other_and_is_reported_once() {
    if !two_users("a_file_that_cannot_be_removed_stops_no_other_and_is_reported_once") {
        return;
    }
    let host = crate::two_users::Host::new();
    let state = host.state(ONE);
    let blocks = ["job-4251.block", "orphan.block"].map(|name| state.join("files").join(name));
    for block in &blocks {
        fs::create_dir_all(block.join("a-theirs")).unwrap();
        fs::write(block.join("a-theirs/file"), "x").unwrap();
        fs::write(block.join("z.kept"), "a secret").unwrap();
    }
    give(&state, ONE);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(25);
    for block in &blocks {
        give(&block.join("a-theirs"), 0);
        fs::set_permissions(block, Permissions::from_mode(0o700)).unwrap();
        fs::File::open(block).unwrap().set_modified(long_ago).unwrap();
    }
    let config = json!({"state-directory": state, "sinks": [{"file": {"directory": state.join("records")}}]});
    let (status, text) = as_user(host.sweep(&config), ONE);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(text.matches("could not").count(), 2, "{text}");
    for block in &blocks {
        assert!(!block.join("z.kept").exists() && block.join("a-theirs/file").exists(), "{text}");
    }
    assert!(!state.join("jobs/job-4251.block").exists(), "{text}");
}

#[test]
fn another_user_who_takes_the_name_in_memory_first_takes_nothing() {
    if !two_users("another_user_who_takes_the_name_in_memory_first_takes_nothing") {
        return;
    }
    let mine = "/dev/shm/buildkite-dataflow-0";
    for taken in [
        format!("mkdir -m 777 {mine}; chown {OTHER} {mine}"),
        format!("mkdir /dev/shm/x; chown {OTHER} /dev/shm/x; ln -s x {mine}; chown -h {OTHER} {mine}"),
        format!("touch {mine}; chown {OTHER} {mine}"),
        format!("mkdir -m 777 {mine}-x; chown {OTHER} {mine}-x; mkfifo {mine}; chown {OTHER} {mine}"),
    ] {
        let mut stage = stage();
        let script = format!("mount -t tmpfs -o mode=1777 none /dev/shm; {taken}");
        let Some((status, text)) = run(&mut stage, "pre-command", &script) else { return };
        assert_eq!(status, 0, "{taken}: {text}");
        let folder = stage.variable("DATAFLOW_BLOCK").unwrap();
        let rest = folder.strip_prefix(mine).and_then(|rest| rest.strip_prefix('-'));
        assert!(rest.is_some_and(|rest| rest.len() > 16 && !rest.starts_with("x/")), "{taken}: {folder}");
        stage.no_secret_anywhere();
        assert!(!findings(&stage).contains(&"not-encrypted-at-rest".to_owned()), "{taken}");
    }
}

/// Where what lies in memory is at the mercy of others, where it is no memory, and where there is no room.
const NO_MEMORY: [&str; 3] = [
    "mount -t tmpfs -o mode=0777 none /dev/shm",
    "mount -t proc none /dev/shm",
    "mount -t tmpfs -o mode=1777,size=64k none /dev/shm",
];

#[test]
fn where_nothing_can_be_encrypted_at_rest_the_record_says_so() {
    for script in NO_MEMORY {
        let mut stage = stage();
        let Some((status, text)) = run(&mut stage, "pre-command", script) else { return };
        assert_eq!(status, 0, "{script}: {text}");
        assert!(findings(&stage).contains(&"not-encrypted-at-rest".to_owned()), "{script}: {text}");
        let folder = PathBuf::from(stage.variable("DATAFLOW_BLOCK").unwrap());
        assert!(folder.starts_with(stage.folder.path()), "{script}: {}", folder.display());
        assert_eq!(run(&mut stage, "post-command", script).unwrap().0, 0);
        assert!(!folder.exists());
    }
}

#[test]
fn where_encryption_at_rest_is_required_and_not_to_be_had_no_request_is_made() {
    for script in NO_MEMORY {
        let mut stage = stage();
        stage.config["required"] = json!({"encryption-at-rest": true});
        let Some((status, text)) = run(&mut stage, "pre-command", script) else { return };
        assert!(status == 102 && text.contains("error[not-encrypted-at-rest]"), "{script}: {text}");
        assert!(stage.sandbox.sts().issued().is_empty(), "{script}");
        stage.nothing_left();
        assert!(stage.private_files().is_empty());
    }
}

#[test]
fn where_encryption_at_rest_is_required_and_to_be_had_the_step_is_served() {
    let mut stage = stage();
    stage.config["required"] = json!({"encryption-at-rest": true});
    lend(&mut stage);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
}
