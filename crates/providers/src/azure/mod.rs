//! Azure: the job's token as a client assertion (RFC 7523) at Entra's `oauth2/v2.0/token`.
//!
//! Entra takes no access token back: the lease settles as `expires`.

use std::future::ready;

use crate::provider::{Provider, exchanges};
use dataflow_config::azure::Azure;

mod exchange;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "azure";

/// The name of the folder in which `az` keeps its configuration.
const CONFIG: &str = "azure-config";

/// One identity that a step asks for.
#[derive(Debug)]
pub struct Identity<'a>(pub &'a Azure);

/// Azure in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired"],
    public_details: &[],
    own_addresses: &[],
    session: |_, _| String::new(),
    exchange: exchanges!(Azure(azure), request => Identity(azure)),
    settle: |lease, context| Box::pin(ready(settle::settle(lease, context))),
};
