//! One call of a provider's HTTP API: tried again by the class of its error, its answer read with care.
//!
//! AWS's STS has the SDK for this; every other provider speaks JSON over HTTPS and comes here.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

pub use super::answer::{Answer, Fields};
pub use super::call_error::CallError;
pub use super::door::{Ends, Token};
use super::json;
pub use super::refusal::{Refusal, Remedy};
use super::{Context, Error};
use dataflow_host::http::{Request, StatusCode};
use dataflow_host::retry::{Verdict, retry, retry_after};

/// The longest that one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends what `make` makes until it is answered well, refused for good, or out of time. `make` receives
/// whether a token that was not used before is wanted.
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
            // Before it is cut short: half a secret would not be known for one.
            let said = context.mask.apply_to_answer(json::text(response.body.bytes()).as_bytes());
            let refusal = explain(status, said.as_bytes()).or_words_of(said.as_bytes());
            Err(CallError::Refused { host, status, refusal })
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
