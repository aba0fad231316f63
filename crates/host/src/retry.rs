//! Trying again: how often, how far apart, and until when.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Clock;

/// As often as there is time for it.
pub const UNTIL_THE_DEADLINE: u32 = u32::MAX;

/// No wait is longer, but for one that a server asks for, or a longer base.
const LONGEST: Duration = Duration::from_secs(10);

/// The most time that a try must find before the deadline to be begun.
const ROOM: Duration = Duration::from_secs(1);

/// How tries are spaced: `base`, twice that, four times, … up to ten seconds.
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
        let full = full.min(LONGEST.max(self.base));
        if self.jitter { full.mul_f64(0.5 + 0.5 * fastrand::f64()) } else { full }
    }
}

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing would change.
    Stop,
    /// It may go better later.
    Again,
    /// The server says when: not before this has passed.
    After(Duration),
}

/// How long a server asks to be left alone: `Retry-After` of RFC 9110, in seconds or as a date.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    (at.to_utc() - now).to_std().ok()
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
        let wait = match judge(&error) {
            Verdict::Stop => return Err(error),
            Verdict::Again => backoff.wait(tried),
            Verdict::After(time) => backoff.wait(tried).max(time),
        };
        // A try that has hardly any time would end as an answer that was lost.
        let with_room = wait.saturating_add((wait / 4).min(ROOM));
        let then = TimeDelta::from_std(with_room).ok();
        let until_then = then.and_then(|then| clock.now().checked_add_signed(then));
        if tried >= backoff.attempts || until_then.is_none_or(|then| then >= until) {
            return Err(error);
        }
        clock.sleep(wait).await;
        tried = tried.saturating_add(1);
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
    fn tries_go_on_until_the_deadline_and_no_wait_is_longer_than_ten_seconds() {
        assert_eq!(run(UNTIL_THE_DEADLINE, 60, 6, Verdict::Again), (Ok(7), 1 + 2 + 4 + 8 + 10 + 10));
        assert_eq!(
            run(UNTIL_THE_DEADLINE, 60, 99, Verdict::Again),
            (Err("busy"), 1 + 2 + 4 + 8 + 10 + 10 + 10 + 10)
        );
    }

    #[test]
    fn a_server_that_says_when_is_left_alone_until_then() {
        let after = |seconds| Verdict::After(Duration::from_secs(seconds));
        assert_eq!(run(5, 100, 2, after(7)), (Ok(3), 14));
        assert_eq!(run(5, 100, 1, after(0)), (Ok(2), 1));
        assert_eq!(run(5, 100, 1, after(101)), (Err("busy"), 0), "too late is not waited for");
        assert_eq!(run(5, 100, 1, after(u64::MAX)), (Err("busy"), 0));
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = DateTime::from_timestamp(784_111_770, 0).unwrap();
        let seconds = |text: &str| retry_after(text, now).map(|time| time.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        for none in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(seconds(none), None, "{none}");
        }
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
