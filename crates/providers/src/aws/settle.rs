//! The settlement: STS takes no session back, but a session's own policy may end it.

use chrono::{DateTime, Utc};

use super::DEADLINE;
use crate::SettleContext;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Says when the session ends, or that it has ended.
pub(super) fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    let deadline = lease.detail.get(DEADLINE).and_then(|at| at.parse::<DateTime<Utc>>().ok());
    if let Some(at) = deadline {
        return Settlement::Bounded { at };
    }
    if lease.expires_at <= context.clock.now() {
        return Settlement::AlreadyExpired { at: lease.expires_at };
    }
    Settlement::Expires { at: lease.expires_at }
}
