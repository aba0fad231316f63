//! Other processes: starting them, and telling whether one is still there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault;

/// A process, told apart from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProcessId {
    /// The machine's boot, where it says (`/proc/sys/kernel/random/boot_id`).
    pub boot: Option<String>,
    /// The PID namespace in which `pid` counts.
    pub namespace: Option<String>,
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: Option<u64>,
}

/// Whether a process still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It does.
    Yes,
    /// It certainly does not.
    No,
    /// From here it cannot be told.
    Unknown,
}

impl ProcessId {
    /// The process that started this one: the job's bootstrap, for a hook.
    pub fn parent() -> Self {
        Self::of(nix::unistd::getppid().as_raw())
    }

    fn of(pid: i32) -> Self {
        Self { boot: boot(), namespace: namespace(), pid, started: started(pid) }
    }

    /// Whether the machine was started anew since.
    pub fn is_of_an_earlier_boot(&self) -> bool {
        matches!((&self.boot, boot()), (Some(then), Some(now)) if *then != now)
    }

    /// Whether it still runs. Where `/proc` is missing (macOS) only a reboot could be told, and is not.
    pub fn alive(&self) -> Alive {
        let here = Self { boot: boot(), namespace: namespace(), pid: self.pid, started: started(self.pid) };
        match (&self.boot, &here.boot) {
            (Some(then), Some(now)) if then != now => return Alive::No,
            (Some(_), Some(_)) => {}
            _ => return Alive::Unknown,
        }
        if self.namespace.is_none() || self.namespace != here.namespace || self.started.is_none() {
            return Alive::Unknown;
        }
        if self.started == here.started { Alive::Yes } else { Alive::No }
    }
}

/// Whether somebody still listens on a socket: its file outlives a server that was killed.
pub fn listening(socket: &Path) -> Alive {
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Alive::Yes,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Alive::No,
        Err(_) => Alive::Unknown,
    }
}

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

/// What this boot of the machine is called, where it says.
pub fn boot() -> Option<String> {
    #[cfg(feature = "faults")]
    if let Some(another) = fault::boot() {
        return Some(another);
    }
    let bytes = super::files::read(Path::new("/proc/sys/kernel/random/boot_id")).ok()?;
    Some(String::from_utf8(bytes).ok()?.trim().to_owned())
}

fn namespace() -> Option<String> {
    Some(std::fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned())
}

fn started(pid: i32) -> Option<u64> {
    let bytes = super::files::read(&PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    since(&String::from_utf8_lossy(&bytes))
}

/// When the process of a line of `/proc/PID/stat` started, unless it has ended: what nobody waited for (in a
/// container whose first process reaps none) stays listed for as long as the system is up.
fn since(line: &str) -> Option<u64> {
    // The command's name, in parentheses, may itself hold spaces and parentheses.
    let (_, after_name) = line.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if ["Z", "X", "x"].contains(&state) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub arguments: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub environment: BTreeMap<String, crate::secret::Secret>,
    /// Where it starts.
    pub folder: PathBuf,
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// What it printed; may be a secret.
    pub stdout: crate::secret::Secret,
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
            stdout: crate::secret::Secret::new(stdout),
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
    fn the_process_that_started_us_is_alive_and_a_later_one_with_its_number_is_not_it() {
        let parent = ProcessId::parent();
        assert_eq!(parent.alive(), Alive::Yes);
        let earlier = ProcessId { started: parent.started.map(|ticks| ticks - 1), ..parent.clone() };
        assert_eq!(earlier.alive(), Alive::No);
        let before_reboot = ProcessId { boot: Some("another".into()), ..parent.clone() };
        assert_eq!(before_reboot.alive(), Alive::No);
        let elsewhere = ProcessId { namespace: Some("pid:[1]".into()), ..parent };
        assert_eq!(elsewhere.alive(), Alive::Unknown);
    }

    #[test]
    fn a_process_that_ended_and_that_nobody_waited_for_is_not_alive() {
        let line = |state: &str| format!("7 (a) b) {state} 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert_eq!(since(&line("S")), Some(4711));
        assert_eq!([since(&line("Z")), since(&line("X"))], [None, None]);
    }

    #[test]
    fn the_user_comes_from_the_user_database() {
        assert!(user().unwrap().home.is_absolute());
    }
}
