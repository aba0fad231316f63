//! Providers: exchange a subject token for a credential, settle its lease.
//!
//! One folder or file per provider; the two matches below list them.

use std::future::Future;

use chrono::{DateTime, Utc};

use crate::agent::oidc;
use crate::claims::Claims;
use crate::config::host::HostConfig;
use crate::credential::Credential;
use crate::failure::{Class, Failure};
use crate::host::http::Http;
use crate::host::retry::Backoff;
use crate::host::{Clock, files};
use crate::policy::{Ask, Request};
use crate::settlement::Settlement;
use crate::span::Span;

pub mod aws;
pub mod token;

use token::{Key, Tokens};

/// What every exchange is given.
#[derive(Debug)]
pub struct Context<'a> {
    /// The host's rules.
    pub host: &'a HostConfig,
    /// The way out.
    pub http: &'a Http,
    /// What time it is.
    pub clock: &'a Clock,
    /// The job's tokens, one per distinct shape.
    pub tokens: &'a Tokens,
    /// How tries are spaced.
    pub backoff: Backoff,
    /// When the step has waited long enough.
    pub until: DateTime<Utc>,
}

/// The two verbs of a provider.
pub trait Provider {
    /// Exchanges the job's token for a credential; `session` names this one exchange in the provider's log.
    fn exchange(
        &self,
        session: &str,
        context: &Context<'_>,
    ) -> impl Future<Output = Result<Credential, Error>>;

    /// Gives a lease back, as far as this provider can.
    fn settle(lease: &Terms, now: DateTime<Utc>) -> impl Future<Output = Settlement>;
}

/// What is known of a lease when it is to be settled.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Which provider lent it.
    pub provider: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

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
    /// AWS.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// The last try was refused, but the answer to an earlier one was lost.
    #[error("the answer to an earlier try was lost")]
    AfterLoss(#[source] Box<Error>),
}

impl Error {
    /// The last error of several tries of which one was never answered.
    pub(crate) fn after_loss(last: Self) -> Self {
        if last.nothing_issued() { Self::AfterLoss(Box::new(last)) } else { last }
    }

    /// Whether it is certain that no credential was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Token(_) | Self::TokenFile(_) | Self::TokenCommand { .. } => true,
            Self::Aws(error) => error.nothing_issued(),
            Self::AfterLoss(_) => false,
        }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Token(_) | Self::TokenFile(_) | Self::TokenCommand { .. } => "no-token".to_owned(),
            Self::Aws(error) => error.reason(),
            Self::AfterLoss(last) => last.reason(),
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self, request: &Request, presented: Option<&Claims>) -> Failure {
        let failure = match self {
            Self::Token(error) => error.failure(),
            Self::TokenFile(_) | Self::TokenCommand { .. } => {
                Failure::of("no-token", Class::Configuration, self)
            }
            Self::Aws(error) => error.failure(request),
            Self::AfterLoss(last) => {
                let mut failure = last.failure(request, presented);
                failure.causes.push(self.to_string());
                return failure;
            }
        };
        match presented {
            Some(claims) if matches!(self, Self::Aws(_)) => failure.presenting(claims),
            _ => failure,
        }
    }
}

/// The token that a request needs.
pub fn token_key(request: &Request) -> Key {
    match &request.ask {
        Ask::Aws(aws) => {
            let audience = aws.role.partition().audience();
            Key { from: aws.token.from.clone(), shape: aws.token.shape(audience) }
        }
    }
}

/// How long what is asked for will live.
pub fn duration(request: &Request, host: &HostConfig) -> Span {
    match &request.ask {
        Ask::Aws(aws) => crate::policy::duration(aws, host),
    }
}

/// The provider's name and whom it is asked to make of the step, for the record and the log.
pub fn described(request: &Request) -> (&'static str, String) {
    match &request.ask {
        Ask::Aws(aws) => (aws::NAME, aws.role.to_string()),
    }
}

/// What this exchange will be called in the provider's own log.
pub fn session(request: &Request, job_id: &str) -> String {
    match &request.ask {
        Ask::Aws(aws) => {
            aws.session_name.as_ref().map_or_else(|| aws::session_name(job_id), ToString::to_string)
        }
    }
}

/// Exchanges the job's token for what the request asks.
pub async fn exchange(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    match &request.ask {
        Ask::Aws(aws) => aws::Role(aws).exchange(session, context).await,
    }
}

/// Gives a lease back, as far as its provider can. A provider that this version does not know is left to expire.
pub async fn settle(lease: &Terms, now: DateTime<Utc>) -> Settlement {
    match lease.provider.as_str() {
        aws::NAME => aws::Role::settle(lease, now).await,
        other => Settlement::Failed {
            reason: format!("this version knows no provider `{other}`"),
            until: lease.expires_at,
        },
    }
}
