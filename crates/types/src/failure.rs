//! What a person is told when something went wrong.

use std::error::Error;

mod ident;

pub use ident::Ident;

/// Which kind of thing went wrong; the number is the hook's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// The step's or the host's configuration.
    Configuration = 102,
    /// The host's policy said no.
    Denied = 103,
    /// The agent's endpoint or its Job API.
    Agent = 104,
    /// The provider said no.
    Refused = 105,
    /// The provider could not be reached, or was busy: worth a retry.
    Unreachable = 106,
    /// The variables could not be handed to the step.
    Export = 107,
    /// A lease could not be settled.
    Unsettled = 108,
    /// A record could not be stored.
    Unrecorded = 109,
    /// A fault of this program.
    Bug = 110,
}

impl Class {
    /// Every class, in the order of the exit codes.
    pub const ALL: [Self; 9] = [
        Self::Configuration,
        Self::Denied,
        Self::Agent,
        Self::Refused,
        Self::Unreachable,
        Self::Export,
        Self::Unsettled,
        Self::Unrecorded,
        Self::Bug,
    ];

    /// The exit code of a hook that ends with this class.
    pub const fn exit_code(self) -> u8 {
        self as u8
    }
}

/// One failure, as it is told: what, why, what was presented, what to do, what state is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one, and so its class.
    pub ident: Ident,
    /// One line.
    pub what: String,
    /// The causes, nearest first.
    pub causes: Vec<String>,
    /// The claims that were presented, where a token was.
    pub presented: Option<String>,
    /// What would be right.
    pub hint: Option<String>,
    /// What state was left behind.
    pub left: Option<String>,
}

impl Failure {
    /// A failure told by `error`, its sources as causes.
    pub fn of(ident: Ident, error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self::new(ident, error.to_string()).caused_by(causes)
    }

    /// A failure that no error tells of.
    pub fn new(ident: Ident, what: impl Into<String>) -> Self {
        Self { ident, what: what.into(), causes: Vec::new(), presented: None, hint: None, left: None }
    }

    /// The same failure with its causes, nearest first.
    #[must_use]
    pub fn caused_by(mut self, causes: Vec<String>) -> Self {
        self.causes = causes;
        self
    }

    /// What happened and why, in one sentence.
    pub fn sentence(&self) -> String {
        let parts: Vec<&str> = std::iter::once(&self.what).chain(&self.causes).map(String::as_str).collect();
        parts.join(": ")
    }

    /// The same failure with advice.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with the claims that were presented.
    #[must_use]
    pub fn presenting(mut self, claims: &crate::claims::Claims) -> Self {
        self.presented = Some(claims.to_string());
        self
    }

    /// The same failure with what is left behind.
    #[must_use]
    pub fn leaving(mut self, state: impl Into<String>) -> Self {
        self.left = Some(state.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to ask")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn causes_follow_the_sources() {
        let error = Outer("x".parse::<u8>().unwrap_err());
        let failure = Failure::of(Ident::JobApi, &error);
        assert_eq!(failure.what, "failed to ask");
        assert_eq!(failure.causes, ["invalid digit found in string"]);
    }

    #[test]
    fn an_identifier_is_printed_as_it_is_recorded() {
        assert_eq!(Ident::BadConfiguration.to_string(), "bad-configuration");
        assert_eq!(crate::finding::Ident::NoStart.to_string(), "no-start");
    }

    #[test]
    fn exit_codes_are_102_to_110() {
        assert_eq!(Class::ALL.map(Class::exit_code), [102, 103, 104, 105, 106, 107, 108, 109, 110]);
    }
}
