//! Secrets managers: values that are stored, read with another credential of the block.
//!
//! Nothing is made, and so nothing can be given back: at the end the record says `stored`.

use std::future::ready;

use crate::provider::{Provider, exchanges};
use dataflow_config::secrets::Secrets;

mod aws;
mod bearer;
mod exchange;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "secrets";

/// Where the lease says what was read.
const LIVING: &str = "living";

/// The values of one store that a step asks for.
#[derive(Debug)]
pub struct Reading<'a>(pub &'a Secrets);

/// Secrets managers in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["stored"],
    public_details: &[],
    own_addresses: &[],
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(Secrets(secrets), request => Reading(secrets)),
    settle: |lease, context| Box::pin(ready(settle::settle(lease, context))),
};
