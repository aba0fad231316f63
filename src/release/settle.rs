//! Settling what a journal holds: children before what they were made with, never stopping early.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::escrow;
use crate::context::Context;
use dataflow_lease::Lease;
use dataflow_lease::journal::{Entry, Journal};
use dataflow_providers::{self as provider};
use dataflow_record::end::{ClaimedBy, SealedBy, SettledLease};
use dataflow_types::failure::Failure;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Mask;
use dataflow_types::settlement::Settlement;

/// How an account ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// A line for each lease.
    pub(crate) settled: Vec<String>,
    /// What looks wrong.
    pub(crate) warnings: Vec<String>,
    /// What the host config wants the job to fail for.
    pub(crate) failure: Option<Failure>,
}

/// Settles every open lease of a journal, inside the host's deadline; what came to a true end.
pub(crate) async fn settle(
    context: &Context<'_>,
    journal: &mut Journal,
    sealed_by: SealedBy,
    ended: &mut Ended,
) -> Vec<SettledLease> {
    let clock = &context.host.clock;
    let from = match sealed_by {
        // However many journals a hook ends: a step can make more of them.
        SealedBy::PostCommand | SealedBy::PreExit => context.started,
        SealedBy::PreCommand | SealedBy::Keeper | SealedBy::Sweep => clock.now(),
    };
    let until = from + context.loaded.config.deadlines.release.0;
    let waits = |lease: &Lease| escrow::waits(context, journal.folder(), lease);
    let open = journal.open_or_waiting(clock.now(), waits);
    let mut open: Vec<Lease> = open.into_iter().cloned().collect();
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
    for wave in waves(open.iter().zip(tried).collect(), |(lease, _)| lease) {
        let left = (until - clock.now()).to_std().unwrap_or_default();
        let folder = journal.folder();
        let answers =
            join_all(wave.into_iter().map(|(lease, tried)| one(context, folder, lease, tried, left)));
        for (lease, settlement) in answers.await {
            ended.settled.push(format!("settled `{}`: {settlement}", lease.principal));
            tracing::info!(provider = lease.provider, principal = lease.principal, %settlement, "settled");
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
    escrow::forget(context, journal, |lease| journal.settlement(&lease.id).is_some_and(Settlement::is_final));
    let ends = settled.into_iter().filter(|(_, settlement)| settlement.is_final());
    ends.map(|(request, settlement)| said(context, journal, request, settlement)).collect()
}

/// What became of a lease, with the process or operator that says so.
pub(crate) fn said(
    context: &Context<'_>,
    journal: &Journal,
    request: String,
    settlement: Settlement,
) -> SettledLease {
    let is_locked = || journal.leases().any(|lease| lease.id == request && lease.is_locked());
    let claimed_by = if !journal.says_itself(&request) {
        ClaimedBy::Journal
    } else if context.loaded.config.survive_reboot.is_some() && settlement.is_final() && is_locked() {
        // This process could not have opened the handle.
        ClaimedBy::Sweeper
    } else {
        ClaimedBy::ThisProcess
    };
    SettledLease { request, settlement, claimed_by: Some(claimed_by) }
}

/// Written before the requests: a process that comes after a crash must know that an answer may have been lost.
fn announce(open: &[Lease], journal: &mut Journal, at: DateTime<Utc>) {
    let asking = open.iter().filter(|lease| lease.is_given_back() && !lease.is_locked());
    let attempts: Vec<Entry> = asking.map(|lease| Entry::Attempted { id: lease.id.clone(), at }).collect();
    if !attempts.is_empty()
        && let Err(error) = journal.append(attempts)
    {
        tracing::warn!(%error, "leases are given back without a word of it in the journal");
    }
}

async fn one<'l>(
    context: &Context<'_>,
    journal: &Path,
    lease: &'l Lease,
    tried: bool,
    left: Duration,
) -> (&'l Lease, Settlement) {
    let clock = &context.host.clock;
    if lease.leave && lease.expires_at > clock.now() {
        return (lease, Settlement::Left { until: lease.expires_at });
    }
    if lease.is_locked() {
        return (lease, locked(context, journal, lease, tried));
    }
    // What it says is printed, too.
    let terms = lease.terms(tried);
    terms.handle.iter().for_each(|handle| context.host.mask.add(handle));
    let settling = provider::SettleContext { host: &context.loaded.config, http: &context.http, clock };
    (lease, ask(&settling, &terms, left).await)
}

/// What became of a lease that no process of this user can give back.
fn locked(context: &Context<'_>, journal: &Path, lease: &Lease, tried: bool) -> Settlement {
    let mut reason =
        "its handle was encrypted under a key that is not here (a restart takes keys away)".to_owned();
    match escrow::answer(context, journal, lease) {
        // The sweeper of another user cannot know that a process of this one had asked before.
        Some(Settlement::AlreadyExpired { at }) if tried && at < lease.expires_at => {
            return Settlement::RevokedInferred { at };
        }
        Some(settlement) => return settlement,
        None if escrow::waits(context, journal, lease) => {
            reason.push_str("; the sweeper of `survive-reboot` can give it back");
        }
        None => {}
    }
    Settlement::Failed { reason, until: lease.expires_at }
}

/// Gives one lease back, in the time that is left.
pub(crate) async fn ask(
    settling: &provider::SettleContext<'_>,
    terms: &RevocationTarget,
    left: Duration,
) -> Settlement {
    let settlement = settling.clock.within(left, provider::settle(terms, settling)).await;
    match settlement {
        // The record tells it, and a server may repeat what it was sent.
        Some(Settlement::Failed { reason, until }) => {
            let mask = Mask::default();
            terms.handle.iter().for_each(|handle| mask.add(handle));
            Settlement::Failed { reason: mask.apply(&reason), until }
        }
        Some(settlement) => settlement,
        None => Settlement::Failed { reason: "out of time".into(), until: terms.expires_at },
    }
}

/// Leases in the order in which they are settled: a wave holds those whose children are in earlier ones.
pub(crate) fn waves<T: Copy>(mut leases: Vec<T>, lease_of: impl Fn(&T) -> &Lease) -> Vec<Vec<T>> {
    let mut waves = Vec::new();
    while !leases.is_empty() {
        let has_open_child = |lease: &T| {
            lease_of(lease)
                .children
                .iter()
                .any(|child| leases.iter().any(|other| lease_of(other).id == *child))
        };
        let (later, now): (Vec<_>, Vec<_>) = leases.iter().copied().partition(has_open_child);
        // A circle is no order: a journal that says so was not written by this program.
        let (now, later) = if now.is_empty() { (later, now) } else { (now, later) };
        waves.push(now);
        leases = later;
    }
    waves
}
