//! Work that blocks, done on another thread while this one goes on.

use std::panic;

/// Begins `work` at once; what it returns is there when this is awaited.
#[cfg(not(feature = "faults"))]
pub(crate) fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send {
    let working = tokio::task::spawn_blocking(work);
    async {
        match working.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(fault) => panic::resume_unwind(fault),
                // Only where the whole process ends.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// The same, before anything else: points of faults have the same numbers each time.
#[cfg(feature = "faults")]
pub(crate) fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send {
    std::future::ready(work())
}
