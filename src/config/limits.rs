//! How much a step may ask for, and how long things may take.

use serde::Deserialize;

use crate::span::Span;

/// The most that a step may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// The longest life of a credential.
    pub duration: Span,
    /// The longest life of an OIDC token.
    pub token_lifetime: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self { duration: super::aws::MAX_DURATION, token_lifetime: super::token::MAX_LIFETIME }
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
