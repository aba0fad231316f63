//! Closing an account: every lease, every variable, then the END; never stopping early.

use super::escrow;
use super::restore::restore;
use super::settle::{Ended, said, settle};
use crate::context::Context;
use crate::{delivery, record_parts};
use dataflow_host::env;
use dataflow_lease::Lease;
use dataflow_lease::export::Restore;
use dataflow_lease::journal::{Entry, Exported, Journal};
use dataflow_lease::private;
use dataflow_providers as provider;
use dataflow_record::end::{End, JobOutcome, JobResult, Late, ResultTrust, SealedBy};
use dataflow_record::parts::Finding;
use dataflow_record::{Part, seal};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;
use dataflow_types::settlement::Settlement;

/// Settles every lease of a journal, puts variables back, seals the END, delivers and closes. `known` is
/// what the END tells beside what is found here.
pub(crate) async fn close_block(
    context: &Context<'_>,
    mut journal: Journal,
    sealed_by: SealedBy,
    known: Vec<Finding>,
) -> Ended {
    let mut ended = Ended::default();
    let unbelieved = unbelieved(&mut journal);
    if journal.ended() {
        late(context, &mut journal, sealed_by, unbelieved, &mut ended).await;
    } else {
        remove_files(&journal, &mut ended);
        settle(context, &mut journal, sealed_by, &mut ended).await;
        let (variables, mut findings) = match sealed_by {
            SealedBy::PostCommand | SealedBy::PreExit => restore(context, &journal).await,
            // The job is gone, or nothing was exported: there is nothing to put back.
            _ => (Vec::new(), Vec::new()),
        };
        ended.warnings.extend(findings.iter().map(|finding| finding.what.clone()));
        findings.extend(known);
        findings.extend(
            journal
                .findings()
                .map(|(ident, what)| Finding { ident: ident.to_owned(), what: what.to_owned() }),
        );
        findings.extend(unbelieved);
        findings.extend(unsettled(&journal));
        findings.extend(damaged(&journal));
        let end = end(context, &journal, sealed_by, variables, findings);
        write_end(context, &mut journal, end, &mut ended);
    }
    close(context, journal, &mut ended).await;
    ended
}

/// What could not be given back in time is tried again; the record gets a LATE link for what that brought.
async fn late(
    context: &Context<'_>,
    journal: &mut Journal,
    sealed_by: SealedBy,
    findings: Vec<Finding>,
    ended: &mut Ended,
) {
    let better = settle(context, journal, sealed_by, ended).await;
    if better.is_empty() {
        return;
    }
    let late = Late { settlements: better, outputs: Vec::new(), findings };
    if let Err(error) = write(context, journal, Part::Late(late)) {
        ended.warnings.push(format!("the LATE link could not be written: {error}"));
    }
}

/// What any process of this user could have appended, and no provider of these leases says.
fn unbelieved(journal: &mut Journal) -> Vec<Finding> {
    let gives = |lease: &Lease, settlement: &Settlement| provider::can_report(&lease.provider, settlement);
    let said = journal.disbelieve(gives).into_iter();
    said.map(|said| Finding::new(finding::Ident::JournalNotBelieved, format!("{said}: that is not recorded")))
        .collect()
}

fn unsettled(journal: &Journal) -> Vec<Finding> {
    let attention = journal.settlements().into_iter().filter(|(_, settlement)| settlement.needs_attention());
    attention
        .map(|(id, settlement)| Finding::new(finding::Ident::Unsettled, format!("lease {id}: {settlement}")))
        .collect()
}

fn damaged(journal: &Journal) -> Option<Finding> {
    let lines = journal.damaged();
    let what = || format!("{lines} lines of the journal were damaged: what they told is not told here");
    (lines > 0).then(|| Finding::new(finding::Ident::JournalDamaged, what()))
}

