//! From a journal to the sinks: the journal is the outbox, and records what was delivered.

use chrono::{DateTime, Utc};
use dataflow_config::host::HostConfig;
use dataflow_config::sink::{self, FileSink};
use dataflow_lease::journal::{Entry, Journal};
use dataflow_lease::state::State;
use dataflow_record::Sealed;
use dataflow_record::place::{Hint, Place};
use dataflow_sinks::{Delivery, Error, Parcel, Sent, Sink};

/// The sinks of this host.
pub fn sinks(config: &HostConfig, state: &State) -> Vec<Box<dyn Sink>> {
    if config.sinks.is_empty() {
        return vec![dataflow_sinks::of(&sink::Sink::File(FileSink::private(state.records())))];
    }
    config.sinks.iter().map(dataflow_sinks::of).collect()
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
pub async fn deliver(
    journal: &mut Journal,
    sinks: &[Box<dyn Sink>],
    until: DateTime<Utc>,
) -> Result<(), Error> {
    let sent = Delivery::new(outbox(journal), sinks, until).finish().await;
    delivered(journal, sent)
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
