//! Diagnostics on standard error, through tracing-subscriber: this program's own only, and masked.
//!
//! The level comes from the host config; `RUST_LOG` is the job's to set and is not read.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use dataflow_config::host::Log;
use dataflow_types::secret::Mask;

/// Starts diagnostics for the rest of the process.
pub(super) fn start(log: Log, mask: &Mask) {
    let level = match log {
        Log::Off => LevelFilter::OFF,
        Log::Error => LevelFilter::ERROR,
        Log::Warn => LevelFilter::WARN,
        Log::Info => LevelFilter::INFO,
        Log::Debug => LevelFilter::DEBUG,
    };
    // The program and its crates.
    let ours = Targets::new().with_target("buildkite_dataflow", level).with_target("dataflow_", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(Masked(mask.clone()));
    // Already started (in a test) is as good.
    let _started = tracing_subscriber::registry().with(ours).with(lines).try_init();
}

/// Standard error without secrets. An event arrives in one write, so no secret is split.
#[derive(Clone, Debug)]
struct Masked(Mask);

impl io::Write for Masked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        super::print::diagnostic(&String::from_utf8_lossy(bytes), &self.0);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
