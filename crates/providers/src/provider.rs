//! One entry of the registry: what this program knows of a provider, and its two verbs.

use std::fmt;
use std::pin::Pin;

use dataflow_policy::Request;
use dataflow_types::credential::Credential;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

use crate::{Context, Error, SettleContext, allowed};

/// What one of a provider's two verbs returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One provider.
pub struct Provider {
    /// Its name in configurations and records.
    pub name: &'static str,
    /// The settlements that it can report, by their words. Those that are no provider's word need no entry.
    pub settlements: &'static [&'static str],
    /// Of what a settlement needs, what an operator may read in the record: they must know where to revoke it.
    pub public_details: &'static [&'static str],
    /// Addresses of its own that take credentials back: no host config must name them.
    pub own_addresses: &'static [&'static str],
    /// What an exchange is called in the provider's own log, by the request and the job's id.
    pub session: fn(&Request, &str) -> String,
    /// Exchanges the job's token, or another credential, for what the request asks. The text is the session's name.
    pub exchange: for<'a> fn(&'a Request, &'a str, &'a Context<'a>) -> Pending<'a, Result<Credential, Error>>,
    /// Gives a lease back, as far as this provider can.
    pub settle: for<'a> fn(&'a RevocationTarget, &'a SettleContext<'a>) -> Pending<'a, Settlement>,
}

/// The exchange of an entry: of a request for this provider's own block, and of no other.
macro_rules! exchanges {
    ($variant:ident($block:ident), $request:ident => $asked:expr) => {
        |$request, session, context| {
            Box::pin(async move {
                match &$request.ask {
                    dataflow_config::credential::ProviderRequest::$variant($block) => {
                        $asked.exchange(session, context).await
                    }
                    _ => Err($crate::Error::OtherProvider(NAME)),
                }
            })
        }
    };
}
pub(crate) use exchanges;

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider {
    /// Gives a lease back, where the host config allows the addresses that the lease names.
    pub async fn give_back(&self, lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
        if lease.expires_at > context.clock.now()
            && let Some(origin) = allowed::disallowed_origin(lease, context.host, self.own_addresses)
        {
            let reason = format!("`endpoints` in the host config does not allow `{origin}`");
            return Settlement::Failed { reason, until: lease.expires_at };
        }
        (self.settle)(lease, context).await
    }

    /// Whether a settlement can have come of this provider. What could not be done, or was left, can come of each.
    pub fn can_report(&self, settlement: &Settlement) -> bool {
        is_of_each(settlement) || self.settlements.contains(&settlement.word())
    }
}

/// Whether a settlement can have come of any provider.
pub(crate) fn is_of_each(settlement: &Settlement) -> bool {
    ["failed", "left", "unknown", "not-issued"].contains(&settlement.word())
}
