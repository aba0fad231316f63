//! The hooks: which one this is, what it has to do, and the doing of it.

use crate::context::Context;
use crate::report::Report;
use crate::{acquire, release};
use dataflow_config::host::Mode;
use dataflow_config::host_find::{LoadError, Loaded};
use dataflow_config::step::Hook;
use dataflow_host::Host;
use dataflow_types::failure::Failure;

use self::block::Block;

pub mod block;
pub mod phase;

pub use phase::{Form, Phase};

/// What a hook found to do.
#[derive(Debug)]
pub enum Work {
    /// Before the command: lend what a block asks for.
    Lend(Loaded, Box<Block>),
    /// After the command: give back what was lent.
    Release(Loaded, Phase),
}

/// Decides what a hook has to do, before anything that waits is started; a report where that is nothing.
pub fn begin(
    host: &Host,
    loaded: Result<Loaded, LoadError>,
    form: Form,
    phase: Phase,
) -> Result<Work, Report> {
    let switched_off = |loaded: &Loaded| loaded.config.mode == Mode::Off && phase.is_before_command();
    let work = match loaded {
        // What was lent before the switch was turned is given back all the same.
        Ok(loaded) if switched_off(&loaded) => {
            let lines = vec!["switched off by the host config".into()];
            return Err(Report { lines, ..Report::default() });
        }
        Ok(loaded) => work(host, loaded, form, phase),
        Err(error) => Err(error.failure()),
    };
    work.map_err(|failure| not_begun(failure, phase))?.ok_or_else(Report::default)
}

fn work(host: &Host, loaded: Loaded, form: Form, phase: Phase) -> Result<Option<Work>, Failure> {
    for account in block::accounts_to_mask(&host.env) {
        host.mask.add(&account);
    }
    let hook = match phase {
        Phase::Environment => Hook::Environment,
        Phase::PreCommand => Hook::PreCommand,
        Phase::PostCommand | Phase::PreExit => return Ok(Some(Work::Release(loaded, phase))),
    };
    let block = block::of(&host.env, form, hook, &loaded.config)?;
    Ok(block.map(|block| Work::Lend(loaded, Box::new(block))))
}

/// Does the work of one hook.
pub async fn run(host: &Host, work: Work, form: Form) -> Report {
    match work {
        Work::Lend(loaded, block) => match Context::new(host, form, loaded) {
            Ok(context) => Box::pin(acquire::serve(&context, *block)).await,
            Err(failure) => not_begun(failure, Phase::PreCommand),
        },
        Work::Release(loaded, phase) => {
            dataflow_host::process::outlive_signals();
            match Context::new(host, form, loaded) {
                Ok(context) => release::release(&context, phase).await,
                Err(failure) => not_begun(failure, phase),
            }
        }
    }
}

/// The report of a hook that could do nothing.
pub fn not_begun(failure: Failure, phase: Phase) -> Report {
    if phase.is_before_command() {
        return Report::failed(failure.leaving("nothing was exported"));
    }
    // A hook after the command must not take the command's result away.
    let warning = format!(
        "[{}] {}; what was lent is given back by the first hook on this host that can do it",
        failure.ident,
        failure.sentence()
    );
    Report { warnings: vec![warning], ..Report::default() }
}
