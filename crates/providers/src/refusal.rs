//! What a provider said instead of giving a credential, in the words that all providers share.

use dataflow_host::http::StatusCode;

/// What a provider said instead of giving a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its own code; the HTTP status where it has none.
    pub code: String,
    /// Its own words, shortened; no secret.
    pub message: String,
    /// What is to be done about it.
    pub remedy: Remedy,
    /// What a person should do.
    pub hint: Option<String>,
}

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask again later: busy, throttled, a fault of the server's.
    Wait,
    /// Ask again with a fresh token: this one's time was wrong.
    FreshToken,
    /// The token is not what the provider's trust expects: its claims belong into the message.
    OtherToken,
    /// Ask for something else: the role, the path, the permission is wrong.
    Stop,
}

impl Refusal {
    /// A refusal known by nothing but its status.
    pub fn by_status(status: StatusCode) -> Self {
        let remedy = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Remedy::Wait,
            status if status.is_server_error() => Remedy::Wait,
            StatusCode::UNAUTHORIZED => Remedy::OtherToken,
            _ => Remedy::Stop,
        };
        Self { code: status.as_u16().to_string(), message: String::new(), remedy, hint: None }
    }
}
