//! Watching another process: a companion ends with the job whose companion it is.

use std::io;

use super::process::ProcessId;

/// A process that is watched, certain to be the one that was meant.
#[derive(Debug)]
pub struct Watched {
    #[cfg(target_os = "linux")]
    descriptor: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

impl Watched {
    /// Watches `process`, within a runtime; an error when it is gone already.
    #[cfg(target_os = "linux")]
    pub fn of(process: &ProcessId) -> io::Result<Self> {
        use super::process::Alive;
        use rustix::io::Errno;
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process is gone");
        let pid = Pid::from_raw(process.pid).ok_or_else(gone)?;
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            // Which std knows by no kind.
            Err(Errno::SRCH) => return Err(gone()),
            opened => opened?,
        };
        // Only now: the number could have become another's until the descriptor held it.
        match process.alive() {
            Alive::Yes => {}
            Alive::No => return Err(gone()),
            // To take a living job for a dead one would take away what it works with.
            Alive::Unknown => return Err(io::Error::new(io::ErrorKind::Unsupported, "/proc does not tell")),
        }
        // What the unsafe successor asks for, an `OwnedFd` keeps: its descriptor is open while it lives.
        #[expect(deprecated, reason = "the successor is unsafe, and this program has no unsafe code")]
        let descriptor = tokio::io::unix::AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    /// Elsewhere there is no way to hold on to a process that is no child.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_: &ProcessId) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has descriptors of processes"))
    }

    /// Waits until it is gone.
    #[cfg(target_os = "linux")]
    pub async fn gone(&self) -> io::Result<()> {
        // The descriptor of a process can be read when the process has ended (pidfd_open(2)).
        self.descriptor.readable().await.map(drop)
    }

    /// Waits until it is gone.
    #[cfg(not(target_os = "linux"))]
    pub async fn gone(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_is_there_is_watched_and_one_of_another_time_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let parent = ProcessId::parent();
        let watched = Watched::of(&parent).unwrap();
        let soon = tokio::time::timeout(std::time::Duration::from_millis(1), watched.gone());
        assert!(runtime.block_on(soon).is_err());
        let earlier = ProcessId { started: parent.started.map(|ticks| ticks - 1), ..parent };
        assert_eq!(Watched::of(&earlier).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[expect(
        clippy::disallowed_methods,
        reason = "a process that ends is needed, and what it is does not matter"
    )]
    fn a_process_that_has_ended_is_gone_and_one_that_cannot_be_told_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let ended = ProcessId { pid, ..ProcessId::parent() };
        assert_eq!(Watched::of(&ended).unwrap_err().kind(), io::ErrorKind::NotFound);
        let elsewhere = ProcessId { namespace: Some("pid:[1]".into()), ..ProcessId::parent() };
        assert_eq!(Watched::of(&elsewhere).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
