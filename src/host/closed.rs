//! Closing this process to dumps and debuggers: it holds tokens and keys.
//!
//! The kernel writes no core file of a process that is not dumpable, and lets no other process of its user attach to
//! it, or read its memory or its environment (`PR_SET_DUMPABLE`, proc(5)). Starting a program makes it dumpable again,
//! so each process of ours closes itself, first of all. What the limit on core files was is given back to the shell of
//! a rehearsed step alone.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on core files with which this process was started.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Closes this process, for good; whether the system can.
pub fn close() -> bool {
    let before = BEFORE.get_or_init(|| getrlimit(Resource::Core));
    // The hard limit stays: a program that is started may have its own core files back.
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), ..*before });
    no_core.is_ok() && closed_to_others()
}

#[cfg(target_os = "linux")]
fn closed_to_others() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn closed_to_others() -> bool {
    true
}

/// Starts a program of somebody else's under the limit on core files with which this process was started.
pub(super) fn with_cores_of_before<T>(start: impl FnOnce() -> T) -> T {
    let Some(before) = BEFORE.get() else { return start() };
    let now = getrlimit(Resource::Core);
    // Neither fails: the hard limit was never changed.
    let _raised = setrlimit(Resource::Core, *before);
    let started = start();
    let _lowered = setrlimit(Resource::Core, now);
    started
}
