//! Bitbucket: Cloud by an OAuth consumer, Data Center by an HTTP access token that is made for the step.

use std::time::Duration;

use crate::provider::{Provider, exchanges};
use dataflow_config::bitbucket::Bitbucket;
use dataflow_types::span::Span;

mod exchange;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "bitbucket";

const CLOUD: &str = "https://bitbucket.org/site/oauth2/access_token";
/// How long Cloud's tokens live where it does not say.
const CLOUD_LIFE: Span = Span(Duration::from_hours(2));
/// What a lease keeps to be settled.
const TOKEN_URL: &str = "token-url";

/// A token of Bitbucket.
#[derive(Debug)]
pub struct AccessToken<'a>(pub &'a Bitbucket);

/// Bitbucket in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired", "revoked", "revoked-inferred"],
    public_details: &[],
    own_addresses: &[],
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(Bitbucket(bitbucket), request => AccessToken(bitbucket)),
    settle: |lease, context| Box::pin(settle::settle(lease, context)),
};
