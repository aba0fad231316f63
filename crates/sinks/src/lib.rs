//! Sinks: where links are delivered. What is not delivered stays in its journal, which is the outbox
//! (`delivery.rs`).

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests stand outside the doors that the lints guard")
)]

use dataflow_config::sink::FileSink;
use dataflow_record::Place;
use dataflow_types::secret::Fingerprint;

pub mod chain;
pub mod file;
mod links;
pub mod retention;
mod shared;

/// Why a link was not delivered.
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

/// What came of a parcel.
#[derive(Debug)]
pub struct Sent {
    /// Which.
    pub digest: Fingerprint,
    /// Whether nothing is left to try.
    pub is_over: bool,
    /// The first error.
    pub result: Result<(), Error>,
}

/// Delivers links to every sink: what came of each.
pub fn to_sinks(parcels: Vec<Parcel>, folders: &[FileSink]) -> Vec<Sent> {
    parcels.into_iter().map(|parcel| to_all(parcel, folders)).collect()
}

fn to_all(parcel: Parcel, folders: &[FileSink]) -> Sent {
    let Parcel { digest, place, document } = parcel;
    let Some(place) = place else {
        // Nothing will ever make a link of it: it is reported once.
        let source = std::io::Error::other("what the journal holds is no link of a record, and is left out");
        let sink =
            folders.iter().map(|sink| sink.directory.display().to_string()).collect::<Vec<_>>().join("`, `");
        return Sent { digest, is_over: true, result: Err(Error { sink, source }) };
    };
    let results: Vec<_> = folders.iter().map(|folder| file::store(folder, &place, &document)).collect();
    let result: Result<(), Error> = results.into_iter().collect();
    Sent { digest, is_over: result.is_ok(), result }
}
