//! Giving a credential back: requests that may be sent twice, for taking back what is gone already does no harm.

use std::time::Duration;

use url::Url;

use super::SettleContext;
use dataflow_host::http::{Error, Method, Request, Response, StatusCode};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

/// The longest that one request may take; two of them fit into the usual deadline.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// What a provider answered.
#[derive(Debug)]
pub struct RevokeAnswer {
    /// Its answer.
    pub response: Response,
    /// Whether an earlier try was not answered, and may have worked.
    pub lost: bool,
}

/// Sends a request, and once more where no whole answer came or the provider was busy. An error is a reason.
pub async fn send(
    context: &SettleContext<'_>,
    make: impl Fn() -> Result<Request, Error>,
) -> Result<RevokeAnswer, String> {
    let mut lost = false;
    loop {
        let request = make().map_err(|error| error.to_string())?;
        match context.http.send(request).await {
            Ok(response) if response.status.is_server_error() && !lost => lost = true,
            Ok(response) => return Ok(RevokeAnswer { response, lost }),
            Err(error) if error.is_transient() && !lost => lost = true,
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl RevokeAnswer {
    /// The reason why this answer settles nothing.
    pub fn reason(&self, host: &str) -> String {
        format!("`{host}` answered {}", self.response.status)
    }
}

/// Has a token delete itself: 204 is a confirmation, 401 says that it was gone.
pub async fn delete_itself(
    lease: &RevocationTarget,
    context: &SettleContext<'_>,
    url: Option<Url>,
    accept: &str,
) -> Settlement {
    if lease.expires_at <= context.clock.now() {
        return Settlement::AlreadyExpired { at: lease.expires_at };
    }
    let (Some(token), Some(url)) = (&lease.handle, url) else {
        return lease.without_a_way_back();
    };
    let make = || {
        Request::new(Method::DELETE, url.clone(), TIMEOUT).header("accept", accept)?.secret_header(
            "authorization",
            "Bearer ",
            token,
        )
    };
    let gone = [StatusCode::UNAUTHORIZED];
    outcome(send(context, make).await, &gone, &url, lease, context)
}

/// What an answer to a DELETE means, where these statuses say that there is nothing to delete.
pub fn outcome(
    given: Result<RevokeAnswer, String>,
    gone: &[StatusCode],
    url: &Url,
    lease: &RevocationTarget,
    context: &SettleContext<'_>,
) -> Settlement {
    let at = context.clock.now();
    match given {
        Ok(given) if given.response.status == StatusCode::NO_CONTENT => Settlement::Revoked { at },
        Ok(given) if (given.lost || lease.tried) && gone.contains(&given.response.status) => {
            Settlement::RevokedInferred { at }
        }
        Ok(given) if gone.contains(&given.response.status) => Settlement::AlreadyExpired { at },
        Ok(given) => {
            let reason = given.reason(url.host_str().unwrap_or_default());
            Settlement::Failed { reason, until: lease.expires_at }
        }
        Err(reason) => Settlement::Failed { reason, until: lease.expires_at },
    }
}