fn end(
    context: &Context<'_>,
    journal: &Journal,
    sealed_by: SealedBy,
    variables: Vec<(Exported, Restore, bool)>,
    mut findings: Vec<Finding>,
) -> End {
    let start = journal.links().first().and_then(|link| dataflow_record::read(link.document.as_bytes()).ok());
    let start = start.and_then(|link| link.start);
    if start.is_none() {
        findings.push(Finding::new(finding::Ident::NoStart, "the job died before its START was sealed"));
    }
    // What the START does not tell: all of it, where there is none.
    let untold = start.is_none();
    let (inputs, outputs) = start.map(|start| (start.inputs, start.outputs)).unwrap_or_default();
    let settlements = journal.settlements().into_iter();
    let variables = variables
        .into_iter()
        .flat_map(|(variable, restore, reached)| record_parts::restored(&[(variable, restore)], reached));
    let renewals = journal.leases().filter(|lease| untold || lease.is_renewal()).map(record_parts::lent);
    End {
        result: result(context, sealed_by),
        renewals: renewals.collect(),
        settlements: settlements
            .map(|(request, settlement)| said(context, journal, request, settlement))
            .collect(),
        variables: variables.collect(),
        inputs,
        outputs,
        sealed_by,
        findings,
    }
}

fn result(context: &Context<'_>, sealed_by: SealedBy) -> JobResult {
    let observed = |outcome| JobResult { outcome, exit_status: None, trust: ResultTrust::Observed };
    match sealed_by {
        SealedBy::PreCommand => return observed(JobOutcome::Refused),
        SealedBy::Keeper | SealedBy::Sweep => return observed(JobOutcome::Abort),
        SealedBy::PostCommand | SealedBy::PreExit => {}
    }
    let env = &context.host.env;
    let exit_status = env.get(&env::COMMAND_EXIT_STATUS).map(str::to_owned);
    let outcome = match exit_status.as_deref() {
        _ if env.get(&env::JOB_TIMED_OUT) == Some("true") => JobOutcome::TimedOut,
        _ if env.get(&env::JOB_CANCELLED) == Some("true") => JobOutcome::Cancelled,
        None => JobOutcome::NotRun,
        Some("0") => JobOutcome::Passed,
        Some(_) => JobOutcome::Failed,
    };
    JobResult { outcome, exit_status, trust: ResultTrust::Reported }
}

fn write_end(context: &Context<'_>, journal: &mut Journal, end: End, ended: &mut Ended) {
    let unsettled = end.settlements.iter().any(|one| one.settlement.needs_attention());
    if let Err(error) = write(context, journal, Part::End(end)) {
        ended.warnings.push(format!("the END link could not be written: {error}"));
    }
    if unsettled && context.loaded.config.required.settlement {
        ended.failure = Some({
            let what = "a lease could not be settled, and the host config requires it";
            Failure::new(Ident::LeaseUnsettled, what).caused_by(ended.settled.clone())
        });
    }
}

fn write(context: &Context<'_>, journal: &mut Journal, part: Part) -> Result<(), String> {
    let (opened, now) = (journal.opened(), context.host.clock.now());
    let link = seal(part, record_parts::run(opened), &opened.records, &journal.links(), now);
    let link = link.map_err(|error| error.to_string())?;
    journal.append(vec![Entry::Sealed(link)]).map_err(|error| error.to_string())
}

/// Removes the files of the block's credentials.
fn remove_files(journal: &Journal, ended: &mut Ended) {
    if let Err(error) = private::remove(journal.folder()) {
        ended.warnings.push(format!("the files of the credentials could not be removed: {error}"));
    }
}

/// Delivers the outbox; a journal whose END reached every sink, and with which nothing more can be given
/// back, is removed, and every secret in it.
async fn close(context: &Context<'_>, mut journal: Journal, ended: &mut Ended) {
    let config = &context.loaded.config;
    let waits = |lease: &Lease| escrow::waits(context, journal.folder(), lease);
    let left = journal.open_or_waiting(context.host.clock.now(), waits).len();
    escrow::forget(context, &journal, |_| left == 0);
    let (sinks, now) = (delivery::sinks(config, &context.state), context.host.clock.now());
    match delivery::deliver(&mut journal, &sinks, now + config.deadlines.release.0).await {
        Ok(()) if journal.ended() && left == 0 => {
            tracing::info!("closed the account");
            if let Err(error) = journal.close() {
                ended.warnings.push(format!("the journal could not be removed: {error}"));
            }
        }
        Ok(()) => {}
        Err(error) => {
            ended.warnings.push(format!("{error}: {}; it waits in the outbox", error.source));
            if config.required.record {
                let failure = Failure::of(Ident::RecordNotStored, &error);
                ended.failure = ended.failure.take().or(Some(failure));
            }
        }
    }
}
