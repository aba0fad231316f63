//! What the phases of one hook share.

use chrono::{DateTime, Utc};

use crate::hook::phase::Form;
use dataflow_config::host_find::Loaded;
use dataflow_host::http::Http;
use dataflow_host::process::ProcessId;
use dataflow_host::{Host, env};
use dataflow_lease::state::State;
use dataflow_types::failure::Failure;

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
    pub(crate) fn new(host: &'a Host, form: Form, loaded: Loaded) -> Result<Self, Failure> {
        let state = State::of(&loaded.config).map_err(|error| error.failure())?;
        Ok(Self::with(host, form, loaded, state))
    }

    /// For a sweep: nothing where this user has no state directory, and none is made.
    pub(crate) fn standing(host: &'a Host, loaded: Loaded) -> Result<Option<Self>, Failure> {
        let state = State::standing(&loaded.config).map_err(|error| error.failure())?;
        Ok(state.map(|state| Self::with(host, Form::AgentHook, loaded, state)))
    }

    fn with(host: &'a Host, form: Form, loaded: Loaded, state: State) -> Self {
        let http = Http::new(loaded.config.network());
        let (bootstrap, started) = (ProcessId::parent(), host.clock.now());
        Self { host, form, loaded, state, http, bootstrap, started }
    }

    /// When a step has waited long enough for its credentials.
    pub(crate) fn acquire_until(&self) -> DateTime<Utc> {
        self.started + self.loaded.config.deadlines.grant.0
    }

    pub(crate) fn container(&self) -> Option<String> {
        self.host.env.get(&env::CONTAINER_ID).map(str::to_owned)
    }
}
