//! The settlement: values were read, and what was read lives on in its store.

use super::LIVING;
use crate::SettleContext;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Says what was read and lives on.
pub(super) fn settle(lease: &RevocationTarget, _: &SettleContext<'_>) -> Settlement {
    let living = lease.detail.get(LIVING).map(|names| names.lines().map(str::to_owned).collect());
    Settlement::Stored { living: living.unwrap_or_default() }
}
