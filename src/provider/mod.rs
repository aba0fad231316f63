//! Providers: exchange a subject token for a credential, settle its lease.
//!
//! One folder or file per provider; the matches below list them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::agent::oidc;
use crate::claims::Claims;
use crate::config::credential::Ask;
use crate::config::host::HostConfig;
use crate::credential::Credential;
use crate::failure::{Class, Failure};
use crate::host::http::{self, Http};
use crate::host::retry::Backoff;
use crate::host::{Clock, files};
use crate::policy::Request;
use crate::secret::Secret;
use crate::settlement::Settlement;

pub mod aws;
pub mod call;
pub mod source;
pub mod token;

use call::CallError;
use source::Sources;
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
    /// The other credentials of the block, for those that are made with one.
    pub sources: &'a Sources,
    /// The block's private folder, where the files of its credentials will be.
    pub folder: &'a Path,
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
    fn settle(lease: &Terms, context: &Settling<'_>) -> impl Future<Output = Settlement>;
}

/// What every settlement is given; it ends inside the caller's deadline or is cut off.
#[derive(Debug)]
pub struct Settling<'a> {
    /// The host's rules.
    pub host: &'a HostConfig,
    /// The way out.
    pub http: &'a Http,
    /// What time it is.
    pub clock: &'a Clock,
}

/// What is known of a lease when it is to be settled.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Which provider lent it.
    pub provider: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// The credential's own handle, where it can be given back.
    pub handle: Option<Secret>,
    /// What else the provider needs to find it again: its address, a namespace.
    pub detail: BTreeMap<String, String>,
    /// Whether an earlier process tried to give it back and did not hear, or died before it heard: a
    /// credential that is gone was taken back by that try.
    pub tried: bool,
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
            Self::Aws(error) => error.nothing_issued(),
            Self::Call(error) => error.nothing_issued(),
            Self::Token(_)
            | Self::TokenFile(_)
            | Self::TokenCommand { .. }
            | Self::Request(_)
            | Self::Source(_)
            | Self::WrongSource { .. } => true,
            Self::AfterLoss(_) => false,
        }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Token(_) | Self::TokenFile(_) | Self::TokenCommand { .. } => "no-token".to_owned(),
            Self::Aws(error) => error.reason(),
            Self::Call(error) => error.reason(),
            Self::Request(_) => "no-request".to_owned(),
            Self::Source(_) | Self::WrongSource { .. } => "no-source".to_owned(),
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
            Self::Call(error) => error.failure(request),
            Self::Request(_) => Failure::of("bad-configuration", Class::Configuration, self),
            Self::Source(_) | Self::WrongSource { .. } => {
                Failure::of("source-unusable", Class::Configuration, self)
            }
            Self::AfterLoss(last) => {
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

/// The token that a request needs, where it is one of the job's.
pub fn token_key(request: &Request) -> Option<Key> {
    let (token, audience) = request.ask.kind().token()?;
    Some(Key { from: token.from.clone(), shape: token.shape(&audience) })
}

/// What this exchange will be called in the provider's own log.
pub fn session(request: &Request, job_id: &str) -> String {
    match &request.ask {
        Ask::Aws(aws) => {
            aws.session_name.as_ref().map_or_else(|| aws::session_name(job_id), ToString::to_string)
        }
    }
}

/// Exchanges the job's token, or another credential, for what the request asks.
pub async fn exchange(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    match &request.ask {
        Ask::Aws(aws) => aws::Role(aws).exchange(session, context).await,
    }
}

/// Gives a lease back, as far as its provider can. One that this version does not know is left to expire.
pub async fn settle(lease: &Terms, context: &Settling<'_>) -> Settlement {
    match lease.provider.as_str() {
        aws::NAME => aws::Role::settle(lease, context).await,
        other => Settlement::Failed {
            reason: format!("this version knows no provider `{other}`"),
            until: lease.expires_at,
        },
    }
}
