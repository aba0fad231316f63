//! The hooks: what happens in each phase of a step.

use chrono::{DateTime, Utc};

use dataflow_config::host::Mode;
use dataflow_config::load::{LoadError, Loaded};
use dataflow_config::step::Hook;
use dataflow_host::http::Http;
use dataflow_host::process::ProcessId;
use dataflow_host::{Host, env};
use dataflow_lease::state::State;
use dataflow_types::failure::{Failure, Ident};

use self::block::Block;

mod account;
mod asked;
mod at_rest;
pub mod block;
mod callbacks;
mod closing;
mod exchange;
pub mod git;
mod grant;
mod in_record;
mod junk;
pub mod keeper;
mod lend;
mod orphans;
pub mod phase;
mod profiles;
pub mod rebooted;
pub mod release;
pub mod renew;
mod restore;
mod serve;
mod settle;
mod subject;
mod survivors;
pub mod sweep;

pub use phase::{Form, Phase};

/// What a hook has to say, and how it ends.
#[derive(Debug, Default)]
pub struct Report {
    /// What was done, a line each.
    pub lines: Vec<String>,
    /// What looks wrong and stopped nothing.
    pub warnings: Vec<String>,
    /// What went wrong.
    pub failure: Option<Failure>,
}

impl Report {
    /// The hook's exit code. After the command, 0 unless the host config asks for more: another code
    /// would replace the command's own and stop the hooks that follow.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |failure| failure.ident.class().exit_code())
    }

    /// This, and what another has to say; the later failure counts, if there is one.
    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.warnings.extend(other.warnings);
        self.failure = other.failure.or(self.failure);
        self
    }

    fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

/// What the phases of one hook share.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) host: &'a Host,
    pub(crate) form: Form,
    pub(crate) loaded: Loaded,
    pub(crate) state: State,
    pub(crate) http: Http,
    pub(crate) bootstrap: ProcessId,
    pub(crate) started: DateTime<Utc>,
}

impl<'a> Context<'a> {
    fn new(host: &'a Host, form: Form, loaded: Loaded) -> Result<Self, Failure> {
        let state = State::of(&loaded.config).map_err(|error| error.failure())?;
        Ok(Self::with(host, form, loaded, state))
    }

    /// For a sweep: nothing where this user has no state directory, and none is made.
    fn standing(host: &'a Host, loaded: Loaded) -> Result<Option<Self>, Failure> {
        let state = State::standing(&loaded.config).map_err(|error| error.failure())?;
        Ok(state.map(|state| Self::with(host, Form::AgentHook, loaded, state)))
    }

    fn with(host: &'a Host, form: Form, loaded: Loaded, state: State) -> Self {
        let http = Http::new(loaded.config.network());
        let (bootstrap, started) = (ProcessId::parent(), host.clock.now());
        Self { host, form, loaded, state, http, bootstrap, started }
    }

    fn container(&self) -> Option<String> {
        self.host.env.get(&env::CONTAINER_ID).map(str::to_owned)
    }
}

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
            Ok(context) => Box::pin(serve::serve(&context, *block)).await,
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

/// What a hook tells that could do nothing.
pub fn not_begun(failure: Failure, phase: Phase) -> Report {
    if phase.is_before_command() {
        return Report::failed(failure.leaving("nothing was exported"));
    }
    // A hook after the command must not take the command's result away.
    let told = format!(
        "[{}] {}; what was lent is given back by the first hook on this host that can do it",
        failure.ident,
        failure.sentence()
    );
    Report { warnings: vec![told], ..Report::default() }
}

/// What this process needs to begin with is not to be had from the system.
pub fn exhausted(error: &std::io::Error) -> Failure {
    let what = format!("this host gives the process not even what it starts with: {error}");
    Failure::new(Ident::HostExhausted, what).hinted(
        "look at the limits of the agent's user: open files (`ulimit -n`), processes (`ulimit -u`) and addresses (`ulimit -v`)",
    )
}

/// A fault of this program, as a hook reports it.
pub fn bug(what: &str) -> Failure {
    Failure::new(Ident::Bug, what).hinted("please report it with the lines above")
}
