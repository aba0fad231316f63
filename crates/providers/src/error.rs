//! Why there is no credential, and what a person is told of it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::call::CallError;
use super::{aws, jws};
use dataflow_host::agent::oidc;
use dataflow_host::{files, http};
use dataflow_policy::Request;
use dataflow_types::claims::Claims;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::span::Span;

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No subject token.
    #[error("there is no token to exchange")]
    Token(#[source] oidc::Error),
    /// A token file could not be read.
    #[error("the token file cannot be read")]
    TokenFile(#[source] files::Untrusted),
    /// A token command failed.
    #[error("the token command `{program}` {problem}")]
    TokenCommand {
        /// The program.
        program: String,
        /// What happened.
        problem: String,
    },
    /// What came is no token.
    #[error("the token to exchange is one {0}")]
    UnfitToken(&'static str),
    /// AWS.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// Any other provider.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A request could not be put together.
    #[error("the request cannot be sent")]
    Request(#[from] http::Error),
    /// What it is made with is not there.
    #[error("the credential `{0}` that it is made with was not lent")]
    Source(String),
    /// What it is made with is there and of no use for it.
    #[error("the credential `{name}` that it is made with gives no {wanted}")]
    WrongSource {
        /// Which.
        name: String,
        /// What would be of use.
        wanted: &'static str,
    },
    /// A file that names a command cannot name this one.
    #[error("`{0}` has a blank or a quote in it, and a credential file cannot name a command with one")]
    Unquotable(PathBuf),
    /// The request is one for another provider.
    #[error("the request is not one for `{0}`")]
    OtherProvider(&'static str),
    /// It has no such field.
    #[error("the credential `{name}` has no field `{field}`")]
    NoField {
        /// Which.
        name: String,
        /// What was asked of it.
        field: String,
    },
    /// It has the field, and what stands in it cannot be sent.
    #[error("the field `{field}` of `{name}` {problem}: it cannot be sent so")]
    OddField {
        /// Which.
        name: String,
        /// Which of its fields.
        field: String,
        /// What is wrong with the value.
        problem: &'static str,
    },
    /// A key that signs for the client is of no use.
    #[error("the private key of `{name}` cannot be used")]
    Key {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: jws::Unusable,
    },
    /// A file with a key could not be used.
    #[error("the file of the private key is not used")]
    KeyFile(#[source] files::Untrusted),
    /// A request that makes no credential: metadata, an installation's number, a value that is read.
    #[error(transparent)]
    Beforehand(Box<Error>),
    /// It failed after something was lent, which was given back at once.
    #[error("what was lent before it failed was given back")]
    GivenBack(#[source] Box<Error>),
    /// It failed after something was lent, which could not be given back.
    #[error("what was lent before it failed could not be given back")]
    NotGivenBack(#[source] Box<Error>),
    /// What was read does not hold what was asked for.
    #[error("{problem}")]
    Value {
        /// What is missing, and where.
        problem: String,
    },
    /// It would live longer than this host allows.
    #[error("`{principal}` lives until {until}, and this host lends nothing for longer than {limit}")]
    Outlives {
        /// Who it is.
        principal: String,
        /// When it ends by itself.
        until: DateTime<Utc>,
        /// The host's limit.
        limit: Span,
    },
    /// The last try was refused, but the answer to an earlier one was lost.
    #[error("the answer to an earlier try was lost")]
    AfterLoss(#[source] Box<Error>),
    /// It failed when something had been made on the way, which lives on in nobody's hands.
    #[error("what was made on the way to it lives until {until}")]
    OnTheWay {
        /// Until when that lives.
        until: DateTime<Utc>,
        /// Why no more was made.
        source: Box<Error>,
    },
    /// One of the several requests that make one credential failed.
    #[error("it was the {name} that failed")]
    Leg {
        /// Which request.
        name: String,
        /// Whether what was asked for had been made in part by then.
        made: bool,
        /// Why it failed.
        source: Box<Error>,
    },
}

impl Error {
    /// The last error of several tries of which one was never answered.
    pub fn after_loss(last: Self) -> Self {
        if last.nothing_issued() { Self::AfterLoss(Box::new(last)) } else { last }
    }

    /// The same refusal with another hint, where a provider refused.
    pub(super) fn hinted(self, hint: String) -> Self {
        match self {
            Self::Call(CallError::Refused { host, status, mut refusal }) => {
                refusal.hint = Some(hint);
                Self::Call(CallError::Refused { host, status, refusal })
            }
            Self::AfterLoss(last) => Self::AfterLoss(Box::new(last.hinted(hint))),
            other => other,
        }
    }

    /// Whether it is certain that no credential was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Aws(error) => error.nothing_issued(),
            Self::Call(error) => error.nothing_issued(),
            Self::Token(_)
            | Self::TokenFile(_)
            | Self::TokenCommand { .. }
            | Self::UnfitToken(_)
            | Self::Request(_)
            | Self::Source(_)
            | Self::WrongSource { .. }
            | Self::Unquotable(_)
            | Self::OtherProvider(_)
            | Self::NoField { .. }
            | Self::OddField { .. }
            | Self::Key { .. }
            | Self::KeyFile(_)
            | Self::Beforehand(_)
            | Self::Value { .. }
            | Self::GivenBack(_) => true,
            Self::AfterLoss(_) | Self::NotGivenBack(_) | Self::OnTheWay { .. } | Self::Outlives { .. } => {
                false
            }
            Self::Leg { made, source, .. } => !made && source.nothing_issued(),
        }
    }

    /// Until when something lives that was made on the way and is in nobody's hands, where no more was made.
    pub fn left_until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Aws(error) => error.left_until(),
            Self::OnTheWay { until, source } if source.nothing_issued() => Some(*until),
            Self::Outlives { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Token(_) | Self::TokenFile(_) | Self::TokenCommand { .. } | Self::UnfitToken(_) => {
                "no-token".to_owned()
            }
            Self::Aws(error) => error.reason(),
            Self::Call(error) => error.reason(),
            Self::Request(_) | Self::Unquotable(_) | Self::OtherProvider(_) => "no-request".to_owned(),
            Self::Leg { source, .. } | Self::OnTheWay { source, .. } => source.reason(),
            Self::Source(_) | Self::WrongSource { .. } | Self::NoField { .. } | Self::OddField { .. } => {
                "no-source".to_owned()
            }
            Self::Key { .. } | Self::KeyFile(_) => "no-key".to_owned(),
            Self::Value { .. } => "no-value".to_owned(),
            Self::Outlives { .. } => "lifetime-over-limit".to_owned(),
            Self::Beforehand(last)
            | Self::AfterLoss(last)
            | Self::GivenBack(last)
            | Self::NotGivenBack(last) => last.reason(),
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self, request: &Request, presented: Option<&Claims>) -> Failure {
        let failure = match self {
            Self::Token(error) => error.failure(),
            Self::TokenFile(_) | Self::TokenCommand { .. } | Self::UnfitToken(_) => {
                Failure::of(Ident::NoToken, self)
            }
            Self::Aws(error) => error.failure(request),
            Self::Call(error) => error.failure(request),
            Self::Request(_) | Self::Unquotable(_) | Self::OtherProvider(_) => {
                Failure::of(Ident::BadConfiguration, self)
            }
            Self::Beforehand(error) | Self::OnTheWay { source: error, .. } => {
                return error.failure(request, presented);
            }
            Self::Source(_)
            | Self::WrongSource { .. }
            | Self::NoField { .. }
            | Self::OddField { .. }
            | Self::Key { .. }
            | Self::KeyFile(_) => Failure::of(Ident::SourceUnusable, self),
            Self::Value { .. } => Failure::of(Ident::ValueMissing, self),
            Self::Outlives { .. } => Failure::of(Ident::LifetimeOverLimit, self)
                .caused_by(vec!["rule `limits.duration` of the host config".to_owned()])
                .hinted("have the provider lend it for less (the role's own limit there), or raise `limits.duration`"),
            Self::AfterLoss(last)
            | Self::GivenBack(last)
            | Self::NotGivenBack(last)
            | Self::Leg { source: last, .. } => {
                let mut failure = last.failure(request, presented);
                failure.causes.push(self.to_string());
                return failure;
            }
        };
        match presented {
            Some(claims) if matches!(self, Self::Aws(_) | Self::Call(_)) => failure.presenting(claims),
            _ => failure,
        }
    }
}
