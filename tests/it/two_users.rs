//! Several users of one host: root beside the agent's user, and agents of two users beside each other.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use buildkite_dataflow::host::process::ProcessId;
use buildkite_dataflow::lease::entry::{Entry, Intent, Opened};
use buildkite_dataflow::lease::journal::{Journal, VERSION};
use chrono::Utc;
use serde_json::{Value, json};

use crate::support::hooks::{binary, files};
use crate::support::odd::soon;
use crate::support::users::{GROUP, ONE, OTHER, as_user, common, everything, give, of_user, two_users};

/// A host: its config, and a copy of the program that everybody can run.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let folder = common();
        // By another process: a file that this one writes is busy in each child that another thread starts meanwhile.
        let copied =
            Command::new("/bin/cp").arg(binary()).arg(folder.path().join("buildkite-dataflow")).status();
        assert!(copied.unwrap().success());
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `sweep` under this host config.
    pub(crate) fn sweep(&self, config: &Value) -> Command {
        let agent = self.at(&format!("agent-{}", uuid()));
        fs::create_dir(&agent).unwrap();
        fs::write(agent.join("buildkite-dataflow.yml"), config.to_string()).unwrap();
        let mut sweep = Command::new(self.at("buildkite-dataflow"));
        sweep.arg("sweep").env_clear().env("BUILDKITE_CONFIG_PATH", agent.join("buildkite-agent.cfg"));
        sweep
    }

    /// A user's state directory, with the journal of a job that is over.
    pub(crate) fn state(&self, user: u32) -> PathBuf {
        let state = self.at(&format!("state-{user}"));
        let opened = Opened {
            version: VERSION,
            job: format!("job-{user}"),
            instance: "block".into(),
            container: None,
            bootstrap: ProcessId { boot: Some("earlier".into()), namespace: None, pid: 1, started: None },
            socket: None,
            release_at_pre_exit: false,
            install: "plugin".into(),
            mode: "enforce".into(),
            host_config: None,
            records: "v=1/org=acme/date=2026-01-01/pipeline=web/build=7".into(),
            at: Utc::now(),
        };
        let intent =
            Intent { id: "1".into(), provider: "aws".into(), session: "s".into(), latest: Utc::now() };
        let mut journal = Journal::create(&state.join(format!("jobs/job-{user}.block")), opened).unwrap();
        journal.append(vec![Entry::Intent(intent)]).unwrap();
        give(&state, user);
        state
    }
}

