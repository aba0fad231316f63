//! The settlement: a token deletes itself.

use super::{API_URL, join};
use crate::{SettleContext, giving_back};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Has the token delete itself.
pub(super) async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    let url = lease.detail.get(API_URL).and_then(|api| join(api, "/installation/token").ok());
    giving_back::delete_itself(lease, context, url, "application/vnd.github+json").await
}
