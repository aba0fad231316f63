//! Providers: exchange a subject token for a credential, settle its lease.
//!
//! One folder or file per provider; the matches below list them.

use std::future::Future;
use std::path::Path;

use chrono::{DateTime, Utc};

use dataflow_config::credential::ProviderRequest;
use dataflow_config::host::HostConfig;
use dataflow_host::Clock;
use dataflow_host::agent::oidc::TokenRequest;
use dataflow_host::http::Http;
use dataflow_host::retry::Backoff;
use dataflow_policy::Request;
use dataflow_types::credential::Credential;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Mask;
use dataflow_types::settlement::Settlement;

mod allowed;
mod answer;
pub mod aws;
pub mod azure;
pub mod bitbucket;
pub mod buildkite;
pub mod call;
pub mod call_error;
pub mod callback;
mod door;
pub mod error;
pub mod gcp;
pub mod github;
pub mod giving_back;
mod json;
pub mod jws;
pub mod oauth;
mod pem;
pub mod refusal;
pub mod secrets;
pub mod signer;
pub mod sigv4;
pub mod source;
pub mod token;
pub mod value;
pub mod vault;
pub mod words;

pub use error::Error;
use source::Sources;
use token::{Key, Subject};

/// What every exchange is given.
#[derive(Debug)]
pub struct Context<'a> {
    /// The host's rules.
    pub host: &'a HostConfig,
    /// The way out.
    pub http: &'a Http,
    /// What time it is.
    pub clock: &'a Clock,
    /// The job's token, where the request is made with one.
    pub subject: Option<&'a Subject>,
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

impl<'a> Context<'a> {
    /// The job's token.
    pub fn subject(&self) -> Result<&'a Subject, Error> {
        self.subject.ok_or_else(|| Error::Source("token".into()))
    }
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
    fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> impl Future<Output = Settlement>;
}

/// What every settlement is given; it ends inside the caller's deadline or is cut off.
#[derive(Debug)]
pub struct SettleContext<'a> {
    /// The host's rules.
    pub host: &'a HostConfig,
    /// The way out.
    pub http: &'a Http,
    /// What time it is.
    pub clock: &'a Clock,
}

/// Of what a settlement needs, what an operator may read in the record: they must know where to revoke it.
pub fn public_details(provider: &str) -> &'static [&'static str] {
    if provider == vault::NAME { &[vault::ADDRESS, vault::NAMESPACE, vault::LIVING] } else { &[] }
}

/// Which token of the job a request is made with, where it is made with one.
pub fn token_key(request: &Request) -> Option<Key> {
    let kind = request.ask.kind();
    let (token, audience) = kind.token()?;
    let request = TokenRequest { aws_session_tags: kind.session_tags().to_vec(), ..token.request(&audience) };
    Some(Key { from: token.from.clone(), request })
}

/// What this exchange will be called in the provider's own log.
pub fn session(request: &Request, job_id: &str) -> String {
    match &request.ask {
        ProviderRequest::Aws(aws) => {
            aws.session_name.as_ref().map_or_else(|| aws::session_name(job_id), ToString::to_string)
        }
        ProviderRequest::Gcp(gcp) => gcp.request_reason.clone().unwrap_or_default(),
        ProviderRequest::Azure(_) => String::new(),
        // Vault's log knows the accessor, and the claims that its role maps.
        ProviderRequest::Vault(_)
        | ProviderRequest::Secrets(_)
        | ProviderRequest::OAuth(_)
        | ProviderRequest::GitHub(_)
        | ProviderRequest::Bitbucket(_)
        | ProviderRequest::Buildkite(_) => job_id.to_owned(),
    }
}

/// Exchanges the job's token, or another credential, for what the request asks.
pub async fn exchange(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    let met = context.mask.part();
    let context = &Context { mask: &met, ..*context };
    let made = ask(request, session, context).await?;
    door::take(made, request, context).await
}

async fn ask(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    match &request.ask {
        ProviderRequest::Aws(aws) => {
            aws::Role { aws, name: request.callback() }.exchange(session, context).await
        }
        ProviderRequest::Gcp(gcp) => {
            gcp::Federation { gcp, name: request.name.as_deref() }.exchange(session, context).await
        }
        ProviderRequest::Azure(azure) => azure::Identity(azure).exchange(session, context).await,
        ProviderRequest::OAuth(oauth) => oauth::Client(oauth).exchange(session, context).await,
        ProviderRequest::GitHub(github) => github::Installation(github).exchange(session, context).await,
        ProviderRequest::Bitbucket(bitbucket) => {
            bitbucket::AccessToken(bitbucket).exchange(session, context).await
        }
        ProviderRequest::Buildkite(buildkite) => {
            buildkite::ApiToken(buildkite).exchange(session, context).await
        }
        ProviderRequest::Vault(vault) => vault::Login(vault).exchange(session, context).await,
        ProviderRequest::Secrets(secrets) => secrets::Reading(secrets).exchange(session, context).await,
    }
}

/// Gives a lease back, as far as its provider can. One that this version does not know is left to expire.
pub async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    if lease.expires_at > context.clock.now()
        && let Some(origin) = allowed::disallowed_origin(lease, context.host)
    {
        let reason = format!("`endpoints` in the host config does not allow `{origin}`");
        return Settlement::Failed { reason, until: lease.expires_at };
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use dataflow_types::secret::Secret;

    #[test]
    fn whoever_has_nobody_to_ask_fails_only_where_there_was_something_to_give_back() {
        let clock = Clock::System;
        let (host, http) = (HostConfig::default(), Http::new(dataflow_host::http::Network::default()));
        let context = SettleContext { host: &host, http: &http, clock: &clock };
        let word = |provider: &str, handle: Option<&str>| {
            let expires_at = clock.now() + chrono::TimeDelta::hours(1);
            let handle = handle.map(Secret::new);
            let detail = BTreeMap::new();
            let lease =
                RevocationTarget { provider: provider.to_owned(), expires_at, handle, detail, tried: false };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(settle(&lease, &context)).word()
        };
        for provider in [vault::NAME, oauth::NAME, github::NAME, bitbucket::NAME, buildkite::NAME] {
            assert_eq!(
                (word(provider, None), word(provider, Some("x"))),
                ("expires", "failed"),
                "{provider}"
            );
        }
    }
}
