//! What is asked: the step config in `pipeline.yml` and the host config of the platform engineer.

pub mod aws;
pub mod credential;
pub mod host;
pub mod load;
pub mod network;
pub mod place;
pub mod retention;
pub mod step;
pub mod template;
pub mod token;

pub use place::Error;
