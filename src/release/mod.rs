//! Giving back what a job's own blocks were lent: after the command, and at the very end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use self::close::close_block;
use crate::context::Context;
use crate::hook::block;
use crate::hook::phase::{Form, Phase};
use crate::report::Report;
use dataflow_config::step::Hook;
use dataflow_lease::journal::{self, Journal, Opened};
use dataflow_record::end::SealedBy;
use dataflow_types::failure::{Failure, Ident};

pub(crate) mod close;
pub(crate) mod escrow;
mod restore;
pub(crate) mod settle;

/// The most journals that one hook ends: a job has one for each block, and who forges more waits for a sweep.
const MOST: usize = 64;

/// Gives back what this hook's block was lent.
pub(crate) async fn release(context: &Context<'_>, phase: Phase) -> Report {
    let mut report = Report::default();
    let until = context.started + context.loaded.config.deadlines.release.0;
    let plugin = block::plugin_instance(&context.host.env);
    let instances: Vec<&str> = match context.form {
        Form::Plugin => vec![&plugin],
        Form::AgentHook => [Hook::PreCommand, Hook::Environment].map(block::agent_instance).to_vec(),
    };
    let mine = |folder: PathBuf| {
        let opened = Journal::peek(&folder).filter(|opened| is_mine(context, opened, &instances))?;
        Some((folder, opened))
    };
    let blocks = context.state.blocks_of(&instances);
    for (folder, opened) in blocks.into_iter().filter_map(mine).take(MOST) {
        if phase == Phase::PostCommand && opened.release_at_pre_exit {
            continue;
        }
        let journal = match open_as_hook(context, &folder, until).await {
            Ok(Some(journal)) => journal,
            Ok(None) => continue,
            Err(failure) => {
                report.warnings.push(format!("[{}] {}", failure.ident, failure.sentence()));
                return report;
            }
        };
        let sealed_by = if phase == Phase::PostCommand { SealedBy::PostCommand } else { SealedBy::PreExit };
        let ended = close_block(context, journal, sealed_by, Vec::new()).await;
        report.lines.extend(ended.settled);
        report.warnings.extend(ended.warnings);
        report.failure = report.failure.or(ended.failure);
    }
    report
}

/// Opens a journal of this bootstrap's, if this process is a hook of the agent.
///
/// To have the bootstrap as parent is not enough: where it is the first process of its PID namespace it is the
/// parent of each orphan of the step, and anywhere of what its child made with `clone(CLONE_PARENT)`. Where it held
/// the hook before the command by a descriptor it holds the hooks after it as well.
async fn open_as_hook(
    context: &Context<'_>,
    folder: &Path,
    until: DateTime<Utc>,
) -> Result<Option<Journal>, Failure> {
    let Some(journal) = open_soon(context, folder, until).await else { return Ok(None) };
    if !journal.hooks_are_held() || context.bootstrap.holds_this_process() {
        return Ok(Some(journal));
    }
    // A process of the step must not keep the journal from the agent's hook while it waits here.
    drop(journal);
    for _ in 0..40 {
        // A rehearsal opens its descriptor when the hook runs already.
        context.host.clock.sleep(Duration::from_millis(25)).await;
        if context.bootstrap.holds_this_process() {
            return Ok(open_soon(context, folder, until).await);
        }
    }
    let what =
        "the job's bootstrap did not start this process: nothing is given back, and no record is sealed";
    Err(Failure::new(Ident::NotAHook, what))
}

/// A callback may be writing at the moment: it does so for moments only.
pub(crate) async fn open_soon(context: &Context<'_>, folder: &Path, until: DateTime<Utc>) -> Option<Journal> {
    for _ in 0..40 {
        match Journal::open(folder) {
            Ok(journal) => return Some(journal),
            Err(journal::Error::Busy { .. }) if context.host.clock.now() < until => {
                context.host.clock.sleep(Duration::from_millis(25)).await;
            }
            Err(_) => break,
        }
    }
    context.state.open(folder)
}

/// By the bootstrap that started this hook and by no variable, which a step can change; in the plugin's
/// form by the block as well.
fn is_mine(context: &Context<'_>, opened: &Opened, instances: &[&str]) -> bool {
    opened.bootstrap == context.bootstrap && instances.contains(&opened.instance.as_str())
}
