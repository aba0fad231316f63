//! The outside world as one value: environment, clock, files, HTTP, processes.
//!
//! Nothing outside `host` and `agent` reads or changes anything beyond the process; clippy.toml holds it.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

use std::path::PathBuf;

pub mod agent;
mod background;
pub mod clock;
pub mod closed;
pub mod descendants;
pub mod direct;
pub mod drop_box;
pub mod env;
mod fault;
pub mod files;
pub mod folder;
pub mod head;
mod held;
pub mod http;
pub mod interrupts;
mod living;
pub mod memory;
pub mod pidfd;
pub mod process;
mod resolve;
pub mod retry;
pub mod runtime;
#[cfg(feature = "server")]
pub mod serve;
pub mod stdin;
pub mod supervised;
pub mod trail;
mod untrusted;
pub mod walk;

pub use background::Background;
pub use clock::Clock;
pub use env::Env;

use dataflow_types::secret::Mask;

/// The doors that a story is given.
#[derive(Clone, Debug)]
pub struct Host {
    /// The environment as it was when the process started.
    pub env: Env,
    /// What time it is, and waiting.
    pub clock: Clock,
    /// Secrets that diagnostics must not show.
    pub mask: Mask,
    /// The folder this process was started in.
    pub cwd: PathBuf,
    /// This program's own file.
    pub program: PathBuf,
}

impl Host {
    /// The real one.
    pub fn real() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let program = std::env::current_exe().unwrap_or_default();
        Self { env: Env::of_process(), clock: Clock::System, mask: Mask::default(), cwd, program }
    }
}
