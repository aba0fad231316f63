//! Providers: exchange a subject token for a credential, settle its lease.
//!
//! One folder or file per provider; the matches below list them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::agent::oidc::{self, Shape};
use crate::claims::Claims;
use crate::config::credential::{Ask, Kind};
use crate::config::host::HostConfig;
use crate::credential::Credential;
use crate::failure::{Class, Failure};
use crate::host::http::{self, Http};
use crate::host::retry::Backoff;
use crate::host::{Clock, files};
use crate::policy::Request;
use crate::secret::{Mask, Secret};
use crate::settlement::Settlement;

pub mod aws;
pub mod azure;
pub mod bitbucket;
pub mod buildkite;
pub mod call;
pub mod callback;
pub mod gcp;
pub mod github;
pub mod giving_back;
pub mod jws;
pub mod oauth;
pub mod secrets;
pub mod source;
pub mod token;
pub mod value;
pub mod vault;

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
    /// This program, for whoever is told to call it back ([`callback::line`]).
    pub program: &'a Path,
    /// What a server's words must not show: they may repeat what they were sent.
    pub mask: &'a Mask,
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

impl Terms {
    /// What becomes of a credential that nobody can take back.
    fn runs_out(&self, now: DateTime<Utc>) -> Settlement {
        let at = self.expires_at;
        if at <= now { Settlement::AlreadyExpired { at } } else { Settlement::Expires { at } }
    }
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
    /// A file that names a command cannot name this one.
    #[error("`{0}` has a blank or a quote in it, and a credential file cannot name a command with one")]
    Unquotable(PathBuf),
    /// It has no such field.
    #[error("the credential `{name}` has no field `{field}`")]
    NoField {
        /// Which.
        name: String,
        /// What was asked of it.
        field: String,
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
    /// The last try was refused, but the answer to an earlier one was lost.
    #[error("the answer to an earlier try was lost")]
    AfterLoss(#[source] Box<Error>),
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
            | Self::WrongSource { .. }
            | Self::Unquotable(_)
            | Self::NoField { .. }
            | Self::Key { .. }
            | Self::Beforehand(_)
            | Self::Value { .. }
            | Self::GivenBack(_) => true,
            Self::AfterLoss(_) | Self::NotGivenBack(_) => false,
            Self::Leg { made, source, .. } => !made && source.nothing_issued(),
        }
    }

    /// Until when something lives that was made on the way and is in nobody's hands, where no more was made.
    pub fn left_until(&self) -> Option<DateTime<Utc>> {
        if let Self::Aws(error) = self { error.left_until() } else { None }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Token(_) | Self::TokenFile(_) | Self::TokenCommand { .. } => "no-token".to_owned(),
            Self::Aws(error) => error.reason(),
            Self::Call(error) => error.reason(),
            Self::Request(_) | Self::Unquotable(_) => "no-request".to_owned(),
            Self::Leg { source, .. } => source.reason(),
            Self::Source(_) | Self::WrongSource { .. } | Self::NoField { .. } => "no-source".to_owned(),
            Self::Key { .. } => "no-key".to_owned(),
            Self::Value { .. } => "no-value".to_owned(),
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
            Self::TokenFile(_) | Self::TokenCommand { .. } => {
                Failure::of("no-token", Class::Configuration, self)
            }
            Self::Aws(error) => error.failure(request),
            Self::Call(error) => error.failure(request),
            Self::Request(_) | Self::Unquotable(_) => {
                Failure::of("bad-configuration", Class::Configuration, self)
            }
            Self::Beforehand(error) => return error.failure(request, presented),
            Self::Source(_) | Self::WrongSource { .. } | Self::NoField { .. } | Self::Key { .. } => {
                Failure::of("source-unusable", Class::Configuration, self)
            }
            Self::Value { .. } => Failure::of("value-missing", Class::Refused, self),
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

/// The token that a request needs, where it is one of the job's.
pub fn token_key(request: &Request) -> Option<Key> {
    key_of(request.ask.kind())
}

/// The same for whatever is asked for.
pub(crate) fn key_of(kind: &dyn Kind) -> Option<Key> {
    let (token, audience) = kind.token()?;
    let shape = Shape { aws_session_tags: kind.session_tags().to_vec(), ..token.shape(&audience) };
    Some(Key { from: token.from.clone(), shape })
}

/// What this exchange will be called in the provider's own log.
pub fn session(request: &Request, job_id: &str) -> String {
    match &request.ask {
        Ask::Aws(aws) => {
            aws.session_name.as_ref().map_or_else(|| aws::session_name(job_id), ToString::to_string)
        }
        Ask::Gcp(gcp) => gcp.request_reason.clone().unwrap_or_default(),
        Ask::Azure(_) => String::new(),
        // Vault's log knows the accessor, and the claims that its role maps.
        Ask::Vault(_)
        | Ask::Secrets(_)
        | Ask::OAuth(_)
        | Ask::GitHub(_)
        | Ask::Bitbucket(_)
        | Ask::Buildkite(_) => job_id.to_owned(),
    }
}

/// Exchanges the job's token, or another credential, for what the request asks.
pub async fn exchange(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    match &request.ask {
        Ask::Aws(aws) => aws::Role { aws, name: request.callback() }.exchange(session, context).await,
        Ask::Gcp(gcp) => {
            gcp::Federation { gcp, name: request.name.as_deref() }.exchange(session, context).await
        }
        Ask::Azure(azure) => azure::Identity(azure).exchange(session, context).await,
        Ask::OAuth(oauth) => oauth::Client(oauth).exchange(session, context).await,
        Ask::GitHub(github) => github::Installation(github).exchange(session, context).await,
        Ask::Bitbucket(bitbucket) => bitbucket::AccessToken(bitbucket).exchange(session, context).await,
        Ask::Buildkite(buildkite) => buildkite::ApiToken(buildkite).exchange(session, context).await,
        Ask::Vault(vault) => vault::Login(vault).exchange(session, context).await,
        Ask::Secrets(secrets) => secrets::Reading(secrets).exchange(session, context).await,
    }
}

/// Gives a lease back, as far as its provider can. One that this version does not know is left to expire.
pub async fn settle(lease: &Terms, context: &Settling<'_>) -> Settlement {
    match lease.provider.as_str() {
        aws::NAME => aws::Role::settle(lease, context).await,
        gcp::NAME => gcp::Federation::settle(lease, context).await,
        azure::NAME => azure::Identity::settle(lease, context).await,
        oauth::NAME => oauth::Client::settle(lease, context).await,
        github::NAME => github::Installation::settle(lease, context).await,
        bitbucket::NAME => bitbucket::AccessToken::settle(lease, context).await,
        buildkite::NAME => buildkite::ApiToken::settle(lease, context).await,
        vault::NAME => vault::Login::settle(lease, context).await,
        secrets::NAME => secrets::Reading::settle(lease, context).await,
        other => Settlement::Failed {
            reason: format!("this version knows no provider `{other}`"),
            until: lease.expires_at,
        },
    }
}
