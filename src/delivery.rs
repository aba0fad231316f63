//! From a journal to the sinks: the journal is the outbox, and records what was delivered.

use dataflow_config::host::HostConfig;
use dataflow_config::sink::{FileSink, Sink};
use dataflow_lease::journal::{Entry, Journal};
use dataflow_lease::state::State;
use dataflow_record::Sealed;
use dataflow_record::place::{Hint, Place};
use dataflow_sinks::{Error, Parcel, Sent, to_sinks};

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
    let hint = Hint { folder: &journal.opened().records, at: journal.opened().at };
    let parcel = |link: Sealed| Parcel {
        place: Place::of(&link.document, &first, &hint),
        digest: link.digest,
        document: link.document,
    };
    journal.undelivered().into_iter().map(parcel).collect()
}

/// Delivers what the journal's outbox holds to every sink; the first error, after all were tried.
pub fn deliver(journal: &mut Journal, folders: &[FileSink]) -> Result<(), Error> {
    delivered(journal, to_sinks(outbox(journal), folders))
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
