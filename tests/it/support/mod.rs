//! What several stories need.

pub(crate) mod components;
