//! The integration tests: one crate, one file per story.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and stands outside the doors that the lints guard"
)]

mod agent;
mod aws;
mod callbacks;
mod conditions;
mod docs;
mod faults;
mod floors;
#[cfg(feature = "faults")]
mod harness;
mod hooks;
mod hostile;
mod pipeline;
mod plugin_yml;
mod redaction;
mod rehearse;
mod sandbox;
mod support;
mod tls;
