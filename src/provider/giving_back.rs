//! Giving a credential back: requests that may be sent twice, for taking back what is gone already does no harm.

use std::time::Duration;

use super::Settling;
use crate::host::http::{Error, Request, Response};

/// The longest that one request may take; two of them fit into the usual deadline.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// What a provider answered.
#[derive(Debug)]
pub struct Given {
    /// Its answer.
    pub response: Response,
    /// Whether an earlier try was not answered, and may have worked.
    pub lost: bool,
}

/// Sends a request, and once more where no whole answer came or the provider was busy. An error is a reason.
pub async fn send(
    context: &Settling<'_>,
    make: impl Fn() -> Result<Request, Error>,
) -> Result<Given, String> {
    let mut lost = false;
    loop {
        let request = make().map_err(|error| error.to_string())?;
        match context.http.send(request).await {
            Ok(response) if response.status.is_server_error() && !lost => lost = true,
            Ok(response) => return Ok(Given { response, lost }),
            Err(error) if error.is_transient() && !lost => lost = true,
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Given {
    /// The reason why this answer settles nothing.
    pub fn reason(&self, host: &str) -> String {
        format!("`{host}` answered {}", self.response.status)
    }
}
