//! A sweeper of another user, to whom a host's hooks seal what must outlive a restart. Where the tests run as root the
//! agent and the sweeper are two users of their own; elsewhere both are whoever runs the tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use buildkite_dataflow::at_rest::AtRest;
use buildkite_dataflow::host::process::ProcessId;
use buildkite_dataflow::lease::escrow::{Label, PublicKey, seal};
use buildkite_dataflow::lease::{Lease, Need};
use buildkite_dataflow::secret::{Fingerprint, Secret};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::components::told;
use super::hooks::{Ended, Stage, files};

/// The users and the group that they share.
const AGENT: u32 = 4241;
const SWEEPER: u32 = 4242;
const GROUP: u32 = 4243;

/// The other user, its key, and its folder.
pub(crate) struct Sweeper {
    pub(crate) folder: PathBuf,
    pub(crate) key: PathBuf,
    public: PathBuf,
}

/// Whether two users can be had here.
pub(crate) fn two_users() -> bool {
    nix::unistd::geteuid().is_root()
}

#[track_caller]
fn openssl(arguments: &[&str], to: &Path) {
    let made = Command::new("openssl").args(arguments).arg("-out").arg(to).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Sweeper {
    /// A sweeper of this stage's host, whose config names it.
    pub(crate) fn of(stage: &mut Stage) -> Self {
        let at = |name: &str| stage.folder.path().join(name);
        let (folder, home) = (at("survivors"), at("sweeper"));
        let (key, public) = (home.join("key.pem"), at("sweeper.pem"));
        for folder in [&folder, &home] {
            fs::create_dir(folder).unwrap();
        }
        openssl(&["genpkey", "-algorithm", "X25519"], &key);
        openssl(&["pkey", "-in", key.to_str().unwrap(), "-pubout"], &public);
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        if two_users() {
            chown(stage.folder.path(), Some(AGENT), Some(AGENT)).unwrap();
            chown(at("job.sock"), Some(AGENT), None).unwrap();
            chown(&folder, Some(SWEEPER), Some(GROUP)).unwrap();
            chown(&home, Some(SWEEPER), None).unwrap();
            chown(&key, Some(SWEEPER), None).unwrap();
            fs::set_permissions(stage.folder.path(), Permissions::from_mode(0o711)).unwrap();
        } else {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| told("only root has two users: the agent's plays the sweeper too"));
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o3770)).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
        stage.config["survive-reboot"] = json!({"public-key": public, "directory": folder});
        Self { folder, key, public }
    }

    /// As whom hooks run.
    #[cfg(feature = "faults")]
    pub(crate) fn agent() -> u32 {
        if two_users() { AGENT } else { nix::unistd::geteuid().as_raw() }
    }

    /// Has the agent's user run a program.
    pub(crate) fn as_agent(command: &mut Command) {
        if two_users() {
            command.uid(AGENT).gid(GROUP);
        }
    }

    /// Runs a hook as the agent's user.
    pub(crate) fn hook(stage: &mut Stage, phase: &str) -> Ended {
        stage.write_config();
        let mut hook = stage.command(phase);
        Self::as_agent(&mut hook);
        let output = hook.output().unwrap();
        stage.ended(&output)
    }

    /// `buildkite-dataflow sweep --key FILE` as the other user.
    pub(crate) fn command(&self, stage: &Stage) -> Command {
        stage.write_config();
        let mut sweep = Command::new(super::furnish::BINARY);
        sweep.args(["sweep", "--key"]).arg(&self.key).env_clear();
        sweep.env("BUILDKITE_CONFIG_PATH", stage.folder.path().join("agent/buildkite-agent.cfg"));
        sweep.current_dir("/");
        if two_users() {
            sweep.uid(SWEEPER).gid(GROUP);
        }
        sweep
    }

    /// Runs it.
    #[track_caller]
    pub(crate) fn sweep(&self, stage: &mut Stage) -> Ended {
        let output = self.command(stage).output().unwrap();
        let ended = stage.ended(&output);
        assert_eq!(ended.status, 0, "{}", ended.text);
        ended
    }

    /// What lies in the folder, but for answers.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let sealed = |path: &PathBuf| path.extension().is_none();
        files(&self.folder).into_iter().filter(sealed).collect()
    }

    /// A file as a hook of an earlier boot would have left it.
    pub(crate) fn leave(&self, name: &str, lease: &Lease) -> PathBuf {
        let key = PublicKey::of_pem(&fs::read(&self.public).unwrap()).unwrap();
        let path = self.folder.join(Fingerprint::of(name.as_bytes()).short(32));
        let label = Label::of(lease, "an earlier boot", "job-1", "job-1.block");
        fs::write(&path, seal(&label, lease, &key).unwrap()).unwrap();
        if two_users() {
            chown(&path, Some(AGENT), Some(GROUP)).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        path
    }
}

/// A lease that says it is to be given back with this handle, at this place.
pub(crate) fn lease(provider: &str, handle: &str, detail: &[(&str, &str)]) -> Lease {
    let detail = detail.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Lease {
        id: "1".into(),
        provider: provider.into(),
        principal: "who".into(),
        handle: "public".into(),
        session: "s".into(),
        fingerprint: Fingerprint::of(b""),
        issued_at: Utc::now(),
        expires_at: Utc::now() + TimeDelta::hours(1),
        children: Vec::new(),
        leave: false,
        settle_with: Need::Handle { secret: AtRest(Secret::new(handle)), detail },
    }
}

/// The boot that is, as the hooks call it.
pub(crate) fn this_boot() -> String {
    ProcessId::parent().boot.unwrap()
}
