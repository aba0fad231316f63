//! Buildkite hooks that lend a step exactly the credentials it may have, take them back when the
//! step ends, and leave one record of it.
//!
//! The modules stand on floors: a module uses its own floor or lower ones (`tests/it/floors.rs`).
//! `ARCHITECTURE.md` has the map.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

// Floor 0, words: values without I/O.
pub mod at_rest;
pub mod claims;
pub mod competing;
pub mod condition;
pub mod credential;
pub mod dataset;
pub mod failure;
pub mod file_name;
pub mod near_name;
pub mod revocation;
pub mod secret;
pub mod settlement;
pub mod span;

// The record: a published format, and nothing else.
pub mod record;

// Floor 1, doors: the only I/O of the crate.
pub mod agent;
pub mod host;

// Floor 2, asked: what is wanted, by whom.
pub mod config;
pub mod job;
pub mod pipeline;

// Floor 3, allowed: pure decisions.
pub mod policy;

// Floor 4, lent: exchanges, and the promise to give back.
pub mod lease;
pub mod provider;

// Floor 5, told: where the record goes.
pub mod delivery;
pub mod sink;

// Floor 6, stories: readable from top to bottom.
pub mod deny;
pub mod hook;
pub mod rehearse;
pub mod revoke;

// Floor 7, face: arguments in, text and an exit code out; the only printer.
pub mod cli;

#[cfg(test)]
mod schemas;
