//! Providers: exchange a subject token for a credential, settle its lease.
//!
//! One folder per provider, with the same names in each: `exchange`, `settle`, `refusal`. The registry lists them.

use std::path::Path;

use chrono::{DateTime, Utc};

use dataflow_config::host::HostConfig;
use dataflow_host::Clock;
use dataflow_host::agent::oidc::TokenRequest;
use dataflow_host::http::Http;
use dataflow_host::retry::Backoff;
use dataflow_policy::Request;
use dataflow_types::secret::Mask;

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
mod provider;
pub mod refusal;
pub mod registry;
pub mod secrets;
pub mod signer;
pub mod sigv4;
pub mod source;
pub mod token;
pub mod value;
pub mod vault;

pub use error::Error;
pub use provider::{Pending, Provider};
pub use registry::{can_report, exchange, public_details, session, settle};
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

/// Which token of the job a request is made with, where it is made with one.
pub fn token_key(request: &Request) -> Option<Key> {
    let kind = request.ask.kind();
    let (token, audience) = kind.token()?;
    let request = TokenRequest { aws_session_tags: kind.session_tags().to_vec(), ..token.request(&audience) };
    Some(Key { from: token.from.clone(), request })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use dataflow_types::revocation::RevocationTarget;
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
