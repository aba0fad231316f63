//! What is asked: the step config in `pipeline.yml` and the host config of the platform engineer.

pub mod ask;
pub mod aws;
pub mod azure;
pub mod bitbucket;
pub mod buildkite;
pub mod credential;
pub mod field;
mod fit;
pub mod gcp;
pub mod github;
mod grammar;
pub mod host;
pub mod key;
pub mod load;
pub mod network;
pub mod oauth;
pub mod place;
pub mod retention;
pub mod secrets;
pub mod sink;
pub mod step;
pub mod survive_reboot;
pub mod template;
pub mod together;
pub mod token;
pub mod value;
pub mod vault;
mod written;

pub use place::Error;
