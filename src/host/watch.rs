//! Watching another process: a companion ends with the job whose companion it is.

use std::io;

use super::process::ProcessId;

/// A process that is watched, certain to be the one that was meant.
#[derive(Debug)]
pub struct Watched {
    #[cfg(target_os = "linux")]
    descriptor: std::os::fd::OwnedFd,
}

impl Watched {
    /// Watches `process`; an error when it is gone already.
    #[cfg(target_os = "linux")]
    pub fn of(process: &ProcessId) -> io::Result<Self> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process is gone");
        let descriptor = pidfd_open(Pid::from_raw(process.pid).ok_or_else(gone)?, PidfdFlags::empty())?;
        // Only now: the number could have become another's until the descriptor held it.
        if process.alive() != super::process::Alive::Yes {
            return Err(gone());
        }
        Ok(Self { descriptor })
    }

    /// Elsewhere there is no way to hold on to a process that is no child.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_: &ProcessId) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has descriptors of processes"))
    }

    /// Waits until it is gone, or for `time`; whether it is gone. Nothing else of this thread goes on meanwhile.
    #[cfg(target_os = "linux")]
    pub fn gone_within(&self, time: std::time::Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let time = Timespec::try_from(time).ok();
        match poll(&mut watched, time.as_ref()) {
            Ok(ready) => ready > 0,
            Err(error) => {
                tracing::warn!(%error, "the job can no longer be watched");
                error != rustix::io::Errno::INTR
            }
        }
    }

    /// Waits until it is gone, or for `time`; whether it is gone.
    #[cfg(not(target_os = "linux"))]
    pub fn gone_within(&self, _: std::time::Duration) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_is_there_is_watched_and_one_of_another_time_is_not() {
        let parent = ProcessId::parent();
        assert!(!Watched::of(&parent).unwrap().gone_within(std::time::Duration::ZERO));
        let earlier = ProcessId { started: parent.started.map(|ticks| ticks - 1), ..parent };
        assert_eq!(Watched::of(&earlier).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
