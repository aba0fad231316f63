//! One call of a provider's HTTP API: tried again by the class of its error, its answer read with care.
//!
//! AWS's STS has the SDK for this; every other provider speaks JSON over HTTPS and comes here.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

pub use super::answer::Answer;
use super::json;
use super::{Context, Error};
use dataflow_host::http::{self, Request, StatusCode};
use dataflow_host::retry::{Verdict, retry, retry_after};
use dataflow_policy as policy;
use dataflow_types::failure::{Class, Failure};

/// The longest that one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

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

/// Why a provider gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It said no.
    #[error("`{host}` answered {status} `{}`{}", .refusal.code, said(&.refusal.message))]
    Refused {
        /// Which host.
        host: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        refusal: Refusal,
    },
    /// It answered something that this program cannot read, or must not believe.
    #[error("`{host}` {problem}")]
    Malformed {
        /// Which host.
        host: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// It gave no whole answer.
    #[error("there is no answer")]
    Unreachable(#[from] http::Error),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl CallError {
    /// Whether it is certain that no credential was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !status.is_server_error(),
            // An answer that is not read may have held a credential.
            Self::Malformed { .. }
            | Self::Unreachable(http::Error::TooLong { .. } | http::Error::Encoding { .. }) => false,
            // A host that was never reached made nothing, but the client cannot always tell.
            Self::Unreachable(error) => !error.is_transient(),
        }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { refusal, .. } => refusal.code.clone(),
            Self::Malformed { .. } => "malformed-answer".to_owned(),
            Self::Unreachable(http::Error::Identity { .. } | http::Error::Unwelcome { .. }) => {
                "client-certificate".to_owned()
            }
            Self::Unreachable(error) if error.is_answer() => "malformed-answer".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
        }
    }

    /// Whether the same call may go better later.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { refusal, .. } if matches!(refusal.remedy, Remedy::Wait | Remedy::FreshToken) => {
                Verdict::Again
            }
            Self::Unreachable(error) if error.is_transient() => Verdict::Again,
            _ => Verdict::Stop,
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self, request: &policy::Request) -> Failure {
        let kind = request.ask.kind();
        let (provider, target) = (kind.provider(), kind.target());
        let (ident, class, what) = match self {
            Self::Refused { refusal, .. } => match refusal.remedy {
                Remedy::Wait => {
                    ("provider-busy", Class::Unreachable, format!("{provider} could not lend `{target}` now"))
                }
                Remedy::FreshToken | Remedy::OtherToken => (
                    "token-rejected",
                    Class::Refused,
                    format!("{provider} did not accept this job's token for `{target}`"),
                ),
                Remedy::Stop => {
                    ("provider-refused", Class::Refused, format!("{provider} refused to lend `{target}`"))
                }
            },
            Self::Malformed { .. } => (
                "provider-malformed",
                Class::Refused,
                format!("no usable answer of {provider} came for `{target}`"),
            ),
            Self::Unreachable(error) if error.is_answer() => (
                "provider-malformed",
                Class::Refused,
                format!("no usable answer of {provider} came for `{target}`"),
            ),
            Self::Unreachable(http::Error::Identity { .. }) => (
                "client-certificate-unusable",
                Class::Configuration,
                format!("{provider} was not asked for `{target}`"),
            ),
            Self::Unreachable(http::Error::Unwelcome { .. }) => (
                "client-certificate-refused",
                Class::Refused,
                format!("{provider} does not speak to this host for `{target}`"),
            ),
            Self::Unreachable(_) => (
                "provider-unreachable",
                Class::Unreachable,
                format!("{provider} could not be asked for `{target}`"),
            ),
        };
        let mut failure = Failure::of(ident, class, self);
        failure.causes.insert(0, std::mem::replace(&mut failure.what, what));
        failure.hint = match self {
            Self::Refused { refusal, .. } => refusal.hint.clone(),
            Self::Malformed { .. } => None,
            Self::Unreachable(error) => Some(error.hint()),
        };
        failure
    }
}

/// Sends what `make` makes until it is answered well, refused for good, or out of time. `make` is told
/// whether a token that nobody used before is wanted.
pub async fn call<F, Fut>(
    context: &Context<'_>,
    explain: impl Fn(StatusCode, &[u8]) -> Refusal,
    make: F,
) -> Result<Answer, Error>
where
    F: Fn(bool) -> Fut,
    Fut: Future<Output = Result<Request, Error>>,
{
    let (fresh, lost, later) = (Cell::new(false), Cell::new(false), Cell::new(None));
    let attempt = |_| async {
        let request = make(fresh.replace(false)).await?.within(context.clock.left(context.until));
        let host = request.host();
        request.hide_in(context.mask);
        let answered = context.http.send(request).await.map_err(CallError::from);
        let answered = answered.and_then(|response| {
            if response.status.is_success() {
                return Ok(Answer { host: host.clone(), response, lost: false });
            }
            let status = response.status;
            let header = response.headers.get("retry-after").and_then(|value| value.to_str().ok());
            later.set(header.and_then(|value| retry_after(value, context.clock.now())));
            // Before anybody cuts it short: half a secret would not be known for one.
            let said = context.mask.apply_to_answer(json::text(response.body.bytes()).as_bytes());
            Err(CallError::Refused { host, status, refusal: explain(status, said.as_bytes()) })
        });
        answered.map_err(|error| {
            fresh.set(
                matches!(&error, CallError::Refused { refusal, .. } if refusal.remedy == Remedy::FreshToken),
            );
            lost.set(lost.get() || !error.nothing_issued());
            Error::Call(error)
        })
    };
    let judge = |error: &Error| match error {
        Error::Call(error) => match (error.verdict(), later.take()) {
            (Verdict::Again, Some(time)) => Verdict::After(time),
            (verdict, _) => verdict,
        },
        _ => Verdict::Stop,
    };
    match retry(context.clock, context.backoff, context.until, judge, attempt).await {
        Ok(answer) => Ok(Answer { lost: lost.get(), ..answer }),
        Err(error) if lost.get() => Err(Error::after_loss(error)),
        Err(error) => Err(error),
    }
}
