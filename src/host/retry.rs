//! Trying again: how often, how far apart, and until when.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Clock;

/// How tries are spaced: `base`, twice that, four times, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How often at most, the first try included.
    pub attempts: u32,
    /// The wait after the first failed try.
    pub base: Duration,
    /// Whether each wait is a random part of that, so that jobs started together do not return together.
    pub jitter: bool,
}

impl Backoff {
    fn wait(&self, tried: u32) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(tried.saturating_sub(1)));
        if self.jitter { full.mul_f64(0.5 + 0.5 * random_share()) } else { full }
    }
}

/// A number from 0 up to 1.
fn random_share() -> f64 {
    let [byte, ..] = uuid::Uuid::new_v4().into_bytes();
    f64::from(byte) / 256.0
}

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing would change.
    Stop,
    /// It may go better later.
    Again,
}

/// Calls `work` (with the number of the try, from 1) until it succeeds, `judge` says stop, the tries
/// are used up, or the next wait would pass `until`. The last error is returned.
pub async fn retry<T, E, F, Fut>(
    clock: &Clock,
    backoff: Backoff,
    until: DateTime<Utc>,
    judge: impl Fn(&E) -> Verdict,
    mut work: F,
) -> Result<T, E>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut tried = 1;
    loop {
        let error = match work(tried).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let wait = backoff.wait(tried);
        if tried >= backoff.attempts || judge(&error) == Verdict::Stop || clock.now() + wait >= until {
            return Err(error);
        }
        clock.sleep(wait).await;
        tried += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn run(
        attempts: u32,
        until_seconds: i64,
        fails: u32,
        verdict: Verdict,
    ) -> (Result<u32, &'static str>, i64) {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let backoff = Backoff { attempts, base: Duration::from_secs(1), jitter: false };
        let until = DateTime::from_timestamp(until_seconds, 0).unwrap();
        let calls = Cell::new(0);
        let work = |tried| {
            calls.set(tried);
            async move { if tried > fails { Ok(tried) } else { Err("busy") } }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(retry(&clock, backoff, until, |_| verdict, work));
        (result, clock.now().timestamp())
    }

    #[test]
    fn waits_double_until_it_works() {
        assert_eq!(run(5, 100, 3, Verdict::Again), (Ok(4), 1 + 2 + 4));
    }

    #[test]
    fn the_last_error_comes_back_when_the_tries_are_used_up() {
        assert_eq!(run(5, 100, 9, Verdict::Again), (Err("busy"), 1 + 2 + 4 + 8));
    }

    #[test]
    fn a_final_error_is_not_tried_again() {
        assert_eq!(run(5, 100, 9, Verdict::Stop), (Err("busy"), 0));
    }

    #[test]
    fn no_wait_goes_past_the_deadline() {
        assert_eq!(run(5, 4, 9, Verdict::Again), (Err("busy"), 1 + 2));
    }
}
