//! Words: values without I/O. Everything else is built of them.

pub mod at_rest;
pub mod claims;
pub mod credential;
pub mod dataset;
pub mod failure;
pub mod file_name;
pub mod finding;
mod identifiers;
pub mod near_name;
pub mod revocation;
pub mod secret;
pub mod settlement;
pub mod span;
