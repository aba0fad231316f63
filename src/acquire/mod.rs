//! A hook before the command: a block's credentials, and beside them what dead jobs left.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use self::identity::{Resolved, Resolver};
use self::lending::Lending;
use crate::context::Context;
use crate::hook::block::{self, Block};
use crate::report::Report;
use crate::sweep;
use dataflow_host::agent::job_api::JobApi;
use dataflow_lease::journal::Journal;
use dataflow_types::failure::Failure;

pub(crate) mod at_rest;
pub(crate) mod exchange;
pub(crate) mod identity;
pub(crate) mod journal_entries;
mod lending;
mod profiles;
mod start_link;

/// How much longer than its own work a hook goes on to settle what dead jobs left.
const SWEEP: Duration = Duration::from_secs(1);

/// Lends what a block asks for, and settles what dead jobs left meanwhile.
pub(crate) async fn serve(context: &Context<'_>, block: Block) -> Report {
    context.http.prepare();
    let (mut report, mut swept) = (Report::default(), Report::default());
    sweep::tidy_daily(context, &mut report);
    let lent = {
        let sweeping = pin!(sweep::dead(context, sweep::BEFORE_A_STEP, false, &mut swept));
        match select(sweeping, pin!(grant(context, block))).await {
            Either::Left(((), lending)) => lending.await,
            // The step does not wait for long for what others left; the next one goes on.
            Either::Right((lent, sweeping)) => {
                let _over = context.host.clock.within(SWEEP, sweeping).await;
                lent
            }
        }
    };
    let lent = lent.unwrap_or_else(|failure| Report::failed(failure.leaving("nothing was exported")));
    report.and(swept).and(lent)
}

async fn grant(context: &Context<'_>, block: Block) -> Result<Report, Failure> {
    let mut report = Report::default();
    if let Some(served) = served_already(context, &block) {
        report.lines.push(served);
        return Ok(report);
    }
    // Without a Job API nothing could be handed over: said before anybody is asked for anything.
    let job = JobApi::of(&context.host.env).map_err(|error| error.failure())?;
    let Block { instance, step, requests } = block;
    let Resolved { identity, asked, left_out } = Resolver::new(context)?.resolve(requests).await?;
    if asked.is_empty() && left_out.is_empty() && step.asks_for_nothing() {
        return Ok(report);
    }
    let mut lending = Lending::open(context, instance, &step, &identity)?;
    lending.leave_out(&left_out);
    match lending.lend(&job, asked, &identity).await {
        Ok(()) => lending.report(&mut report),
        Err((outcome, failure)) => report.failure = Some(lending.refuse(outcome, failure).await),
    }
    Ok(report)
}

/// Another hook of the same job may have served this block: the agent's own, or the same block listed twice.
fn served_already(context: &Context<'_>, block: &Block) -> Option<String> {
    let agents = block::agent_instance(block.step.hook);
    let journals = context.state.blocks_of(&[&block.instance, agents]);
    let mine = journals.iter().filter_map(|folder| Journal::peek(folder));
    let mut mine = mine.filter(|opened| opened.bootstrap == context.bootstrap);
    mine.find(|opened| opened.instance == block.instance || opened.instance == agents).map(|opened| {
        let by = if opened.instance == block.instance {
            "an equal block of this step"
        } else {
            "the agent's own hook"
        };
        format!("nothing to do: {by} has lent this already")
    })
}
