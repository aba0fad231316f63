//! What is wrong with an untyped tree: the way to it, and what is expected there in words of YAML and JSON.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::path::Segment;

/// What is wrong with a tree, and where.
#[derive(Debug)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// From the fault up to the root.
    upwards: Vec<Segment>,
    wrong: Wrong,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A key that its map does not know.
    Key(String, &'static [&'static str]),
    /// A key that is not there.
    Missing(&'static str),
    /// A word that is none of these.
    Word(&'static [&'static str]),
    /// A value of another kind.
    Kind(String),
    /// In the words of the type that was to be read.
    Said(String),
}

impl Fault {
    pub(super) fn new(wrong: Wrong) -> Self {
        Self(Box::new(Inner { upwards: Vec::new(), wrong }))
    }

    pub(super) fn kind(expected: impl Into<String>) -> Self {
        Self::new(Wrong::Kind(expected.into()))
    }

    pub(super) fn under(mut self, segment: impl FnOnce() -> Segment) -> Self {
        self.0.upwards.push(segment());
        self
    }

    /// The way from the root, and what is wrong there.
    pub(super) fn parts(self) -> (Vec<Segment>, Wrong) {
        let mut path = self.0.upwards;
        path.reverse();
        (path, self.0.wrong)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.wrong {
            Wrong::Key(key, _) => write!(f, "unknown key `{key}`"),
            Wrong::Missing(key) => write!(f, "`{key}` is missing"),
            Wrong::Word(words) => write!(f, "expected {}", one_of(words)),
            Wrong::Kind(expected) => write!(f, "expected {expected}"),
            Wrong::Said(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // A URL's reader says what its parser complains of, and then the text.
        match message.split_once(": ").and_then(|(complaint, _)| of_a_url(complaint)) {
            Some(expected) => Self::kind(expected),
            None => Self::new(Wrong::Said(message)),
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::kind(in_our_words(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::kind(expected.to_string())
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::kind(expected.to_string())
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Wrong::Word(known))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Wrong::Key(key.to_owned(), known))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Wrong::Missing(key))
    }
}

/// Types have names that no reader of a message knows.
fn in_our_words(expected: String) -> String {
    if expected.starts_with("struct ") { "a map".to_owned() } else { expected }
}

/// What is expected where the parser of URLs complains so.
fn of_a_url(complaint: &str) -> Option<String> {
    use url::ParseError as No;
    let all = [
        No::EmptyHost,
        No::IdnaError,
        No::InvalidPort,
        No::InvalidIpv4Address,
        No::InvalidIpv6Address,
        No::InvalidDomainCharacter,
        No::RelativeUrlWithoutBase,
        No::RelativeUrlWithCannotBeABaseBase,
        No::SetHostOnCannotBeABaseUrl,
        No::Overflow,
    ];
    match all.into_iter().find(|no| no.to_string() == complaint)? {
        No::InvalidPort => Some(format!("{URL} with a port from 1 to 65535")),
        _ => Some(URL.to_owned()),
    }
}

const URL: &str = "a URL such as `https://host.example.test`";

/// Names in a row: `a`, `b` or `c`.
pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [many @ .., last] => format!("`{}` or `{last}`", many.join("`, `")),
    }
}
