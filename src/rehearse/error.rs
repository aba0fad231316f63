//! Why a rehearsal could not take place.

use std::path::{Path, PathBuf};

use super::sandbox;
use dataflow_config as config;
use dataflow_host::files::Untrusted;
use dataflow_pipeline as pipeline;
use dataflow_types::failure::{Failure, Ident};

/// Why a rehearsal could not take place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("a file of the rehearsal cannot be read")]
    Read(#[source] Untrusted),
    /// A file or folder is not there, or cannot be looked at.
    #[error("`{path}` cannot be read")]
    Input {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder is there and is not what it should be.
    #[error("`{path}` {problem}")]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        problem: &'static str,
    },
    /// A folder without any fixture.
    #[error("`{0}` holds no fixture: no file in it has a line that begins with `fixture:`")]
    NoFixture(PathBuf),
    /// The pipeline is wrong.
    #[error("`{path}` is not a pipeline")]
    Pipeline {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pipeline::Error,
    },
    /// `--step` names none.
    #[error("`{path}` has no step with the key `{key}`")]
    NoStep {
        /// The pipeline.
        path: PathBuf,
        /// The key that no step has.
        key: String,
        /// What is there instead.
        hint: String,
    },
    /// A key of our block, indented as if it were another plugin.
    #[error(
        "`{key}` of step `{step}` stands beside the plugins: for the agent it is another plugin, `{agent}`"
    )]
    Misplaced {
        /// The step.
        step: String,
        /// The key.
        key: String,
        /// What the agent would look for.
        agent: String,
    },
    /// The host config is wrong.
    #[error("the host config is wrong")]
    Config(#[source] config::Error),
    /// The host config with what is redirected in it says something else than it should.
    #[error("the host config cannot be rehearsed: with the sandbox in it, it would say something else")]
    Overlay,
    /// A fixture is wrong.
    #[error("the fixture is wrong")]
    Fixture(#[source] config::Error),
    /// A trust policy is not JSON.
    #[error("`{path}` is not a trust policy in JSON")]
    TrustJson {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A trust policy is none.
    #[error("`{path}` is not a trust policy{}: {problem}", at(.place))]
    Trust {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The sandbox did not start.
    #[error("the rehearsal's sandbox did not start")]
    Sandbox(#[source] sandbox::Error),
    /// A folder, file or socket of the stage.
    #[error("the rehearsal's folder cannot be used")]
    Stage(#[source] std::io::Error),
    /// A hook or the shell.
    #[error("`{program}` cannot be run")]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" at `{place}`") }
}

impl Error {
    /// That `--step` names none of the pipeline's steps.
    pub(super) fn no_step(path: &Path, unknown: pipeline::UnknownKey) -> Self {
        let pipeline::UnknownKey { key, nearest, known } = unknown;
        let hint = match nearest {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "no step of it has a `key`".to_owned(),
            None => format!("its keys: `{}`", known.join("`, `")),
        };
        Self::NoStep { path: path.to_owned(), key, hint }
    }

    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let failure = Failure::of(Ident::RehearsalImpossible, self);
        let hint = match self {
            Self::Config(error) | Self::Fixture(error) if error.lines().len() > 1 => {
                return failure.caused_by(error.lines());
            }
            Self::Config(error) | Self::Fixture(error) => error.hint.clone(),
            Self::NoStep { hint, .. } => Some(hint.clone()),
            Self::Misplaced { key, .. } => {
                Some(format!("indent `{key}` further than the name of its plugin"))
            }
            Self::Pipeline { source, .. } => source.hint(),
            _ => None,
        };
        match hint {
            Some(hint) => failure.hinted(hint),
            None => failure,
        }
    }
}
