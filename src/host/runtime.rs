//! What runs everything that waits.

use std::io;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::{Builder, Runtime};

/// With fewer open files no hook gets anywhere, and the runtime itself would end the process.
const LEAST_FILES: u64 = 16;

/// With less room for addresses, in bytes, an allocation fails in the middle of the work, which ends the process without
/// a word of ours. A hook needs two thirds of that.
const LEAST_ROOM: u64 = 64 << 20;

/// Starts it on this thread.
pub fn start() -> io::Result<Runtime> {
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < LEAST_FILES) {
        return Err(io::Error::other(format!("it may open {files} files, and needs {LEAST_FILES}")));
    }
    if let Some(room) = getrlimit(Resource::As).current.filter(|room| *room < LEAST_ROOM) {
        let (has, needs) = (room >> 20, LEAST_ROOM >> 20);
        return Err(io::Error::other(format!(
            "it may use {has} MiB of addresses (`ulimit -v`), and needs {needs}"
        )));
    }
    Builder::new_current_thread().enable_all().build()
}
