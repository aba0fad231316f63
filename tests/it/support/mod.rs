//! What several stories need.

pub(crate) mod agent;
pub(crate) mod child;
pub(crate) mod components;
pub(crate) mod documents;
mod furnish;
pub(crate) mod guarded;
pub(crate) mod hooks;
pub(crate) mod lent;
pub(crate) mod network;
pub(crate) mod odd;
pub(crate) mod provider;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod survivors;
pub(crate) mod tls;
pub(crate) mod users;
pub(crate) mod vault;
