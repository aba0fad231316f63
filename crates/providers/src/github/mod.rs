//! GitHub: installation tokens, through an octo-sts or a chinmina-bridge, or minted with the app's own key.

use std::time::Duration;

use url::Url;

use crate::provider::{Provider, exchanges};
use dataflow_config::github::GitHub;
use dataflow_types::span::Span;

mod app;
mod exchange;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "github";

const API: &str = "https://api.github.com";
/// How long every installation token lives.
const HOUR: Span = Span(Duration::from_hours(1));
/// What a lease keeps to be settled.
const API_URL: &str = "api-url";

/// One app's installation.
#[derive(Debug)]
pub struct Installation<'a>(pub &'a GitHub);

/// GitHub in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired", "revoked", "revoked-inferred"],
    public_details: &[],
    own_addresses: &[API],
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(GitHub(github), request => Installation(github)),
    settle: |lease, context| Box::pin(settle::settle(lease, context)),
};

fn join(base: &str, path: &str) -> Result<Url, url::ParseError> {
    Url::parse(&format!("{}{path}", base.trim_end_matches('/')))
}
