//! What time it is, and waiting.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SubsecRound as _, Utc};

/// The system's clock, or one that a test moves.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's own.
    System,
    /// The machine's own, some time ahead (or behind, in seconds): for tests of skew.
    Skewed(i64),
    /// Stands still; waiting moves it and takes no time.
    Manual(Arc<Mutex<DateTime<Utc>>>),
}

impl Clock {
    /// A clock that stands at `now`.
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self::Manual(Arc::new(Mutex::new(now)))
    }

    /// Now, in whole milliseconds.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => system_now(),
            Self::Skewed(seconds) => system_now() + chrono::Duration::seconds(*seconds),
            Self::Manual(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// How long it is until `until`; nothing once that has passed.
    pub fn left(&self, until: DateTime<Utc>) -> Duration {
        (until - self.now()).to_std().unwrap_or_default()
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        match self {
            Self::System | Self::Skewed(_) => {
                #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
                tokio::time::sleep(time).await;
            }
            Self::Manual(now) => {
                let time = chrono::Duration::from_std(time).unwrap_or(chrono::Duration::MAX);
                *now.lock().unwrap_or_else(PoisonError::into_inner) += time;
            }
        }
    }

    /// Runs `work` for at most `time`; `None` when it did not finish.
    pub async fn within<F: Future>(&self, time: Duration, work: F) -> Option<F::Output> {
        tokio::time::timeout(time, work).await.ok()
    }
}

fn system_now() -> DateTime<Utc> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let now = SystemTime::now();
    let now = DateTime::<Utc>::from(now).trunc_subsecs(3);
    #[cfg(feature = "faults")]
    let now = now + chrono::TimeDelta::seconds(super::fault::offset());
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_on_a_manual_clock_moves_it_and_takes_no_time() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(clock.sleep(Duration::from_hours(1)));
        assert_eq!(clock.now().timestamp(), 3600);
    }
}
