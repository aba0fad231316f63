//! Giving back: every lease, every variable, then the END; never stopping early.

use std::path::Path;
use std::time::Duration;

use super::account;
use super::block;
use super::settle::settle;
use super::{Context, Form, Phase, Report};
use crate::agent::job_api::JobApi;
use crate::config::step::Hook;
use crate::failure::{Class, Failure};
use crate::host::{env, files};
use crate::lease::export::{self, Restore};
use crate::lease::journal::{self, Entry, Exported, Journal, Opened};
use crate::record::end::{End, JobOutcome, JobResult, ResultTrust, SealedBy, SettledLease};
use crate::record::parts::Told;
use crate::record::{Part, seal};
use crate::sink;

/// Gives back what this hook's block was lent.
pub(super) async fn release(context: &Context<'_>, phase: Phase) -> Report {
    let mut report = Report::default();
    for folder in context.state.blocks() {
        let Some(opened) = Journal::peek(&folder).filter(|opened| is_mine(context, opened)) else { continue };
        if phase == Phase::PostCommand && opened.release_at_pre_exit {
            continue;
        }
        let Some(journal) = open_soon(context, &folder).await else { continue };
        let sealed_by = if phase == Phase::PostCommand { SealedBy::PostCommand } else { SealedBy::PreExit };
        let ended = account(context, journal, sealed_by, Vec::new()).await;
        report.lines.extend(ended.settled);
        report.warnings.extend(ended.warnings);
        report.failure = report.failure.or(ended.failure);
    }
    report
}

/// A callback may be writing at the moment: it does so for moments only.
async fn open_soon(context: &Context<'_>, folder: &Path) -> Option<Journal> {
    for _ in 0..40 {
        match Journal::open(folder) {
            Err(journal::Error::Busy { .. }) => context.host.clock.sleep(Duration::from_millis(25)).await,
            _ => break,
        }
    }
    context.state.open(folder)
}

/// By the bootstrap that started this hook and not by the job's id, which a step can change; in the
/// plugin's form by the block as well.
fn is_mine(context: &Context<'_>, opened: &Opened) -> bool {
    let same_job = opened.bootstrap == context.bootstrap && opened.container == context.container();
    same_job
        && match context.form {
            Form::Plugin => opened.instance == block::plugin_instance(&context.host.env),
            Form::AgentHook => [Hook::PreCommand, Hook::Environment]
                .iter()
                .any(|hook| opened.instance == block::agent_instance(*hook)),
        }
}

/// How an account ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// A line for each lease.
    pub(super) settled: Vec<String>,
    /// What looks wrong.
    pub(super) warnings: Vec<String>,
    /// What the host config wants the job to fail for.
    pub(super) failure: Option<Failure>,
}

/// Settles every lease of a journal, puts variables back, seals the END, delivers and closes. `known` is
/// what the END tells beside what is found here.
pub(super) async fn account(
    context: &Context<'_>,
    mut journal: Journal,
    sealed_by: SealedBy,
    known: Vec<Told>,
) -> Ended {
    let mut ended = Ended::default();
    if !journal.ended() {
        remove_files(context, &journal, &mut ended);
        settle(context, &mut journal, &mut ended).await;
        let (variables, mut findings) = match sealed_by {
            SealedBy::PostCommand | SealedBy::PreExit => restore(context, &journal).await,
            // The job is gone, or nothing was exported: there is nothing to put back.
            _ => (Vec::new(), Vec::new()),
        };
        ended.warnings.extend(findings.iter().map(|finding| finding.what.clone()));
        findings.extend(known);
        findings.extend(unsettled(&journal));
        let end = end(context, &journal, sealed_by, variables, findings);
        write_end(context, &mut journal, end, &mut ended);
    }
    close(context, journal, &mut ended);
    ended
}

async fn restore(context: &Context<'_>, journal: &Journal) -> (Vec<(Exported, Restore, bool)>, Vec<Told>) {
    let variables = export::restoring(&journal.exported(), &context.host.env);
    rebase_later_blocks(context, &variables);
    if variables.iter().all(|(_, restore)| *restore == Restore::LeaveChanged) {
        let kept = variables.into_iter().map(|(variable, restore)| (variable, restore, true));
        return (kept.collect(), Vec::new());
    }
    // The socket of the grant, not the one that a step may have put into the environment since.
    let job = match (&journal.opened().socket, context.host.env.secret(&env::JOB_API_TOKEN)) {
        (Some(socket), Some(token)) => Ok(JobApi::at(socket.clone(), token)),
        _ => JobApi::of(&context.host.env),
    };
    let result = match job {
        Ok(job) => export::restore(&job, &variables).await,
        Err(error) => Err(error),
    };
    let reached = result.is_ok();
    let findings = result.err().map(|error| {
        let what =
            format!("variables could not be put back: {}", account::failure(&error.failure(), context).what);
        account::told("not-restored", what)
    });
    let variables = variables.into_iter().map(|(variable, restore)| (variable, restore, reached));
    (variables.collect(), findings.into_iter().collect())
}

