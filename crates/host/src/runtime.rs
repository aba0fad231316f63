//! What runs everything that waits, and the room that it needs.

use std::io;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, rlim_t};
use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// With fewer open files no hook gets anywhere, and the runtime itself would end the process.
const LEAST_FILES: rlim_t = 16;

/// With a smaller stack the deepest of our calls would end the process, in bytes.
const LEAST_STACK: rlim_t = 1 << 20;

/// What a thread of ours has instead, in bytes.
const STACK: usize = 4 << 20;

/// With less room for addresses, in bytes, an allocation fails in the middle of the work, which ends the process without
/// a word of ours. A hook needs two thirds of that.
const LEAST_ROOM: rlim_t = 64 << 20;

/// The limit on something; `None` where there is none, or the system does not say it (a sandbox may refuse the call).
fn limit(resource: Resource) -> Option<rlim_t> {
    getrlimit(resource).ok().map(|(soft, _)| soft)
}

/// Starts it on this thread.
pub fn start() -> io::Result<Runtime> {
    if let Some(files) = limit(Resource::RLIMIT_NOFILE).filter(|files| *files < LEAST_FILES) {
        return Err(io::Error::other(format!("it may open {files} files, and needs {LEAST_FILES}")));
    }
    if let Some(room) = limit(Resource::RLIMIT_AS).filter(|room| *room < LEAST_ROOM) {
        let (has, needs) = (room >> 20, LEAST_ROOM >> 20);
        return Err(io::Error::other(format!(
            "it may use {has} MiB of addresses (`ulimit -v`), and needs {needs}"
        )));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    // A file that may grow no further (`ulimit -f`) is an error of the write, as a full disk is. A handler, unlike an
    // ignored signal, is not handed on to the programs that are started.
    let _as_it_was = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32));
    drop(inside);
    Ok(runtime)
}

/// Does `work` with room for its calls: on a thread of its own where this one has little (`ulimit -s`).
pub fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if limit(Resource::RLIMIT_STACK).is_none_or(|stack| stack >= LEAST_STACK) {
        return Ok(work());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
