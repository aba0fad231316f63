//! OAuth 2.0: any server's token endpoint, asked with the job's token, a client's secret or a client's key.

use chrono::TimeDelta;

use crate::provider::{Provider, exchanges};
use dataflow_config::oauth::OAuth;

mod discovery;
mod exchange;
pub(crate) mod refusal;
mod settle;
pub mod wire;

/// The provider's name in configurations and records.
pub const NAME: &str = "oauth";

/// How long an assertion of ours is believed that is sent at once.
const ASSERTION_LIFE: TimeDelta = TimeDelta::minutes(5);

/// One client of one server.
#[derive(Debug)]
pub struct Client<'a>(pub &'a OAuth);

/// OAuth 2.0 in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired", "revoked", "revoke-accepted"],
    public_details: &[],
    own_addresses: &[],
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(OAuth(oauth), request => Client(oauth)),
    settle: |lease, context| Box::pin(settle::settle(lease, context)),
};
