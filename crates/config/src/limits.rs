//! The most that a host lends, and how long things may take.

use serde::Deserialize;

use super::{aws, token};
use dataflow_types::span::Span;

/// The most that a step may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// The longest life of a credential, asked for or answered. Where it is absent, a step may ask for `12h`, and a server
    /// may answer what it likes.
    pub duration: Option<Span>,
    /// The longest life of an OIDC token.
    pub token_lifetime: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self { duration: None, token_lifetime: token::MAX_LIFETIME }
    }
}

impl Limits {
    /// The longest life that may be asked for.
    pub fn asked(&self) -> Span {
        self.duration.unwrap_or(aws::MAX_DURATION)
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Deadlines {
    /// From the start of pre-command until everything is lent or the step fails.
    pub grant: Span,
    /// From the start of post-command or pre-exit until everything is settled as far as it can be.
    pub release: Span,
    /// The wait after a first failed try; it doubles.
    pub retry: Span,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { grant: Span::seconds(60), release: Span::seconds(5), retry: Span::seconds(1) }
    }
}
