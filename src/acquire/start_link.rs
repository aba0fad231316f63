//! The START link of a block: sealed into its journal, and delivered before any code of the step runs.

use super::lending::Lending;
use crate::{delivery, record_parts, report};
use dataflow_host::Background;
use dataflow_lease::journal::Entry;
use dataflow_lease::state::Unusable;
use dataflow_record::{Part, seal};
use dataflow_sinks::{Delivery, Sent};
use dataflow_types::failure::{Failure, Ident};

impl Lending<'_> {
    /// Seals the START link.
    pub(super) fn seal_start(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let entries = self.with_start(entries)?;
        self.journal.append(entries).map_err(|error| Unusable::Journal(error).failure())?;
        self.sealed = true;
        Ok(())
    }

    /// Seals the START link and delivers it, while this thread goes on.
    pub(super) async fn seal_and_deliver(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let not_durable = |error| Unusable::Journal(error).failure();
        let entries = self.with_start(entries)?;
        self.journal.note(entries).map_err(not_durable)?;
        let (sync, going) = (self.journal.syncing(), self.delivery());
        let going = Background::begin(move || sync().map(|()| going.block())).done().await;
        let going = going.map_err(not_durable)?;
        self.sealed = true;
        self.stored(going.finish().await)
    }

    /// These entries, and the START link.
    fn with_start(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        let now = self.context.host.clock.now();
        let (part, opened) = (Part::Start(Box::new(self.start.clone())), self.journal.opened());
        let link = seal(part, record_parts::run(opened), &opened.records, &[], now);
        entries
            .push(Entry::Sealed(link.map_err(|_| report::bug("the START link cannot be written as JSON"))?));
        Ok(entries)
    }

    /// The links of the outbox, on their way to every sink.
    pub(super) fn delivery(&self) -> Delivery {
        let (context, config) = (self.context, &self.context.loaded.config);
        let sinks = delivery::sinks(config, &context.state);
        Delivery::new(delivery::outbox(&self.journal), &sinks, context.acquire_until())
    }

    /// Whether what could not be delivered is an obstacle.
    pub(super) fn stored(&mut self, sent: Vec<Sent>) -> Result<(), Failure> {
        match delivery::delivered(&mut self.journal, sent) {
            Err(error) if self.context.loaded.config.required.record => {
                Err(Failure::of(Ident::RecordNotStored, &error))
            }
            Err(error) => {
                tracing::warn!(%error, cause = %error.source, "the START link waits in the outbox");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
