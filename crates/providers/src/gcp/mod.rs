//! Google Cloud: the job's token for a federated one (`sts.googleapis.com`, `v1/token`), that one for a service
//! account's (`iamcredentials.googleapis.com`, v1).
//!
//! Google takes neither back: they live until they end, and the lease settles as `expires`.

use std::future::ready;
use std::time::Duration;

use crate::Error;
use crate::call::CallError;
use crate::provider::{Provider, exchanges};
use dataflow_config::credential::ProviderRequest;
use dataflow_config::gcp::Gcp;
use dataflow_types::span::Span;

mod delegation;
mod exchange;
mod file;
mod hand_over;
mod refusal;
mod settle;

/// The provider's name in configurations and records.
pub const NAME: &str = "gcp";

/// How long a token lives where Google does not say.
const HOUR: Span = Span(Duration::from_hours(1));

/// One identity that a step asks for.
#[derive(Debug)]
pub struct Federation<'a> {
    /// Which.
    pub gcp: &'a Gcp,
    /// What callbacks ask for it by.
    pub name: Option<&'a str>,
}

/// Google Cloud in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "already-expired"],
    public_details: &[],
    own_addresses: &[],
    session: |request, _| match &request.ask {
        ProviderRequest::Gcp(gcp) => gcp.request_reason.clone().unwrap_or_default(),
        _ => String::new(),
    },
    exchange: exchanges!(Gcp(gcp), request => Federation { gcp, name: request.name.as_deref() }),
    settle: |lease, context| Box::pin(ready(settle::settle(lease, context))),
};

fn no_url(host: &str) -> Error {
    Error::Call(CallError::Malformed { host: host.to_owned(), problem: "has no URL".to_owned() })
}