/// Where a later block covered a variable of this one and is still open (agent v3 ends blocks in the
/// order they began), it must go back to what was before both, and not to a credential of ours.
fn rebase_later_blocks(context: &Context<'_>, variables: &[(Exported, Restore)]) {
    let changed: Vec<&Exported> = variables
        .iter()
        .filter(|(_, restore)| *restore == Restore::LeaveChanged)
        .map(|(variable, _)| variable)
        .collect();
    if changed.is_empty() {
        return;
    }
    for folder in context.state.blocks() {
        let same_job = Journal::peek(&folder).is_some_and(|opened| opened.bootstrap == context.bootstrap);
        let Some(mut later) = same_job.then(|| context.state.open(&folder)).flatten() else { continue };
        let covers = |ours: &&&Exported| {
            later.exported().iter().any(|theirs| {
                let before = theirs.previous.as_ref().map(|previous| previous.0.fingerprint());
                theirs.name == ours.name && before.as_ref() == Some(&ours.fingerprint)
            })
        };
        let rebased: Vec<Entry> = changed
            .iter()
            .filter(covers)
            .map(|ours| Entry::Rebased { name: ours.name.clone(), previous: ours.previous.clone() })
            .collect();
        if !rebased.is_empty()
            && let Err(error) = later.append(rebased)
        {
            tracing::warn!(%error, "a later block may restore a value of this one");
        }
    }
}

fn unsettled(journal: &Journal) -> Vec<Told> {
    let attention = journal.settlements().into_iter().filter(|(_, settlement)| settlement.needs_attention());
    attention
        .map(|(id, settlement)| account::told("unsettled", format!("lease {id}: {settlement}")))
        .collect()
}

fn end(
    context: &Context<'_>,
    journal: &Journal,
    sealed_by: SealedBy,
    variables: Vec<(Exported, Restore, bool)>,
    mut findings: Vec<Told>,
) -> End {
    let start = journal.links().first().and_then(|link| crate::record::read(link.document.as_bytes()).ok());
    let start = start.and_then(|link| link.start);
    if start.is_none() {
        findings.push(account::told("no-start", "the job died before its START was sealed"));
    }
    let (inputs, outputs) = start.map(|start| (start.inputs, start.outputs)).unwrap_or_default();
    let settlements = journal.settlements().into_iter();
    let variables = variables
        .into_iter()
        .flat_map(|(variable, restore, reached)| account::restored(&[(variable, restore)], reached));
    let renewals = journal.leases().filter(|lease| lease.is_renewal()).map(account::lent);
    End {
        result: result(context, sealed_by),
        renewals: renewals.collect(),
        settlements: settlements.map(|(request, settlement)| SettledLease { request, settlement }).collect(),
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
    let sealed = seal(Part::End(end), journal.opened(), &journal.links(), context.host.clock.now());
    let written = match sealed {
        Ok(link) => journal.append(vec![Entry::Sealed(link)]).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = written {
        ended.warnings.push(format!("the END link could not be written: {error}"));
    }
    if unsettled && context.loaded.config.required.settlement {
        ended.failure = Some(Failure {
            ident: "lease-unsettled",
            class: Class::Unsettled,
            what: "a lease could not be settled, and the host config requires it".into(),
            causes: ended.settled.clone(),
            presented: None,
            hint: None,
            left: None,
        });
    }
}

/// Removes the files of the block's credentials.
fn remove_files(context: &Context<'_>, journal: &Journal, ended: &mut Ended) {
    if let Err(error) = files::remove(&context.state.files(journal.folder())) {
        ended.warnings.push(format!("the files of the credentials could not be removed: {error}"));
    }
}

/// Delivers the outbox; a journal whose END reached every sink is removed, and every secret in it.
fn close(context: &Context<'_>, mut journal: Journal, ended: &mut Ended) {
    let config = &context.loaded.config;
    match sink::deliver(&mut journal, &sink::folders(config, &context.state)) {
        Ok(()) if journal.ended() => {
            if let Err(error) = journal.close() {
                ended.warnings.push(format!("the journal could not be removed: {error}"));
            }
        }
        Ok(()) => {}
        Err(error) => {
            ended.warnings.push(format!("{error}: {}; it waits in the outbox", error.source));
            if config.required.record {
                let failure = Failure::of("record-not-stored", Class::Unrecorded, &error);
                ended.failure = ended.failure.take().or(Some(failure));
            }
        }
    }
}
