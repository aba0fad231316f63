//! Conditions: Buildkite's own expressions, as in the `if` of a step. Pure: values come from a [`Scope`].
//!
//! Syntax and typing follow <https://buildkite.com/docs/pipelines/configure/conditionals>; what differs on purpose: a
//! regular expression cannot look around or refer back, so that none runs away, and a text is bounded.

use std::fmt;

use serde::Deserialize;

mod check;
mod escape;
mod eval;
mod lexer;
mod names;
mod parser;
mod pattern;
mod shell;
mod tree;

pub use names::{VARIABLES, Variable};
use tree::Node;

/// The longest text of a condition, in bytes.
pub const MAX_LENGTH: usize = 2048;

/// A condition that was read and whose types fit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Condition {
    text: String,
    tree: Node,
}

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct Error {
    /// The character at which it is, from 1.
    pub column: usize,
    /// What was seen, and what would be right.
    pub problem: String,
}

/// What is wrong at an offset of the text.
#[derive(Debug)]
struct Problem {
    at: usize,
    what: String,
}

impl Problem {
    fn at(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    fn in_text(self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        Error { column: before.chars().count() + 1, problem: self.what }
    }
}

/// A value while a condition is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<Value>),
    /// A regular expression, and whether case is ignored.
    Pattern(String, bool),
}

impl Value {
    /// A text, or nothing.
    pub fn of(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }
}

/// Where values come from.
pub trait Scope {
    /// The value of one of [`VARIABLES`].
    fn variable(&self, name: &str) -> Value;

    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;
}

impl Condition {
    /// Reads a condition and checks names and types.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_LENGTH {
            let problem = format!("saw {} bytes, expected {MAX_LENGTH} at most", text.len());
            return Err(Error { column: 1, problem });
        }
        let tree = parser::parse(text).and_then(|tree| check::check(&tree).map(|()| tree));
        tree.map(|tree| Self { text: text.to_owned(), tree }).map_err(|problem| problem.in_text(text))
    }

    /// Whether it holds. What cannot be answered is an error and never a yes.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, Error> {
        match eval::value(&self.tree, scope) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(Value::Null) => Ok(false),
            Ok(other) => Err(Problem::at(0, format!("expected yes or no, got {}", eval::word(&other)))),
            Err(problem) => Err(problem),
        }
        .map_err(|problem| problem.in_text(&self.text))
    }

    /// The variables that it uses, but for those of the environment.
    pub fn variables(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.tree.walk(&mut |node| {
            if let tree::Kind::Variable(name) = &node.kind {
                found.push(name.as_str());
            }
        });
        found
    }

    /// Whether a job can answer it; if not, which variable only Buildkite knows.
    pub fn in_a_job(&self) -> Result<(), String> {
        let unknown = |name: &&str| VARIABLES.iter().any(|one| one.name == *name && !one.in_a_job);
        match self.variables().into_iter().find(unknown) {
            Some(name) => Err(format!("`{name}` is known to Buildkite and not to a job")),
            None => Ok(()),
        }
    }

    /// That both hold.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (left, right) = (Box::new(self.tree.clone()), Box::new(other.tree.clone()));
        let kind = tree::Kind::Infix { operator: tree::Operator::And, left, right };
        Self { text: format!("({self}) && ({other})"), tree: Node { at: 0, kind } }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for Condition {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for Condition {
    /// With every parenthesis that it means.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree.fmt(f)
    }
}

#[cfg(test)]
mod tests;
