//! Putting variables back as they were.

use chrono::TimeDelta;

use super::MOST;
use crate::context::Context;
use crate::record_parts;
use dataflow_host::agent::job_api::{self, JobApi};
use dataflow_host::env;
use dataflow_lease::export::{self, Restore};
use dataflow_lease::journal::{Entry, Exported, Journal};
use dataflow_record::parts::Finding;
use dataflow_types::finding;

/// How much longer than for the leases a hook waits for the Job API, which is on this host. The socket stands in a
/// journal, which a step can change: there may be no answer.
const GRACE: TimeDelta = TimeDelta::seconds(2);

/// Puts back what is still ours; each variable with what is right for it and whether that was done.
pub(crate) async fn restore(
    context: &Context<'_>,
    journal: &Journal,
) -> (Vec<(Exported, Restore, bool)>, Vec<Finding>) {
    let variables = export::restoring(&journal.exported(), &context.host.env);
    rebase_later_blocks(context, journal, &variables);
    if variables.iter().all(|(_, restore)| *restore == Restore::LeaveChanged) {
        let kept = variables.into_iter().map(|(variable, restore)| (variable, restore, true));
        return (kept.collect(), Vec::new());
    }
    // The socket of the grant, not the one that a step may have put into the environment since.
    let job = match (&journal.opened().socket, context.host.env.secret(&env::JOB_API_TOKEN)) {
        (Some(socket), Some(token)) => Ok(JobApi::at(socket.clone(), token)),
        _ => JobApi::of(&context.host.env),
    };
    let left = context.host.clock.left(context.started + context.loaded.config.deadlines.release.0 + GRACE);
    // Whatever the clock says: no variable stays because it was set in between.
    let left = left.max(GRACE.to_std().unwrap_or_default());
    let result = match job {
        Ok(job) => {
            let restored = context.host.clock.within(left, export::restore(&job, &variables)).await;
            restored
                .map_or_else(|| Some("out of time".to_owned()), |result| Some(why(context, &result.err()?)))
        }
        Err(error) => Some(why(context, &error)),
    };
    let reached = result.is_none();
    let findings = result.map(|why| {
        Finding::new(finding::Ident::NotRestored, format!("variables could not be put back: {why}"))
    });
    let variables = variables.into_iter().map(|(variable, restore)| (variable, restore, reached));
    (variables.collect(), findings.into_iter().collect())
}

fn why(context: &Context<'_>, error: &job_api::Error) -> String {
    record_parts::failure(&error.failure(), context).what
}

/// Where a later block covered a variable of this one and is still open (agent v3 ends blocks in the
/// order they began), it must go back to what was before both, and not to a credential of ours.
fn rebase_later_blocks(context: &Context<'_>, ended: &Journal, variables: &[(Exported, Restore)]) {
    let changed: Vec<&Exported> = variables
        .iter()
        .filter(|(_, restore)| *restore == Restore::LeaveChanged)
        .map(|(variable, _)| variable)
        .collect();
    if changed.is_empty() {
        return;
    }
    for folder in context.state.blocks_of_job(&ended.opened().job).into_iter().take(MOST) {
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
