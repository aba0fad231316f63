//! Sinks: where links are delivered. What is not delivered stays in its journal, which is the outbox.

use crate::config::host::HostConfig;
use crate::config::sink::{FileSink, Sink};
use crate::lease::journal::{Entry, Journal};
use crate::lease::state::State;
use crate::record::Place;
use crate::secret::Fingerprint;

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
    digest: Fingerprint,
    place: Option<Place>,
    document: String,
}

/// What came of a parcel.
#[derive(Debug)]
pub struct Sent {
    digest: Fingerprint,
    is_over: bool,
    result: Result<(), Error>,
}

/// The folders that this host's records go to.
pub fn folders(config: &HostConfig, state: &State) -> Vec<FileSink> {
    if config.sinks.is_empty() {
        return vec![FileSink::private(state.records())];
    }
    config.sinks.iter().map(|Sink::File(file)| file.clone()).collect()
}

/// The links of a journal that no sink has confirmed, each with the place that it says itself.
pub fn outbox(journal: &Journal) -> Vec<Parcel> {
    let first = journal.links().first().map_or("", |link| link.document.as_str()).to_owned();
    let parcel = |link: crate::lease::journal::Sealed| Parcel {
        place: Place::of(&link.document, &first, journal.opened()),
        digest: link.digest,
        document: link.document,
    };
    journal.undelivered().into_iter().map(parcel).collect()
}

/// Delivers what the journal's outbox holds to every sink; the first error, after all were tried.
pub fn deliver(journal: &mut Journal, folders: &[FileSink]) -> Result<(), Error> {
    delivered(journal, to_sinks(outbox(journal), folders))
}

/// Delivers links to every sink: what came of each.
pub fn to_sinks(parcels: Vec<Parcel>, folders: &[FileSink]) -> Vec<Sent> {
    parcels.into_iter().map(|parcel| to_all(parcel, folders)).collect()
}

/// Takes down what was delivered; the first error, if there is one.
pub fn delivered(journal: &mut Journal, all: Vec<Sent>) -> Result<(), Error> {
    let mut worst = Ok(());
    for sent in all {
        if sent.is_over {
            // Lost, it would be delivered once more, to the same name.
            if sent.result.is_ok() {
                tracing::info!(digest = sent.digest.as_str(), "delivered a link of the record");
            }
            drop(journal.note(vec![Entry::Delivered { digest: sent.digest }]));
        }
        worst = worst.and(sent.result);
    }
    worst
}

fn to_all(parcel: Parcel, folders: &[FileSink]) -> Sent {
    let Parcel { digest, place, document } = parcel;
    let Some(place) = place else {
        // Nothing will ever make a link of it: it is told once.
        let source = std::io::Error::other("what the journal holds is no link of a record, and is left out");
        let sink =
            folders.iter().map(|sink| sink.directory.display().to_string()).collect::<Vec<_>>().join("`, `");
        return Sent { digest, is_over: true, result: Err(Error { sink, source }) };
    };
    let results: Vec<_> = folders.iter().map(|folder| file::store(folder, &place, &document)).collect();
    let result: Result<(), Error> = results.into_iter().collect();
    Sent { digest, is_over: result.is_ok(), result }
}
