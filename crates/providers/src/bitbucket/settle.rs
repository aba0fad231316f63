//! The settlement: Data Center deletes a token for its administrator; Cloud takes none back.

use url::Url;

use super::TOKEN_URL;
use crate::{SettleContext, giving_back};
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// Has the token deleted by the credential that made it.
pub(super) async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    if lease.expires_at <= context.clock.now() {
        return Settlement::AlreadyExpired { at: lease.expires_at };
    }
    let url = lease.detail.get(TOKEN_URL).and_then(|url| Url::parse(url).ok());
    let (Some(admin), Some(url)) = (&lease.handle, url) else {
        return lease.without_a_way_back();
    };
    let make = || {
        Request::new(Method::DELETE, url.clone(), giving_back::TIMEOUT).secret_header(
            "authorization",
            "",
            admin,
        )
    };
    let gone = [StatusCode::NOT_FOUND];
    giving_back::outcome(giving_back::send(context, make).await, &gone, &url, lease, context)
}
