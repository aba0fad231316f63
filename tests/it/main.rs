//! The integration tests: one crate, one file per story.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and stands outside the doors that the lints guard"
)]

mod agent;
mod at_rest;
mod aws;
mod aws_roles;
mod azure;
mod bitbucket;
mod buildkite;
mod callbacks;
mod competing;
mod conditions;
mod delivery;
mod deny;
mod docs;
mod dumps;
mod every_answer;
mod every_provider;
mod examples;
mod faults;
mod forms;
mod gcp;
mod git;
mod github;
#[cfg(feature = "faults")]
mod harness;
mod hooks;
mod host_config;
mod hostile;
mod interrupted;
mod journals;
mod junk;
mod jwk;
mod keeper;
mod keys;
mod killed;
mod limited;
mod long;
mod mtls;
mod oauth;
mod odd_files;
mod orphans;
mod pipeline;
mod plugin_yml;
mod printed;
mod real_hydra;
mod real_oauth;
mod real_vault;
mod real_zitadel;
mod recorded;
mod records;
mod redaction;
mod regions;
mod rehearse;
mod rehearse_jobs;
mod revoke;
mod sandbox;
mod secrets;

mod structure;
mod support;
mod survivors;
mod tls;
mod two_users;
mod vault;
