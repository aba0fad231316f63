//! The most that a host lends, and how long things may take.

use serde::Deserialize;

use super::{aws, token};
use dataflow_types::span::Span;

/// The most that a step may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// The longest life of a credential. Below `1h` it is the default too. Where it is named, what a server answers
    /// with a longer life is given back and refused. Default: `12h`.
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
    /// For settling the leases of a block.
    pub release: Span,
    /// The wait after a first failed try. It doubles, up to ten seconds. A provider that is busy or does not answer is
    /// tried until `deadlines.grant`, and one that says `Retry-After` is left alone for as long. A keeper whose
    /// refresh failed tries again after fifteen times as long.
    pub retry: Span,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { grant: Span::seconds(60), release: Span::seconds(5), retry: Span::seconds(1) }
    }
}
