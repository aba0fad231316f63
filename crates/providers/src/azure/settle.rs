//! The settlement: tokens that no request takes back live until they end.

use crate::SettleContext;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Says whether the lease has ended.
pub(super) fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    lease.runs_out(context.clock.now())
}
