//! What can be wrong with a pipeline, and where.

use std::error::Error as StdError;
use std::fmt;

use super::matrix;
use super::place::{Path, Place};

/// A pipeline that would not be accepted, or could never finish.
#[derive(Debug)]
pub struct Error {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The parser gave up.
    #[error("the pipeline is not valid YAML")]
    Yaml(#[source] serde_yaml::Error),
    /// Neither a list of steps nor a map with them, a number for a list, and the like.
    #[error("{0}")]
    Shape(String),
    /// No key that tells what the step does.
    #[error("cannot tell what kind of step this is: it has none of {}", telling.join(", "))]
    Kind {
        /// The keys that tell it.
        telling: &'static [&'static str],
        /// A key of the step that may have been meant for one of them, and that one.
        near: Option<(String, &'static str)>,
    },
    /// A group in a group.
    #[error("a group cannot stand inside a group")]
    NestedGroup,
    /// More steps than a build may have jobs.
    #[error("a pipeline has at most {0} steps")]
    TooManySteps(usize),
    /// A variable could not be replaced.
    #[error("a variable cannot be replaced")]
    Interpolation(#[source] super::interpolate::Error),
    /// A matrix that cannot be expanded.
    #[error("the matrix cannot be expanded")]
    Matrix(#[source] matrix::Error),
    /// A key with characters that Buildkite refuses.
    #[error("the key `{0}` may hold only letters, digits and `_-:.,`, at most 100 of them")]
    KeyCharacters(String),
    /// A key that Buildkite would take for an identifier of its own.
    #[error("the key `{0}` looks like a UUID")]
    KeyUuid(String),
    /// The same key twice.
    #[error("the key `{key}` is already used by {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Who has it.
        first: Path,
    },
    /// A key that no step has.
    #[error("{0}")]
    UnknownKey(UnknownKey),
    /// Nothing that a build could do.
    #[error("there are no steps")]
    NoSteps {
        /// A key that may have been meant for `steps`.
        near: Option<String>,
    },
    /// Steps that wait for each other.
    #[error("these steps wait for each other: {}", .0.join(" → "))]
    Cycle(Vec<String>),
}

/// A key that no step has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no step has the key `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
pub struct UnknownKey {
    /// The key.
    pub key: String,
    /// The key most like it.
    pub nearest: Option<String>,
    /// The keys that there are.
    pub known: Vec<String>,
}

impl Error {
    /// What would be right, where that can be told.
    pub fn hint(&self) -> Option<String> {
        match &self.problem {
            Problem::NoSteps { near: Some(near) } => {
                Some(format!("`{near}` is no key that Buildkite reads: did you mean `steps`?"))
            }
            Problem::Kind { near: Some((seen, known)), .. } => {
                Some(format!("a step has no key `{seen}`: did you mean `{known}`?"))
            }
            Problem::Interpolation(error) => error.hint(),
            Problem::NoSteps { near: None } => {
                Some("a pipeline is a map with `steps`, a list, or such a list itself".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.problem, self.place)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.problem.source()
    }
}

/// An error before its place is looked up.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Path,
    pub(super) problem: Problem,
}

impl Wrong {
    pub(super) fn root(problem: Problem) -> Self {
        Self { path: Path::default(), problem }
    }

    pub(super) fn shape(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.clone(), problem: Problem::Shape(what.into()) }
    }

    /// Looks the place up in the text; the parser's own errors know theirs.
    pub(super) fn located(self, text: &str) -> Error {
        let place = match &self.problem {
            Problem::Yaml(error) => {
                Place { path: self.path, position: error.location().map(|at| (at.line(), at.column())) }
            }
            _ => Place::find(text, self.path),
        };
        Error { place, problem: self.problem }
    }
}
