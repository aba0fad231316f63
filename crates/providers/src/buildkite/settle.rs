//! The settlement: a token deletes itself.

use url::Url;

use super::API_URL;
use crate::{SettleContext, giving_back};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Has the token delete itself.
pub(super) async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    let api = lease.detail.get(API_URL);
    let url = api.and_then(|api| Url::parse(&format!("{}/v2/access-token", api.trim_end_matches('/'))).ok());
    giving_back::delete_itself(lease, context, url, "application/json").await
}
