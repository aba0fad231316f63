//! Giving back what a job's own blocks were lent: after the command, and at the very end.

use std::path::Path;
use std::time::Duration;

use super::block;
use super::closing::account;
use super::{Context, Form, Phase, Report};
use crate::config::step::Hook;
use crate::lease::journal::{self, Journal, Opened};
use crate::record::end::SealedBy;

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
pub(super) async fn open_soon(context: &Context<'_>, folder: &Path) -> Option<Journal> {
    for _ in 0..40 {
        match Journal::open(folder) {
            Err(journal::Error::Busy { .. }) => context.host.clock.sleep(Duration::from_millis(25)).await,
            _ => break,
        }
    }
    context.state.open(folder)
}

/// By the bootstrap that started this hook and by no variable, which a step can change; in the plugin's
/// form by the block as well.
fn is_mine(context: &Context<'_>, opened: &Opened) -> bool {
    opened.bootstrap == context.bootstrap
        && match context.form {
            Form::Plugin => opened.instance == block::plugin_instance(&context.host.env),
            Form::AgentHook => [Hook::PreCommand, Hook::Environment]
                .iter()
                .any(|hook| opened.instance == block::agent_instance(*hook)),
        }
}
