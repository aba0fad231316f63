//! Work that blocks, done on another thread while this one goes on; on this one where no thread can be started.

use std::panic;

#[cfg(not(feature = "faults"))]
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Work that was begun.
#[derive(Debug)]
pub(crate) struct Beside<T>(Working<T>);

/// What came of the work, or how it failed.
type Outcome<T> = std::thread::Result<T>;

#[derive(Debug)]
enum Working<T> {
    /// Here, at once.
    Done(Outcome<T>),
    /// On a thread.
    #[cfg_attr(feature = "faults", expect(dead_code, reason = "the harness does all work in its place"))]
    Going(oneshot::Receiver<Outcome<T>>),
}

impl<T: Send + 'static> Beside<T> {
    /// Begins `work` now.
    #[cfg(not(feature = "faults"))]
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        // A thread that cannot be started drops what it was given: the work is taken out of it again.
        let work = Arc::new(Mutex::new(Some(work)));
        let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, going) = oneshot::channel();
        let theirs = Arc::clone(&work);
        let started = std::thread::Builder::new().name("beside".to_owned()).spawn(move || {
            if let Some(work) = take(&theirs) {
                // Nobody waits any more: that is how a process ends.
                drop(done.send(panic::catch_unwind(panic::AssertUnwindSafe(work))));
            }
        });
        if let Err(error) = started {
            tracing::debug!(%error, "no thread can be started: the work is done in its place");
            if let Some(work) = take(&work) {
                return Self(Working::Done(Ok(work())));
            }
        }
        Self(Working::Going(going))
    }

    /// Does `work` before anything else: points of faults have the same numbers each time.
    #[cfg(feature = "faults")]
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Working::Done(Ok(work())))
    }

    /// What came of it.
    pub(crate) async fn done(self) -> T {
        let outcome = match self.0 {
            Working::Done(outcome) => outcome,
            Working::Going(going) => match going.await {
                Ok(outcome) => outcome,
                // Given up, as only the end of the process does it.
                Err(_) => std::future::pending().await,
            },
        };
        outcome.unwrap_or_else(|fault| panic::resume_unwind(fault))
    }
}

#[cfg(all(test, not(feature = "faults")))]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_another_thread_while_this_one_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let here = std::thread::current().id();
        let there = runtime.block_on(Beside::begin(|| std::thread::current().id()).done());
        assert_ne!(here, there);
    }
}
