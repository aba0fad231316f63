//! Buildkite: a scoped API token by its own token exchange, deleted at the end.

use crate::provider::{Provider, exchanges};
use dataflow_config::buildkite::Buildkite;

mod exchange;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "buildkite";

/// Where tokens are exchanged, and the audience of an assertion wherever it is sent.
const EXCHANGE: &str = "https://buildkite.com/oauth/token";
const API: &str = "https://api.buildkite.com";
/// What a lease keeps to be settled.
const API_URL: &str = "api-url";
/// How long an assertion lives, in seconds: at most 300.
const ASSERTION_LIFE: i64 = 240;

/// One application's token.
#[derive(Debug)]
pub struct ApiToken<'a>(pub &'a Buildkite);

/// Buildkite in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired", "revoked", "revoked-inferred"],
    public_details: &[],
    own_addresses: &[API],
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(Buildkite(buildkite), request => ApiToken(buildkite)),
    settle: |lease, context| Box::pin(settle::settle(lease, context)),
};
