//! Callbacks: what SDKs and git ask for while a step runs.
//!
//! A callback is a process of the step's. It knows the block's private folder, in which the hook wrote down what was
//! asked; it asks again with a fresh token, is decided by the host's policy again, and each renewal is a lease in the
//! block's journal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::block_file::BlockFile;
use crate::context::Context;
use crate::hook::phase::Form;
use dataflow_config::host::Mode;
use dataflow_config::host_find;
use dataflow_config::step::Step;
use dataflow_host::agent::job_api::JobApi;
use dataflow_host::{Clock, Env, Host, files};
use dataflow_lease::forms;
use dataflow_lease::journal::Journal;
use dataflow_policy::{Request, request};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::Secret;

mod approve;
mod block_file;
pub mod git;
pub(crate) mod prepare;
pub mod renew;
pub mod subject_token;

/// How often, and how far apart, a lock that others hold for moments is tried.
const TRIES: (u32, Duration) = (200, Duration::from_millis(50));

/// One callback: a credential of a block, by its name.
#[derive(Debug)]
pub struct Callback<'a> {
    pub(crate) host: &'a Host,
    pub(crate) folder: PathBuf,
    name: String,
}

/// Everything that the callbacks of one block need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) program: &'a Path,
    pub(crate) journal: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) env: &'a Env,
    pub(crate) clock: &'a Clock,
}

/// Why a callback gets nothing.
pub fn not_renewed(what: impl Into<String>) -> Failure {
    Failure::new(Ident::NotRenewed, what)
}

impl<'a> Callback<'a> {
    /// For the credential `name` of the block whose private folder is `folder`.
    pub fn of(host: &'a Host, folder: PathBuf, name: String) -> Self {
        Self { host, folder, name }
    }

    pub(crate) fn context(&self) -> Result<Context<'a>, Failure> {
        let loaded = host_find::load(self.host).map_err(|error| error.failure())?;
        if loaded.config.mode == Mode::Off {
            return Err(not_renewed("lending is switched off by the host config"));
        }
        Context::new(self.host, Form::AgentHook, loaded)
    }

    pub(crate) fn asked(&self, context: &Context<'_>) -> Result<(BlockFile, Vec<Request>), Failure> {
        let path = self.folder.join(block_file::FILE);
        let bytes = files::read_trusted(&path, &[nix::unistd::geteuid().as_raw()]).map_err(|error| {
            Failure::of(Ident::NotRenewed, &error)
                .hinted("the leases of the block have ended, or `--block` names no folder of this program")
        })?;
        let file = BlockFile::read(&bytes).map_err(|error| {
            not_renewed(format!("`{}` is not what a hook wrote: {error}", path.display()))
        })?;
        let step = Step::read(serde_json::json!({ "credentials": file.credentials }));
        let requests = step.and_then(|step| request::of_step(&step, &context.loaded.config));
        let requests = file.asked_for(requests.map_err(|error| error.failure())?);
        Ok((file, requests))
    }

    pub(crate) fn find<'r>(&self, requests: &'r [Request]) -> Result<&'r Request, Failure> {
        let named = requests.iter().find(|request| request.name.as_deref() == Some(&self.name));
        named.filter(|request| request.may_be_renewed()).ok_or_else(|| {
            not_renewed(format!("the block has no credential `{}` that may be renewed", self.name))
                .hinted("`refresh: true` lets a credential be renewed while the step runs")
        })
    }

    /// The block's journal, as soon as no other process writes; a block whose leases end lends nothing more.
    pub(crate) async fn journal(&self, folder: &Path) -> Result<Journal, Failure> {
        for _ in 0..TRIES.0 {
            match Journal::open(folder) {
                Ok(journal) if journal.is_closing() => break,
                Ok(journal) => return Ok(journal),
                Err(dataflow_lease::journal::Error::Busy { .. }) => self.host.clock.sleep(TRIES.1).await,
                Err(_) => break,
            }
        }
        Err(not_renewed("the leases of the block are being given back, or have ended"))
    }

    pub(crate) async fn redact(&self, secrets: &[Secret]) -> Result<(), Failure> {
        let job = JobApi::of(&self.host.env).map_err(|error| error.failure())?;
        forms::register(&job, forms::of_all(secrets.iter())).await.map_err(|error| error.failure())
    }
}
