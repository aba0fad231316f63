//! What runs everything that waits.

use std::io;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::{Builder, Runtime};

/// With fewer open files no hook gets anywhere, and the runtime itself would end the process.
const LEAST_FILES: u64 = 16;

/// Starts it on this thread.
pub fn start() -> io::Result<Runtime> {
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < LEAST_FILES) {
        return Err(io::Error::other(format!("it may open {files} files, and needs {LEAST_FILES}")));
    }
    Builder::new_current_thread().enable_all().build()
}
