//! Whether another process holds this one, as the one that started it does.

use std::path::PathBuf;

use super::files;
use super::process::ProcessId;

impl ProcessId {
    /// Whether it holds a descriptor of this process (`pidfd`).
    ///
    /// A program in Go has one of each process that it started itself, from before that one's first instruction
    /// until it knows of its end (Go 1.23, Linux 5.4). What only became its child has none: an orphan of another
    /// process, or what a child of it made with `clone(CLONE_PARENT)`. `false` too where it cannot be seen: under
    /// an earlier Go or kernel, and without `/proc` (macOS).
    pub fn holds_this_process(&self) -> bool {
        i32::try_from(std::process::id()).is_ok_and(|this| self.holds(this))
    }

    fn holds(&self, other: i32) -> bool {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        let descriptors = files::list(&process.join("fd")).unwrap_or_default();
        let mut processes = descriptors.iter().filter(|descriptor| {
            std::fs::read_link(descriptor).is_ok_and(|what| what.to_string_lossy().contains("pidfd"))
        });
        processes.any(|descriptor| {
            let number = descriptor.file_name().unwrap_or_default();
            let info = files::read(&process.join("fdinfo").join(number)).unwrap_or_default();
            described(&String::from_utf8_lossy(&info)) == Some(other)
        })
    }
}

/// Of which process a `pidfd` is, by its `/proc/PID/fdinfo/FD`: -1 when that one is gone.
fn described(fdinfo: &str) -> Option<i32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    #[expect(
        clippy::disallowed_methods,
        reason = "a process that ends is needed, and what it is does not matter"
    )]
    fn a_process_is_held_by_the_one_that_has_a_descriptor_of_it_and_as_long_as_it_has() {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let mut child = std::process::Command::new("sleep").arg("50").spawn().unwrap();
        let of = |pid: u32| ProcessId { pid: i32::try_from(pid).unwrap(), ..ProcessId::parent() };
        let (child_id, this) = (of(child.id()), of(std::process::id()));
        assert!(!this.holds(child_id.pid), "a child alone is not held");
        let descriptor = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert!(this.holds(child_id.pid) && !child_id.holds(this.pid));
        drop(descriptor);
        assert!(!this.holds(child_id.pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn whose_descriptor_it_is_stands_in_a_line_of_its_own() {
        let info = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nPid:\t4711\nNSpid:\t4711\n";
        assert_eq!(described(info), Some(4711));
        assert_eq!(described("pos:\t0\nPid:\t-1\n"), Some(-1));
        assert_eq!(described("pos:\t0\nNSpid:\t4711\n"), None);
    }
}
