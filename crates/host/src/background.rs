//! Work that blocks, done on another thread while this one goes on; on this one where no thread can be started.

use std::panic;

#[cfg(not(feature = "faults"))]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::oneshot;

/// Work that was begun.
#[derive(Debug)]
pub struct Background<T>(oneshot::Receiver<Outcome<T>>);

/// What came of the work, or how it failed.
type Outcome<T> = std::thread::Result<T>;

impl<T: Send + 'static> Background<T> {
    /// Begins `work` now.
    #[cfg(not(feature = "faults"))]
    pub fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, going) = oneshot::channel();
        give(Box::new(move |free| {
            let outcome = panic::catch_unwind(panic::AssertUnwindSafe(work));
            free();
            // No caller waits any more: that is how a process ends.
            drop(done.send(outcome));
        }));
        Self(going)
    }

    /// Does `work` before anything else: points of faults have the same numbers each time.
    #[cfg(feature = "faults")]
    pub fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, going) = oneshot::channel();
        drop(done.send(Ok(work())));
        Self(going)
    }

    /// What came of it.
    pub async fn done(self) -> T {
        match self.0.await {
            Ok(outcome) => outcome.unwrap_or_else(|fault| panic::resume_unwind(fault)),
            // Given up, as only the end of the process does it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Work for a thread, which calls what it is given once it could do more.
#[cfg(not(feature = "faults"))]
type Job = Box<dyn FnOnce(&dyn Fn()) + Send>;

/// The way to each thread that could do more: to start another costs more than most of what is done beside.
#[cfg(not(feature = "faults"))]
static FREE: Mutex<Vec<mpsc::Sender<Job>>> = Mutex::new(Vec::new());

#[cfg(not(feature = "faults"))]
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a job to a thread that is free, or to another.
#[cfg(not(feature = "faults"))]
fn give(job: Job) {
    let free = locked(&FREE).pop();
    let left = match free {
        Some(thread) => thread.send(job).err().map(|mpsc::SendError(job)| job),
        None => Some(job),
    };
    // A thread that cannot be started drops what it was given: the job is taken out of it again.
    let Some(job) = left else { return };
    let job = Arc::new(Mutex::new(Some(job)));
    let theirs = Arc::clone(&job);
    let work = move || {
        let (me, more) = mpsc::channel();
        let free = || locked(&FREE).push(me.clone());
        let first = locked(&theirs).take();
        for job in first.into_iter().chain(more) {
            job(&free);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("beside".to_owned()).spawn(work) {
        tracing::debug!(%error, "no thread can be started: the work is done in its place");
        if let Some(job) = locked(&job).take() {
            job(&|| {});
        }
    }
}

#[cfg(all(test, not(feature = "faults")))]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_another_thread_while_this_one_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let here = std::thread::current().id();
        let there = runtime.block_on(Background::begin(|| std::thread::current().id()).done());
        assert_ne!(here, there);
    }

    #[test]
    fn a_thread_that_is_done_takes_more_work_and_one_that_panicked_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let there = || runtime.block_on(Background::begin(|| std::thread::current().id()).done());
        // Other tests take threads from the same store.
        let mut seen = std::collections::HashSet::new();
        let again = (0..100).any(|_| {
            let faulty =
                std::panic::AssertUnwindSafe(|| runtime.block_on(Background::begin(|| panic!("x")).done()));
            assert!(panic::catch_unwind(faulty).is_err());
            !seen.insert(there())
        });
        assert!(again);
    }
}
