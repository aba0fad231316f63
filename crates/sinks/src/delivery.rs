//! Links on their way to every sink.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::{Error, Outcome, Parcel, Sink, Storing};
use dataflow_types::secret::Fingerprint;

/// What came of a link, at all sinks.
#[derive(Debug)]
pub struct Sent {
    /// Which.
    pub digest: Fingerprint,
    /// Whether nothing is left to try.
    pub is_over: bool,
    /// The first error.
    pub result: Result<(), Error>,
}

/// Links that are being stored.
#[derive(Debug)]
pub struct Delivery(Vec<(Fingerprint, Vec<Step>)>);

#[derive(Debug)]
enum Step {
    Storing(Storing),
    Done(Outcome),
}

impl Delivery {
    /// Prepares links for every sink. Nothing is stored yet.
    pub fn new(parcels: Vec<Parcel>, sinks: &[Box<dyn Sink>], until: DateTime<Utc>) -> Self {
        let steps = |parcel: Parcel| {
            let steps = match &parcel.place {
                Some(place) => {
                    let storing = sinks.iter().map(|sink| sink.store(place, &parcel.document, until));
                    storing.map(Step::Storing).collect()
                }
                None => vec![Step::Done(Outcome::Refused(no_link(sinks)))],
            };
            (parcel.digest, steps)
        };
        Self(parcels.into_iter().map(steps).collect())
    }

    /// Does the work that blocks: on any thread.
    #[must_use]
    pub fn block(self) -> Self {
        let blocked = |step| match step {
            Step::Storing(Storing::Blocking(work)) => Step::Done(work()),
            other => other,
        };
        let links = self.0.into_iter();
        Self(links.map(|(digest, steps)| (digest, steps.into_iter().map(blocked).collect())).collect())
    }

    /// Waits for the answers: what came of each link.
    pub async fn finish(self) -> Vec<Sent> {
        join_all(self.0.into_iter().map(|(digest, steps)| async {
            let outcomes = join_all(steps.into_iter().map(finished)).await;
            let is_over = !outcomes.iter().any(|outcome| matches!(outcome, Outcome::TryAgain(_)));
            Sent { digest, is_over, result: outcomes.into_iter().try_for_each(Outcome::into_result) }
        }))
        .await
    }
}

async fn finished(step: Step) -> Outcome {
    match step {
        Step::Done(outcome) => outcome,
        Step::Storing(Storing::Blocking(work)) => work(),
        Step::Storing(Storing::Waiting(answer)) => answer.await,
    }
}

impl Outcome {
    fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Stored => Ok(()),
            Self::Refused(error) | Self::TryAgain(error) => Err(error),
        }
    }
}

// Nothing will ever make a link of it: it is reported once.
fn no_link(sinks: &[Box<dyn Sink>]) -> Error {
    let source = std::io::Error::other("what the journal holds is no link of a record, and is left out");
    Error { sink: sinks.iter().map(|sink| sink.name()).collect::<Vec<_>>().join("`, `"), source }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use dataflow_record::Place;

    /// A sink with a fixed answer, given later or at once.
    #[derive(Debug)]
    struct Scripted {
        waits: bool,
        outcome: fn() -> Outcome,
        stored: Arc<Mutex<Vec<String>>>,
    }

    fn error() -> Error {
        Error { sink: "scripted".into(), source: std::io::Error::other("no") }
    }

    impl Sink for Scripted {
        fn name(&self) -> String {
            "scripted".into()
        }

        fn store(&self, place: &Place, _: &str, _: DateTime<Utc>) -> Storing {
            let (name, stored, outcome) = (place.name.clone(), Arc::clone(&self.stored), self.outcome);
            let work = move || {
                stored.lock().unwrap().push(name);
                outcome()
            };
            if self.waits {
                Storing::Waiting(Box::pin(async { work() }))
            } else {
                Storing::Blocking(Box::new(work))
            }
        }
    }

    fn parcel() -> Parcel {
        let place = Place { folders: vec!["v=1".into()], name: "job.0-start.json".into() };
        Parcel { digest: Fingerprint::of(b"x"), place: Some(place), document: "{}".into() }
    }

    /// Whether it waits, and how it ends.
    type Script = (bool, fn() -> Outcome);

    fn delivered(outcomes: &[Script]) -> (Sent, usize) {
        let stored = Arc::default();
        let sinks = outcomes.iter().map(|(waits, outcome)| {
            Box::new(Scripted { waits: *waits, outcome: *outcome, stored: Arc::clone(&stored) })
                as Box<dyn Sink>
        });
        let delivery = Delivery::new(vec![parcel()], &sinks.collect::<Vec<_>>(), DateTime::UNIX_EPOCH);
        let mut sent = futures_util::FutureExt::now_or_never(delivery.block().finish()).unwrap();
        let times = stored.lock().unwrap().len();
        (sent.remove(0), times)
    }

    #[test]
    fn a_link_is_over_once_every_sink_stored_or_refused_it() {
        let stored: fn() -> Outcome = || Outcome::Stored;
        let refused: fn() -> Outcome = || Outcome::Refused(error());
        let again: fn() -> Outcome = || Outcome::TryAgain(error());
        let cases = [(vec![stored, stored], true, true), (vec![stored, refused], true, false)];
        let cases = cases
            .into_iter()
            .chain([(vec![refused, again], false, false), (vec![again, stored], false, false)]);
        for (outcomes, is_over, is_ok) in cases {
            let outcomes: Vec<_> = outcomes.into_iter().enumerate().map(|(at, one)| (at == 1, one)).collect();
            let (sent, times) = delivered(&outcomes);
            assert_eq!((sent.is_over, sent.result.is_ok(), times), (is_over, is_ok, 2));
        }
    }

    #[test]
    fn what_blocks_is_done_at_once_and_what_waits_is_begun_by_the_one_who_waits() {
        let stored = Arc::default();
        let sink = |waits| Scripted { waits, outcome: || Outcome::Stored, stored: Arc::clone(&stored) };
        let sinks: [Box<dyn Sink>; 2] = [Box::new(sink(false)), Box::new(sink(true))];
        let delivery = Delivery::new(vec![parcel()], &sinks, DateTime::UNIX_EPOCH).block();
        assert_eq!(stored.lock().unwrap().len(), 1);
        assert!(futures_util::FutureExt::now_or_never(delivery.finish()).is_some());
        assert_eq!(stored.lock().unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_link_is_refused_and_reaches_no_sink() {
        let stored = Arc::default();
        let sink = Scripted { waits: false, outcome: || Outcome::Stored, stored: Arc::clone(&stored) };
        let parcel = Parcel { place: None, ..parcel() };
        let delivery = Delivery::new(vec![parcel], &[Box::new(sink) as Box<dyn Sink>], DateTime::UNIX_EPOCH);
        let sent = futures_util::FutureExt::now_or_never(delivery.finish()).unwrap();
        assert!(sent[0].is_over && sent[0].result.is_err() && stored.lock().unwrap().is_empty());
    }
}
