//! Work that blocks, done on another thread while this one goes on.

use std::panic;

use tokio::task::JoinError;

#[cfg(not(feature = "faults"))]
type Working<T> = tokio::task::JoinHandle<T>;
#[cfg(feature = "faults")]
type Working<T> = std::future::Ready<Result<T, JoinError>>;

/// Work that was begun.
#[derive(Debug)]
pub(crate) struct Beside<T>(Working<T>);

impl<T: Send + 'static> Beside<T> {
    /// Begins `work` now.
    #[cfg(not(feature = "faults"))]
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(tokio::task::spawn_blocking(work))
    }

    /// Does `work` before anything else: points of faults have the same numbers each time.
    #[cfg(feature = "faults")]
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(std::future::ready(Ok(work())))
    }

    /// What came of it.
    pub(crate) async fn done(self) -> T {
        match self.0.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(fault)) => panic::resume_unwind(fault),
            // Given up, as only the end of the process does it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}
