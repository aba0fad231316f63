//! The integration tests: one crate, one file per story.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and stands outside the doors that the lints guard"
)]

mod floors;
mod hooks;
mod pipeline;
mod support;
