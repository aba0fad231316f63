//! What several stories need.

pub(crate) mod agent;
pub(crate) mod components;
mod furnish;
pub(crate) mod hooks;
