//! What is asked: the step config in `pipeline.yml` and the host config of the platform engineer.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

pub mod address;
pub mod aws;
pub mod azure;
pub mod bitbucket;
pub mod buildkite;
mod claim_names;
mod collect;
pub mod credential;
mod de;
mod error;
mod fault;
pub mod field;
mod fit;
pub mod gcp;
pub mod git_ssh;
pub mod github;
mod grammar;
mod hint;
pub mod host;
pub mod host_find;
pub mod host_parse;
pub mod key;
pub mod kind;
mod level;
mod limits;
mod mark;
#[cfg(test)]
mod mutations;
pub mod network;
pub mod oauth;
pub mod path;
pub mod place;
pub mod provider_request;
pub mod retention;
pub mod secrets;
#[cfg(test)]
mod several_errors;
mod shown;
pub mod sink;
pub mod step;
pub mod survive_reboot;
pub mod template;
pub mod together;
pub mod token;
mod unreadable;
mod usable;
pub mod value;
pub mod vault;
mod written;
mod yaml;

pub use place::Error;
