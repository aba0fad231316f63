//! HashiCorp Vault and OpenBao: a login by the method `jwt`, and what it may read (Vault's HTTP API, `v1`).
//!
//! At the end the login gives itself back (`auth/token/revoke-self`): with it go its children and every
//! lease of a dynamic engine. What has no lease lives on, and the settlement says so.

use crate::provider::{Provider, exchanges};
use dataflow_config::vault::Vault;

pub mod accessor;
mod exchange;
mod place;
mod read;
mod refusal;
mod settle;
mod transit;

pub(crate) use read::stored;
pub(crate) use transit::sign;

/// The provider's name in configurations and records.
pub const NAME: &str = "vault";

/// What a record has in place of an accessor where there is none: a batch token.
pub const NO_ACCESSOR: &str = "batch";

/// Where it is: of what is kept for the settlement, this stands in the record too.
pub const ADDRESS: &str = "address";
/// Its namespace, likewise.
pub const NAMESPACE: &str = "namespace";
/// The paths of what was read with it and lives on, likewise, one a line.
pub const LIVING: &str = "living";

const JSON: &str = "application/json";

/// One login that a step asks for.
#[derive(Debug)]
pub struct Login<'a>(pub &'a Vault);

/// Vault in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired", "revoked", "revoked-inferred", "revoked-in-part", "stored"],
    public_details: &[ADDRESS, NAMESPACE, LIVING],
    own_addresses: &[],
    // The log of Vault holds the accessor, and the claims that its role maps.
    session: |_, job_id| job_id.to_owned(),
    exchange: exchanges!(Vault(vault), request => Login(vault)),
    settle: |lease, context| Box::pin(settle::settle(lease, context)),
};