fn uuid() -> String {
    tempfile::Builder::new().tempfile().unwrap().path().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn roots_sweep_changes_nothing_in_another_users_state_directory() {
    if !two_users("roots_sweep_changes_nothing_in_another_users_state_directory") {
        return;
    }
    let host = Host::new();
    let state = host.state(ONE);
    for bare in [false, true] {
        if bare {
            fs::remove_dir_all(state.join("jobs")).unwrap();
        }
        let before = everything(&state);
        let (status, text) = soon(host.sweep(&json!({"state-directory": state})));
        assert!(status == Some(102) && text.contains(&format!("belongs to user {ONE}")), "{text}");
        assert_eq!(everything(&state), before);
    }
}

#[test]
fn roots_sweep_follows_no_link_that_another_user_put_in_place_of_a_state_directory() {
    if !two_users("roots_sweep_follows_no_link_that_another_user_put_in_place_of_a_state_directory") {
        return;
    }
    for names in [&["jobs/nightly", "cache"][..], &["jobs/theirs.x", "cache"], &["records"], &[]] {
        for above in [false, true] {
            let host = Host::new();
            let roots = host.at("roots");
            fs::create_dir_all(roots.join("state")).unwrap();
            for name in names {
                fs::create_dir_all(roots.join("state").join(name)).unwrap();
            }
            let (link, to) =
                if above { (host.at("home"), roots.clone()) } else { (host.at("link"), roots.join("state")) };
            symlink(to, &link).unwrap();
            lchown(&link, Some(ONE), Some(ONE)).unwrap();
            let state = if above { link.join("state") } else { link };
            let before: Vec<_> = everything(&roots).into_iter().map(|(path, ..)| path).collect();
            let (status, text) = soon(host.sweep(&json!({"state-directory": state})));
            assert!(matches!(status, Some(0 | 102)), "{text}");
            let marker = roots.join("state/.buildkite-dataflow-state");
            let after = everything(&roots).into_iter().map(|(path, ..)| path);
            let after: Vec<_> =
                after.filter(|path| !above || !names.contains(&"jobs/theirs.x") || *path != marker).collect();
            assert!(before.iter().all(|path| after.contains(path)), "{names:?} {above}: {after:?}");
            assert!(above || after == before, "{names:?}: {after:?}");
        }
    }
}

/// The files below a sink, each with its owner.
fn owners(sink: &Path) -> Vec<(PathBuf, u32)> {
    let owner = |path: PathBuf| {
        let owner = fs::metadata(&path).unwrap().uid();
        (path, owner)
    };
    let mut found: Vec<_> = files(sink).into_iter().map(owner).collect();
    found.sort();
    found
}

#[test]
fn agents_of_two_users_share_a_sink_and_neither_can_replace_what_the_other_put_there() {
    if !two_users("agents_of_two_users_share_a_sink_and_neither_can_replace_what_the_other_put_there") {
        return;
    }
    let host = Host::new();
    let sink = host.at("records");
    fs::create_dir(&sink).unwrap();
    chown(&sink, Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(&sink, Permissions::from_mode(0o3770)).unwrap();
    for user in [ONE, OTHER] {
        let state = host.state(user);
        let config = json!({"state-directory": state,
            "sinks": [{"file": {"directory": sink, "group": GROUP.to_string()}}]});
        let (status, text) = as_user(host.sweep(&config), user);
        assert_eq!(status, Some(0), "{text}");
        assert_eq!(files(&state.join("jobs")), [] as [PathBuf; 0], "{text}");
    }
    let stored = owners(&sink);
    assert_eq!(stored.iter().map(|(_, owner)| *owner).collect::<Vec<_>>(), [ONE, OTHER]);
    for (path, owner) in &stored {
        let meta = fs::metadata(path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o640, GROUP), "{}", path.display());
        let other = if *owner == ONE { OTHER } else { ONE };
        let run = |program: &str, arguments: &[&Path]| {
            let mut command = Command::new(program);
            command.args(arguments);
            of_user(command, other).status().unwrap().success()
        };
        assert!(run("/usr/bin/test", &[Path::new("-r"), path]), "the group may read");
        for folder in path.ancestors().take_while(|folder| *folder != sink) {
            assert!(!run("/bin/mv", &[folder, &host.at("stolen")]), "{}", folder.display());
            assert!(!run("/bin/rm", &[Path::new("-rf"), folder]), "{}", folder.display());
            assert!(
                folder == path.as_path() || !run("/usr/bin/touch", &[&folder.join("x")]),
                "{}",
                folder.display()
            );
        }
    }
}

#[test]
fn a_shared_sink_in_which_one_user_could_replace_anothers_records_is_refused_and_told() {
    if !two_users("a_shared_sink_in_which_one_user_could_replace_anothers_records_is_refused_and_told") {
        return;
    }
    for (owner, mode) in [(0, 0o2770), (OTHER, 0o3770), (0, 0o777)] {
        let host = Host::new();
        let (sink, state) = (host.at("records"), host.state(ONE));
        fs::create_dir(&sink).unwrap();
        chown(&sink, Some(owner), Some(GROUP)).unwrap();
        fs::set_permissions(&sink, Permissions::from_mode(mode)).unwrap();
        let config = json!({"state-directory": state,
            "sinks": [{"file": {"directory": sink, "group": GROUP.to_string()}}]});
        let (status, text) = as_user(host.sweep(&config), ONE);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains(&format!("install -d -o root -g {GROUP} -m 3770")), "{text}");
        assert_eq!(files(&sink), [] as [PathBuf; 0]);
        assert_eq!(files(&state.join("jobs")).len(), 1);
    }
}

#[test]
fn a_sink_can_be_read_by_a_group_that_may_not_write_it() {
    if !two_users("a_sink_can_be_read_by_a_group_that_may_not_write_it") {
        return;
    }
    let host = Host::new();
    let (sink, state) = (host.at("records"), host.state(ONE));
    let config = json!({"state-directory": state,
        "sinks": [{"file": {"directory": sink, "group": GROUP.to_string(), "mode": "2750"}}]});
    let (status, text) = as_user(host.sweep(&config), ONE);
    assert_eq!(status, Some(0), "{text}");
    let link = files(&sink).pop().unwrap();
    assert!(link.starts_with(sink.join("v=1")), "{}", link.display());
    let mut readable = Command::new("/usr/bin/test");
    readable.arg("-r").arg(&link);
    assert!(of_user(readable, OTHER).status().unwrap().success());
    for folder in link.ancestors().skip(1).take_while(|folder| folder.starts_with(&sink)) {
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o7777, 0o2750, "{}", folder.display());
    }
}
