//! Sinks: where links are delivered. What is not delivered stays in its journal, which is the outbox
//! (`delivery.rs`).

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

use std::fmt;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use dataflow_config::sink;
use dataflow_record::Place;
use dataflow_types::secret::Fingerprint;

pub mod chain;
pub mod delivery;
pub mod file;
mod links;
pub mod retention;
mod shared;

pub use delivery::{Delivery, Sent};

/// Why a link was not stored.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be stored in `{sink}`")]
pub struct Error {
    /// Which sink.
    pub sink: String,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// A link on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The digest of its bytes.
    pub digest: Fingerprint,
    /// Where it belongs; `None` where the document is no link.
    pub place: Option<Place>,
    /// Its bytes: canonical JSON.
    pub document: String,
}

/// What came of a link at one sink.
#[derive(Debug)]
pub enum Outcome {
    /// It is there, durably; also when it was there before.
    Stored,
    /// It will never be stored there: a further try changes nothing.
    Refused(Error),
    /// It may be stored later.
    TryAgain(Error),
}

/// How a sink stores one link.
pub enum Storing {
    /// Work that blocks its thread for as long as a disk takes.
    Blocking(Box<dyn FnOnce() -> Outcome + Send>),
    /// An answer to wait for.
    Waiting(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

impl fmt::Debug for Storing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(_) => "Blocking",
            Self::Waiting(_) => "Waiting",
        })
    }
}

/// Where links are delivered.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Its name in messages: a folder, or an address without a secret.
    fn name(&self) -> String;

    /// Stores a document at its place. The place is the same for each try, so that a link that was stored and not
    /// confirmed is there once. A sink that waits gives up at `until`.
    fn store(&self, place: &Place, document: &str, until: DateTime<Utc>) -> Storing;
}

/// The sink that a host config describes.
pub fn of(config: &sink::Sink) -> Box<dyn Sink> {
    match config {
        sink::Sink::File(file) => Box::new(file::File::new(file.clone())),
    }
}
