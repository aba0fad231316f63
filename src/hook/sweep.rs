//! The sweep: what dead jobs of this host left is settled, and what was not delivered is delivered.

use super::{Context, Form, Report, release};
use crate::config::load;
use crate::failure::Failure;
use crate::host::Host;
use crate::host::process::{Alive, listening};
use crate::lease::journal::{Journal, Opened};
use crate::record::end::SealedBy;

/// Settles what dead jobs left, and says so.
pub(super) async fn dead(context: &Context<'_>, report: &mut Report) {
    for folder in context.state.blocks() {
        let Some(opened) = Journal::peek(&folder).filter(|opened| is_dead(context, opened)) else { continue };
        let Some(journal) = context.state.open(&folder) else { continue };
        let ended = release::account(context, journal, SealedBy::Sweep).await;
        report
            .lines
            .extend(ended.settled.into_iter().map(|line| format!("swept job {}: {line}", opened.job)));
        report.warnings.extend(ended.warnings);
    }
}

/// Certainly over: its bootstrap is gone, or nobody listens on its socket any more. Whatever cannot be
/// told waits.
fn is_dead(context: &Context<'_>, opened: &Opened) -> bool {
    if opened.bootstrap == context.bootstrap {
        return false;
    }
    match (opened.bootstrap.alive(), &opened.socket) {
        (Alive::No, _) => true,
        (Alive::Yes, _) | (Alive::Unknown, None) => false,
        (Alive::Unknown, Some(socket)) => listening(socket) == Alive::No,
    }
}

/// `buildkite-dataflow sweep`: the same, by hand or from a timer.
pub async fn sweep(host: &Host) -> Result<Report, Failure> {
    let loaded = load::load(&host.env).map_err(|error| error.failure())?;
    let context = Context::new(host, Form::AgentHook, loaded)?;
    let mut report = Report::default();
    dead(&context, &mut report).await;
    Ok(report)
}
