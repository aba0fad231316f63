//! What programs of a rehearsed job left running elsewhere: adopted, and ended.

/// Makes this process the parent of what its children leave behind, where the system can.
pub fn adopt() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::debug!(%error, "what a command leaves in the background may stay");
    }
}

/// Ends every child of this process, and theirs, which become its own. Nothing that is waited for may be among them.
pub fn end_all() {
    #[cfg(target_os = "linux")]
    for _ in 0..MOST_GENERATIONS {
        let children = linux::children();
        if children.is_empty() {
            break;
        }
        children.into_iter().for_each(linux::end);
    }
}

#[cfg(target_os = "linux")]
const MOST_GENERATIONS: usize = 64;

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    use crate::files;

    /// `/proc/PID/task/TID/children` of every thread (`proc(5)`).
    pub(super) fn children() -> Vec<Pid> {
        let threads = files::list(Path::new("/proc/self/task")).unwrap_or_default();
        let lists = threads.iter().filter_map(|thread| files::read(&thread.join("children")).ok());
        let numbers = |list: Vec<u8>| -> Vec<Pid> {
            let list = String::from_utf8_lossy(&list).into_owned();
            list.split_whitespace().filter_map(|number| number.parse().ok()).map(Pid::from_raw).collect()
        };
        lists.flat_map(numbers).collect()
    }

    pub(super) fn end(child: Pid) {
        let _gone = kill(child, Signal::SIGKILL);
        let _gone = waitpid(child, None);
    }
}
