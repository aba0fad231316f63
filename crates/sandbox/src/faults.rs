//! Faults to order, and a count of what was asked, in front of every endpoint of the sandbox.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dataflow_host::serve::{Request, Response};

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

type Make = dyn Fn(&Request, Response) -> Response + Send + Sync;

/// What is made of the true answers to some requests, given the request's headers and body.
struct Change {
    path: String,
    make: Box<Make>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change({})", self.path)
    }
}

/// The faults still to come, the latency of every answer, and what was asked.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Vec<Fault>>,
    changes: Mutex<Vec<Change>>,
    asked: Mutex<BTreeMap<String, usize>>,
    latency: Mutex<Duration>,
}

impl Faults {
    /// Orders a fault.
    pub fn order(&self, fault: Fault) {
        lock(&self.waiting).push(fault);
    }

    /// Has every answer changed to requests whose path ends with this.
    pub fn change(&self, path: &str, make: impl Fn(&Request, Response) -> Response + Send + Sync + 'static) {
        lock(&self.changes).push(Change { path: path.to_owned(), make: Box::new(make) });
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
    pub fn answer(&self, path: &str, request: &Request, act: impl FnOnce() -> Response) -> Response {
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
        for change in lock(&self.changes).iter().filter(|change| path.ends_with(&change.path)) {
            answer = (change.make)(request, answer);
        }
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
