//! Closing this process to dumps and debuggers: it holds tokens and keys.
//!
//! The kernel writes no core file of a process that is not dumpable, and lets no other process of its user attach to
//! it, or read its memory or its environment (`PR_SET_DUMPABLE`, proc(5)). Starting a program makes it dumpable again,
//! so each process of ours closes itself, first of all. What the limit on core files was is given back to the shell of
//! a rehearsed step alone.
//!
//! Each of the two is tried whatever came of the other: a sandbox may refuse one of them (systemd before version 239
//! counts `prlimit64` to `@resources`).

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The limits on core files with which this process was started, soft and hard; `None` where they cannot be known.
static BEFORE: OnceLock<Option<(rlim_t, rlim_t)>> = OnceLock::new();

/// Closes this process, for good; whether the system can.
pub fn close() -> bool {
    let before = BEFORE.get_or_init(|| getrlimit(Resource::RLIMIT_CORE).ok());
    // The hard limit stays: a program that is started may have its own core files back.
    let no_core = before.is_some_and(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard).is_ok());
    closed_to_others(no_core)
}

/// Of a process that is not dumpable there is no core file, whatever the limit.
#[cfg(target_os = "linux")]
fn closed_to_others(_no_core: bool) -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn closed_to_others(no_core: bool) -> bool {
    no_core
}

/// Starts a program of somebody else's under the limit on core files with which this process was started.
pub(super) fn with_cores_of_before<T>(start: impl FnOnce() -> T) -> T {
    let Some((soft, hard)) = BEFORE.get().copied().flatten() else { return start() };
    // Neither fails: the hard limit was never changed.
    let _raised = setrlimit(Resource::RLIMIT_CORE, soft, hard);
    let started = start();
    let _lowered = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    started
}
