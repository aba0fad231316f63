//! Rehearsing a pipeline: its steps for real, with our real hooks and a real shell, against a sandbox,
//! with no account anywhere.

use std::path::PathBuf;

use dataflow_pipeline::SoftFail;

mod asked;
mod condition;
mod environment;
mod error;
pub mod fixture;
mod input;
pub mod job;
mod misread;
mod overlay;
pub mod perform;
mod plan;
mod run;
pub use dataflow_sandbox as sandbox;
pub mod stage;
pub mod stand_in;
pub mod trusted;

pub use error::Error;
pub use input::{folder, text};
pub use run::rehearse;

use job::Build;
use perform::Performed;

/// What to rehearse, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's file.
    pub pipeline: PathBuf,
    /// Only these steps, by key; all where none is named.
    pub steps: Vec<String>,
    /// Where records go.
    pub records: PathBuf,
    /// The folder of trust policies, `ROLE.json` each; `trust` beside the pipeline where it is not named.
    pub trust: Option<PathBuf>,
    /// A host config whose grants, limits and mode are rehearsed too.
    pub host_config: Option<PathBuf>,
    /// Whose build.
    pub build: Build,
}

/// What happens, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A job begins.
    Job {
        /// Its name.
        name: &'a str,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A phase of the job begins.
    Phase(&'static str),
    /// The job printed a line.
    Line(&'a str),
    /// Something is not rehearsed as it would be run.
    Note(String),
    /// The job is over.
    Ended(&'a Performed),
}

/// One row of the account at the end.
#[derive(Debug)]
pub struct Row {
    /// The job's name.
    pub name: String,
    /// How it went; `None` when it did not run.
    pub performed: Option<Performed>,
    /// Whether it is not meant to run: its `if` is false, or an upload replaced it.
    pub skipped: bool,
    /// Which failures of it do not count.
    pub soft_fail: SoftFail,
}

impl Row {
    /// A job that did not run.
    fn idle(name: String, skipped: bool) -> Self {
        Self { name, performed: None, skipped, soft_fail: SoftFail::Never }
    }

    /// Whether it failed in a way that does not count.
    pub fn is_forgiven(&self) -> bool {
        let failed = self
            .performed
            .as_ref()
            .filter(|performed| !performed.passed() && performed.is_clean() && !performed.cancelled);
        failed.is_some_and(|performed| self.soft_fail.forgives(performed.exit_status()))
    }

    /// Whether a build with this job could be green.
    pub fn went_well(&self) -> bool {
        self.skipped || self.is_forgiven() || self.performed.as_ref().is_some_and(Performed::passed)
    }
}
