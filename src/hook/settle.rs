//! Settling what a journal holds: children before what they were made with, never stopping early.

use futures_util::future::join_all;

use super::Context;
use super::release::Ended;
use crate::lease::Lease;
use crate::lease::journal::{Entry, Journal};
use crate::provider;
use crate::settlement::Settlement;

/// Settles every open lease of a journal, inside the host's deadline.
pub(super) async fn settle(context: &Context<'_>, journal: &mut Journal, ended: &mut Ended) {
    let clock = &context.host.clock;
    let until = clock.now() + context.loaded.config.deadlines.release.0;
    let settling = &provider::Settling { host: &context.loaded.config, http: &context.http, clock };
    let mut entries = Vec::new();
    // Children before what they were made with, everything else at once.
    for wave in waves(journal.open_leases()) {
        let left = (until - clock.now()).to_std().unwrap_or_default();
        let settled = join_all(wave.into_iter().map(|lease| async move {
            let terms = lease.terms();
            let settlement = clock.within(left, provider::settle(&terms, settling)).await;
            let late = || Settlement::Failed { reason: "out of time".into(), until: terms.expires_at };
            (lease, settlement.unwrap_or_else(late))
        }));
        for (lease, settlement) in settled.await {
            ended.settled.push(format!("settled `{}`: {settlement}", lease.principal));
            entries.push(Entry::Settled { id: lease.id.clone(), settlement });
        }
    }
    for intent in journal.lost_intents() {
        let settlement = Settlement::Unknown { until: intent.latest };
        ended.settled.push(format!("an answer of {} was lost: {settlement}", intent.provider));
        entries.push(Entry::Settled { id: intent.id.clone(), settlement });
    }
    if let Err(error) = journal.append(entries) {
        ended.warnings.push(format!("the settlements could not be written down: {error}"));
    }
}

/// Leases in the order in which they are settled: a wave holds those whose children are in earlier ones.
fn waves(mut leases: Vec<&Lease>) -> Vec<Vec<&Lease>> {
    let mut waves = Vec::new();
    while !leases.is_empty() {
        let has_open_child =
            |lease: &&Lease| lease.children.iter().any(|child| leases.iter().any(|other| other.id == *child));
        let (later, now): (Vec<_>, Vec<_>) = leases.iter().copied().partition(has_open_child);
        // A circle is no order: a journal that says so was not written by this program.
        let (now, later) = if now.is_empty() { (later, now) } else { (now, later) };
        waves.push(now);
        leases = later;
    }
    waves
}
