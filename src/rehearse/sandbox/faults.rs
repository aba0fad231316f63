//! Faults to order, and a count of what was asked, in front of every endpoint of the sandbox.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::host::serve::Response;

/// What goes wrong.
#[derive(Debug)]
pub struct Fault {
    /// For requests whose path ends with this.
    pub path: String,
    /// How often.
    pub times: usize,
    /// What is answered instead.
    pub answer: Response,
    /// Whether the request takes effect all the same: its answer is lost.
    pub after_acting: bool,
}

/// The faults still to come, the latency of every answer, and what was asked.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Vec<Fault>>,
    asked: Mutex<BTreeMap<String, usize>>,
    latency: Mutex<Duration>,
}

impl Faults {
    /// Orders a fault.
    pub fn order(&self, fault: Fault) {
        lock(&self.waiting).push(fault);
    }

    /// Makes every answer take this long.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.latency) = latency;
    }

    /// How often a path that ends with this was asked for.
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.asked).iter().filter(|(asked, _)| asked.ends_with(path)).map(|(_, times)| times).sum()
    }

    /// Answers as ordered, or as `act` does.
    pub fn answer(&self, path: &str, act: impl FnOnce() -> Response) -> Response {
        *lock(&self.asked).entry(path.to_owned()).or_default() += 1;
        let fault = self.take(path);
        let mut answer = match fault {
            None => act(),
            Some((answer, after_acting)) => {
                if after_acting {
                    drop(act());
                }
                answer
            }
        };
        answer.delay += *lock(&self.latency);
        answer
    }

    fn take(&self, path: &str) -> Option<(Response, bool)> {
        let mut waiting = lock(&self.waiting);
        let fault = waiting.iter_mut().find(|fault| fault.times > 0 && path.ends_with(&fault.path))?;
        fault.times -= 1;
        Some((fault.answer.clone(), fault.after_acting))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
