//! Whether another process is still there, and whether a job is.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

#[cfg(feature = "faults")]
use super::fault;
use super::{Clock, Env, env};

/// A process, distinct from a later one with the same number.
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
    /// From here it cannot be known.
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

    /// Whether it still runs. Where `/proc` is missing (macOS) only a reboot could be seen, and is not.
    pub fn alive(&self) -> Alive {
        self.alive_in(&Here::now())
    }

    /// The same, for many at once.
    pub fn alive_in(&self, here: &Here) -> Alive {
        match (&self.boot, &here.boot) {
            (Some(then), Some(now)) if then != now => return Alive::No,
            (Some(_), Some(_)) => {}
            _ => return Alive::Unknown,
        }
        if self.namespace.is_none() || self.namespace != here.namespace || self.started.is_none() {
            return Alive::Unknown;
        }
        if self.started == started(self.pid) { Alive::Yes } else { Alive::No }
    }
}

/// This boot, and the PID namespace of this process.
#[derive(Debug)]
pub struct Here {
    boot: Option<String>,
    namespace: Option<String>,
    serving: OnceCell<BTreeSet<Served>>,
}

/// A job that an agent runs, and the config file of that agent.
type Served = (String, Option<String>);

impl Here {
    /// As it is now.
    pub fn now() -> Self {
        Self { boot: boot(), namespace: namespace(), serving: OnceCell::new() }
    }

    /// Whether a bootstrap of the agent, of this user and in this PID namespace, runs this job: its arguments and the
    /// environment that it was started with say so, which the job's own steps do not write. One that says to be of
    /// another agent than `env` does not count, nor does the one that started this process: it is known by more.
    pub fn serves(&self, job: &str, env: &Env) -> bool {
        let ours = env.get(&env::CONFIG_PATH);
        let is_ours = |config: &Option<String>| {
            config.as_deref().is_none_or(|config| ours.is_none_or(|ours| ours == config))
        };
        self.serving.get_or_init(served).iter().any(|(served, config)| served == job && is_ours(config))
    }

    /// Whether a process has the number that `process` had, and was there already at `then`: it is the same one,
    /// whatever else is said of it.
    pub fn had(&self, process: &ProcessId, then: DateTime<Utc>, clock: &Clock) -> bool {
        if process.namespace.is_none() || process.namespace != self.namespace {
            return false;
        }
        // A restart that only the harness tells of leaves no process behind either.
        #[cfg(feature = "faults")]
        if fault::boot().is_some() && process.boot != self.boot {
            return false;
        }
        let Some(ticks) = started(process.pid) else { return false };
        if process.started == Some(ticks) {
            return true;
        }
        // Of another boot any process can have the number.
        process.boot == self.boot && start_of(ticks, clock).is_some_and(|start| start <= then)
    }
}

/// When a process started that did so at this tick: ticks are hundredths of a second for all that `/proc` shows.
fn start_of(ticks: u64, clock: &Clock) -> Option<DateTime<Utc>> {
    let bytes = super::files::read(Path::new("/proc/uptime")).ok()?;
    let up: f64 = String::from_utf8(bytes).ok()?.split_whitespace().next()?.parse().ok()?;
    let up = TimeDelta::from_std(Duration::try_from_secs_f64(up).ok()?).ok()?;
    let since_boot = TimeDelta::try_milliseconds(i64::try_from(ticks.checked_mul(10)?).ok()?)?;
    clock.now().checked_sub_signed(up)?.checked_add_signed(since_boot)
}

/// The jobs of the bootstraps that run.
fn served() -> BTreeSet<Served> {
    let processes = super::files::list(Path::new("/proc")).unwrap_or_default();
    let numbered = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let ours = nix::unistd::getppid().to_string();
    let others = processes.into_iter().filter(|path| !path.ends_with(&ours));
    others.filter(numbered).filter_map(|process| job_of(&process)).collect()
}

fn job_of(process: &Path) -> Option<Served> {
    let arguments = super::files::read(&process.join("cmdline")).ok()?;
    let second = arguments.split(|byte| *byte == 0).nth(1)?;
    if second != b"bootstrap" {
        return None;
    }
    let environment = super::files::read(&process.join("environ")).ok()?;
    let value = |variable: &env::Variable| {
        let begins = format!("{}=", variable.name);
        let mut pairs = environment.split(|byte| *byte == 0);
        let value = pairs.find_map(|pair| pair.strip_prefix(begins.as_bytes()))?;
        String::from_utf8(value.to_vec()).ok().filter(|value| !value.is_empty())
    };
    Some((value(&env::JOB_ID)?, value(&env::CONFIG_PATH)))
}

/// Whether a process still listens on a socket: its file outlives a server that was killed. The path may be anything,
/// for a journal can be forged: nothing is waited for, and only a socket without a listener says no.
pub fn listening(path: &Path) -> Alive {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    match is_socket.then(|| try_connecting(path)) {
        Some(Ok(())) => Alive::Yes,
        Some(Err(rustix::io::Errno::CONNREFUSED)) => Alive::No,
        // A full backlog among them: a process made it listen.
        _ => Alive::Unknown,
    }
}

fn try_connecting(path: &Path) -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new(path)?;
    #[cfg(target_os = "linux")]
    let socket = {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?
    };
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        socket
    };
    connect(&socket, &address)
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

/// When the process of a line of `/proc/PID/stat` started, unless it has ended: a process that was not reaped (in a
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
    fn only_a_socket_without_a_listener_says_that_a_job_is_over_and_none_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let server = std::os::unix::net::UnixListener::bind(path("full")).unwrap();
        let mut waiting = Vec::new();
        // No process accepts: the backlog is full at last, and a connect that waits would wait for ever.
        loop {
            match try_connecting(&path("full")) {
                Ok(()) => waiting.push(listening(&path("full"))),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(waiting.iter().all(|alive| *alive != Alive::No));
        assert_eq!(listening(&path("full")), Alive::Unknown);
        drop(server);
        assert_eq!(listening(&path("full")), Alive::No);
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("full"), path("link")).unwrap();
        let long = "x".repeat(10_000);
        for name in ["fifo", "file", "link", "none", "a\0b", "", long.as_str()] {
            assert_eq!(listening(&path(name)), Alive::Unknown, "{name}");
        }
        assert_eq!(listening(Path::new("")), Alive::Unknown);
    }

    #[test]
    fn a_process_that_ended_and_was_not_reaped_is_not_alive() {
        let line = |state: &str| format!("7 (a) b) {state} 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert_eq!(since(&line("S")), Some(4711));
        assert_eq!([since(&line("Z")), since(&line("X"))], [None, None]);
    }
}
