//! Rehearsing a pipeline: its steps for real, against a sandbox, with no account anywhere.

pub mod sandbox;
