//! Buildkite hooks that lend a step exactly the credentials it may have, take them back when the
//! step ends, and leave one record of it.
//!
//! This package is the program: its arguments, what it prints, and the phases of a step. What it stands on are the crates
//! of `crates/`, each under the name of what it holds. `ARCHITECTURE.md` has the map.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

// The crates, for the tests and the fuzz targets, which see the program as one.
pub use dataflow_config as config;
pub use dataflow_host::{self as host, agent};
pub use dataflow_job as job;
pub use dataflow_lease::{self as lease, competing};
pub use dataflow_pipeline::{self as pipeline, condition};
pub use dataflow_policy as policy;
pub use dataflow_providers as provider;
pub use dataflow_record as record;
pub use dataflow_sinks as sink;
pub use dataflow_types::{
    at_rest, claims, credential, dataset, failure, file_name, finding, near_name, revocation, secret,
    settlement, span,
};

pub mod delivery;

// What the phases of a step share.
pub mod context;
pub mod findings;
pub mod record_parts;
pub mod report;

// Stories: readable from top to bottom.
pub mod acquire;
pub mod callback;
#[cfg(feature = "tools")]
pub mod deny;
pub mod hook;
pub mod keeper;
#[cfg(feature = "tools")]
pub mod records;
#[cfg(feature = "tools")]
pub mod rehearse;
pub mod release;
#[cfg(feature = "tools")]
pub mod revoke;
pub mod sweep;

// The face: arguments in, text and an exit code out; the only printer.
pub mod cli;

#[cfg(test)]
mod schemas;
