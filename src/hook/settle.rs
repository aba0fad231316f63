//! Settling what a journal holds: children before what they were made with, never stopping early.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::Context;
use super::closing::Ended;
use crate::lease::Lease;
use crate::lease::journal::{Entry, Journal};
use crate::provider;
use crate::record::end::{SealedBy, SettledLease};
use crate::settlement::Settlement;

/// Settles every open lease of a journal, inside the host's deadline; what came to a true end.
pub(super) async fn settle(
    context: &Context<'_>,
    journal: &mut Journal,
    sealed_by: SealedBy,
    ended: &mut Ended,
) -> Vec<SettledLease> {
    let clock = &context.host.clock;
    let until = clock.now() + context.loaded.config.deadlines.release.0;
    let mut open: Vec<Lease> = journal.open_leases(clock.now()).into_iter().cloned().collect();
    // What was not handed over is of no use to anybody.
    for lease in &mut open {
        lease.leave &= sealed_by != SealedBy::PreCommand;
    }
    // Of what is asked at once, the first request is for what ends first: it has the least time for another try.
    open.sort_by_key(|lease| lease.expires_at);
    let tried: Vec<bool> = open.iter().map(|lease| journal.attempted(&lease.id)).collect();
    announce(&open, journal, clock.now());
    let mut settled = Vec::new();
    // Children before what they were made with, everything else at once.
    for wave in waves(open.iter().zip(tried).collect()) {
        let left = (until - clock.now()).to_std().unwrap_or_default();
        let answers = join_all(wave.into_iter().map(|(lease, tried)| one(context, lease, tried, left)));
        for (lease, settlement) in answers.await {
            ended.settled.push(format!("settled `{}`: {settlement}", lease.principal));
            settled.push((lease.id.clone(), settlement));
        }
    }
    for intent in journal.lost_intents() {
        let settlement = Settlement::Unknown { until: intent.latest };
        ended.settled.push(format!("an answer of {} was lost: {settlement}", intent.provider));
        settled.push((intent.id.clone(), settlement));
    }
    // The same failure once more says nothing new.
    settled.retain(|(id, settlement)| journal.settlement(id) != Some(settlement));
    let entries = settled.iter().cloned().map(|(id, settlement)| Entry::Settled { id, settlement });
    if let Err(error) = journal.append(entries.collect()) {
        ended.warnings.push(format!("the settlements could not be written down: {error}"));
    }
    let ends = settled.into_iter().filter(|(_, settlement)| settlement.is_final());
    ends.map(|(request, settlement)| SettledLease { request, settlement }).collect()
}

/// Whoever comes after a crash must know that an answer may have been lost.
fn announce(open: &[Lease], journal: &mut Journal, at: DateTime<Utc>) {
    let asking = open.iter().filter(|lease| lease.is_given_back());
    let attempts: Vec<Entry> = asking.map(|lease| Entry::Attempted { id: lease.id.clone(), at }).collect();
    if !attempts.is_empty()
        && let Err(error) = journal.append(attempts)
    {
        tracing::warn!(%error, "leases are given back without a word of it in the journal");
    }
}

async fn one<'l>(
    context: &Context<'_>,
    lease: &'l Lease,
    tried: bool,
    left: Duration,
) -> (&'l Lease, Settlement) {
    let clock = &context.host.clock;
    if lease.leave && lease.expires_at > clock.now() {
        return (lease, Settlement::Left { until: lease.expires_at });
    }
    if lease.is_locked() {
        let reason =
            "its handle was encrypted under a key that is not here (a restart takes keys away)".into();
        return (lease, Settlement::Failed { reason, until: lease.expires_at });
    }
    let settling = provider::Settling { host: &context.loaded.config, http: &context.http, clock };
    let terms = lease.terms(tried);
    let settlement = clock.within(left, provider::settle(&terms, &settling)).await;
    let late = || Settlement::Failed { reason: "out of time".into(), until: terms.expires_at };
    (lease, settlement.unwrap_or_else(late))
}

/// Leases in the order in which they are settled: a wave holds those whose children are in earlier ones.
fn waves(mut leases: Vec<(&Lease, bool)>) -> Vec<Vec<(&Lease, bool)>> {
    let mut waves = Vec::new();
    while !leases.is_empty() {
        let has_open_child = |(lease, _): &(&Lease, bool)| {
            lease.children.iter().any(|child| leases.iter().any(|(other, _)| other.id == *child))
        };
        let (later, now): (Vec<_>, Vec<_>) = leases.iter().copied().partition(has_open_child);
        // A circle is no order: a journal that says so was not written by this program.
        let (now, later) = if now.is_empty() { (later, now) } else { (now, later) };
        waves.push(now);
        leases = later;
    }
    waves
}
