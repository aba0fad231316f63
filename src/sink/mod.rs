//! Sinks: where links are delivered. What is not delivered stays in its journal, which is the outbox.

use std::path::PathBuf;

use crate::config::host::{HostConfig, Sink};
use crate::lease::journal::{Entry, Journal, Sealed};
use crate::lease::state::State;
use crate::secret::Fingerprint;

pub mod chain;
pub mod file;
pub mod retention;

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

/// The folders that this host's records go to.
pub fn folders(config: &HostConfig, state: &State) -> Vec<PathBuf> {
    if config.sinks.is_empty() {
        return vec![state.records()];
    }
    config.sinks.iter().map(|Sink::File(file)| file.directory.clone()).collect()
}

/// Delivers what the journal's outbox holds to every sink; the first error, after all were tried.
pub fn deliver(journal: &mut Journal, folders: &[PathBuf]) -> Result<(), Error> {
    delivered(journal, to_sinks(journal.undelivered(), folders))
}

/// Delivers links to every sink: what came of each.
pub fn to_sinks(links: Vec<Sealed>, folders: &[PathBuf]) -> Vec<Result<Fingerprint, Error>> {
    links.into_iter().map(|link| to_all(&link, folders).map(|()| link.digest)).collect()
}

/// Takes down what was delivered; the first error, if there is one.
pub fn delivered(journal: &mut Journal, results: Vec<Result<Fingerprint, Error>>) -> Result<(), Error> {
    let mut worst = None;
    for result in results {
        match result {
            // Lost, it would be delivered once more, to the same name.
            Ok(digest) => {
                tracing::info!(digest = digest.as_str(), "delivered a link of the record");
                drop(journal.note(vec![Entry::Delivered { digest }]));
            }
            Err(error) => worst = worst.or(Some(error)),
        }
    }
    worst.map_or(Ok(()), Err)
}

fn to_all(link: &Sealed, folders: &[PathBuf]) -> Result<(), Error> {
    let results: Vec<_> = folders.iter().map(|folder| file::store(folder, link)).collect();
    results.into_iter().collect()
}
