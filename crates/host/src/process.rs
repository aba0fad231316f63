//! Other processes: starting them, and living with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::fault;
pub use super::living::{Alive, Here, ProcessId, boot, listening};

/// Lets this process finish what it is doing when the job is cancelled or its terminal goes away.
/// Must be called inside a runtime.
pub fn outlive_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()] {
        // A handler once installed replaces the default for good, whether or not anybody listens.
        if let Err(error) = signal(kind) {
            tracing::warn!(%error, "a signal could still end this process early");
        }
    }
}

/// Comes back when this process is told to end; until then it lives on. Must be called inside a runtime.
pub fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        terminate.recv().await;
    })
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub arguments: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub environment: BTreeMap<String, dataflow_types::secret::Secret>,
    /// Where it starts.
    pub folder: PathBuf,
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// What it printed; may be a secret.
    pub stdout: dataflow_types::secret::Secret,
    /// What it complained of.
    pub stderr: String,
}

impl Command {
    pub(super) fn build(&self) -> tokio::process::Command {
        #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir(&self.folder).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (name, value.expose())));
        command
    }

    /// Starts the program, which outlives this process and hears and says nothing.
    ///
    /// It leads a process group from its first moment on: where the agent gives a hook a terminal, the end of
    /// the hook hangs up on the hook's own group, and a program that left that group by itself would often be
    /// killed before it came to it.
    pub fn detach(&self) -> io::Result<()> {
        fault::act("start")?;
        #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir(&self.folder).process_group(0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value.expose())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
    }

    /// Runs the program to its end, or kills it when `time` is over.
    pub async fn output(&self, time: Duration) -> io::Result<Ended> {
        fault::look("run");
        let child =
            self.build().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = tokio::time::timeout(time, child.wait_with_output())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"))??;
        let stdout = String::from_utf8(output.stdout).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "it printed something that is not UTF-8")
        })?;
        Ok(Ended {
            status: output.status.code(),
            stdout: dataflow_types::secret::Secret::new(stdout),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The home folder, from the user database and not from `HOME`.
    pub home: PathBuf,
}

/// The user this process acts as.
pub fn user() -> io::Result<User> {
    let uid = nix::unistd::geteuid();
    let entry = nix::unistd::User::from_uid(uid)?.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("user {uid} is in no user database"))
    })?;
    Ok(User { uid: uid.as_raw(), home: entry.dir })
}

/// The number of a group, by its name or its number.
pub fn group(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let entry = nix::unistd::Group::from_name(name)?;
    let missing =
        || io::Error::new(io::ErrorKind::NotFound, format!("there is no group `{name}` on this host"));
    entry.map(|group| group.gid.as_raw()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_comes_from_the_user_database() {
        assert!(user().unwrap().home.is_absolute());
    }
}
