//! What several stories need.

pub(crate) mod agent;
pub(crate) mod components;
pub(crate) mod hooks;
