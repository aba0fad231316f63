//! What several stories need.

pub(crate) mod child;
pub(crate) mod components;
pub(crate) mod documents;
pub(crate) mod hooks;
pub(crate) mod tls;
