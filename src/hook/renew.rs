//! Lending once more to a step that runs: what SDKs and git call back for.
//!
//! A callback is a process of the step's. It knows the block's private folder, in which the hook wrote
//! down what was asked; it asks again with a fresh token, is decided by the host's policy again, and each
//! renewal is a lease in the block's journal. Callers that come together share one exchange.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;

use super::asked::{self, BlockFile, decide, needed};
use super::exchange::Exchange;
use super::lend::{self, Answered};
use super::{Context, Form, at_rest, bug, survivors};
use dataflow_config::host::Mode;
use dataflow_config::load;
use dataflow_config::step::Step;
use dataflow_host::agent::job_api::JobApi;
use dataflow_host::{Host, files};
use dataflow_lease::cached::CachedCredential;
use dataflow_lease::forms;
use dataflow_lease::journal::{Entry, Journal};
use dataflow_lease::state::Unusable;
use dataflow_policy::{Request, request};
use dataflow_providers as provider;
use dataflow_record::parts::Told;
use dataflow_types::credential::Credential;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::Secret;

/// A kept credential with less left is renewed: botocore begins to ask at 15 minutes.
const ENOUGH: TimeDelta = TimeDelta::minutes(15);
/// A younger one is not, however short its life: SDKs ask again and again near an end.
const YOUNG: TimeDelta = TimeDelta::seconds(60);
/// How often, and how far apart, a lock that others hold for moments is tried.
const TRIES: (u32, Duration) = (200, Duration::from_millis(50));

/// A credential of a block, for whoever calls back.
#[derive(Debug)]
pub struct Callback<'a> {
    pub(super) host: &'a Host,
    pub(super) folder: PathBuf,
    name: String,
}

/// The credential as it is now, and until when.
#[derive(Debug)]
pub struct Renewed {
    /// What it is.
    pub kept: CachedCredential,
    /// What the provider's user name for git is.
    pub git_username: &'static str,
    /// Whether git must send it as `Authorization: Bearer`.
    pub git_wants_bearer: bool,
}

/// Why nothing is handed to whoever calls back.
pub fn not_renewed(what: impl Into<String>) -> Failure {
    Failure::new(Ident::NotRenewed, what)
}

impl<'a> Callback<'a> {
    /// For the credential `name` of the block whose private folder is `folder`.
    pub fn of(host: &'a Host, folder: PathBuf, name: String) -> Self {
        Self { host, folder, name }
    }

    /// The credential, lent anew where what is there ends soon.
    pub async fn credential(&self) -> Result<Renewed, Failure> {
        let context = self.context()?;
        let (file, requests) = self.asked(&context)?;
        let wanted = self.find(&requests)?;
        let kind = wanted.ask.kind();
        let (git_username, git_wants_bearer) = (kind.git_username(), kind.git_wants_bearer());
        let _alone = self.alone().await?;
        if let Some(kept) =
            CachedCredential::read(&self.folder, &self.name).filter(|kept| self.is_enough(kept))
        {
            return Ok(Renewed { kept, git_username, git_wants_bearer });
        }
        let exchange = Exchange::new(&context)?;
        let subset = needed(wanted, &requests);
        let asked: Vec<Request> = subset.iter().map(|(_, request)| (*request).clone()).collect();
        let places: Vec<usize> = subset.iter().map(|(place, _)| *place).collect();
        let (identity, asked) = asked::settle_again(&exchange, asked).await?;
        let subset: Vec<(usize, &Request)> = places.into_iter().zip(&asked).collect();
        let mut journal = self.journal(&file.journal).await?;
        if identity.claims.text("job_id").as_deref() != Some(journal.opened().job.as_str()) {
            return Err(not_renewed("the block belongs to another job"));
        }
        let decided = decide(&context, &file, &journal, &subset, &identity)?;
        if context.loaded.config.required.encryption_at_rest {
            at_rest::require(&mut journal, &self.folder)?;
        }
        let durable = journal.append(lend::intents(&exchange, &decided));
        durable.map_err(|error| Unusable::Journal(error).failure())?;
        // Others may need the journal while the provider thinks.
        drop(journal);
        let answers = exchange.all(&decided, &self.folder).await;
        let mut answered = lend::answered(&exchange, &decided, answers).await;
        self.write_down(&context, &file.journal, &mut answered).await?;
        if let Some(error) = answered.failure {
            return Err(error);
        }
        let last = answered.credentials.into_iter().next_back();
        let kept = self.keep(&context, last).await?;
        Ok(Renewed { kept, git_username, git_wants_bearer })
    }

    /// Notes what was lent and found, before anything is handed over; what cannot be noted is given back.
    async fn write_down(
        &self,
        context: &Context<'_>,
        journal: &Path,
        answered: &mut Answered,
    ) -> Result<(), Failure> {
        let mut entries = std::mem::take(&mut answered.entries);
        let found = answered.findings.drain(..).map(|Told { ident, what }| Entry::Found { ident, what });
        entries.extend(found);
        let written = match self.journal(journal).await {
            Ok(mut journal) => {
                let strict = context.loaded.config.required.encryption_at_rest;
                let may = if strict { at_rest::require(&mut journal, &self.folder) } else { Ok(()) };
                may.and_then(|()| journal.append(entries).map_err(|error| Unusable::Journal(error).failure()))
                    .map(|()| survivors::leave(context, &journal, &answered.leases))
            }
            Err(closed) => Err(closed),
        };
        let left = match written {
            Ok(left) => left,
            Err(error) => {
                give_back(context, &answered.leases).await;
                return Err(error);
            }
        };
        // Where it is required and failed, the journal has the lease: it is given back with the others.
        if let Some(told) = left? {
            tracing::warn!("{}", told.what);
        }
        Ok(())
    }

    /// Forgets what is kept: somebody was refused with it.
    pub fn forget(&self) -> Result<(), Failure> {
        let removed = files::remove(&CachedCredential::path(&self.folder, &self.name));
        removed.map_err(|error| not_renewed(format!("what is kept cannot be removed: {error}")))
    }

    pub(super) fn context(&self) -> Result<Context<'a>, Failure> {
        let loaded = load::load(self.host).map_err(|error| error.failure())?;
        if loaded.config.mode == Mode::Off {
            return Err(not_renewed("lending is switched off by the host config"));
        }
        Context::new(self.host, Form::AgentHook, loaded)
    }

    pub(super) fn asked(&self, context: &Context<'_>) -> Result<(BlockFile, Vec<Request>), Failure> {
        let path = self.folder.join(asked::FILE);
        let bytes = files::read_trusted(&path, &[nix::unistd::geteuid().as_raw()]).map_err(|error| {
            let told = Failure::of(Ident::NotRenewed, &error);
            told.hinted("the leases of the block have ended, or `--block` names no folder of this program")
        })?;
        let file = BlockFile::read(&bytes).map_err(|error| {
            not_renewed(format!("`{}` is not what a hook wrote: {error}", path.display()))
        })?;
        let step = Step::read(serde_json::json!({ "credentials": file.credentials }));
        let requests = step.and_then(|step| request::of_step(&step, &context.loaded.config));
        let requests = file.asked_for(requests.map_err(|error| error.failure())?);
        Ok((file, requests))
    }

    pub(super) fn find<'r>(&self, requests: &'r [Request]) -> Result<&'r Request, Failure> {
        let named = requests.iter().find(|request| request.name.as_deref() == Some(&self.name));
        named.filter(|request| request.may_be_renewed()).ok_or_else(|| {
            not_renewed(format!("the block has no credential `{}` that may be renewed", self.name))
                .hinted("`refresh: true` lets a credential be renewed while the step runs")
        })
    }

    fn is_enough(&self, kept: &CachedCredential) -> bool {
        let now = self.host.clock.now();
        kept.expires_at > now && (kept.expires_at - now >= ENOUGH || now - kept.issued_at < YOUNG)
    }

    /// Waits until no other callback is at this credential.
    async fn alone(&self) -> Result<files::Locked, Failure> {
        let path = self.folder.join(format!("{}.lock", self.name));
        for _ in 0..TRIES.0 {
            match files::lock(&path) {
                Ok(Some(locked)) => return Ok(locked),
                Ok(None) => self.host.clock.sleep(TRIES.1).await,
                Err(error) => {
                    return Err(not_renewed(format!("`{}` cannot be locked: {error}", path.display())));
                }
            }
        }
        Err(not_renewed("another process has been renewing it for too long"))
    }

    /// The block's journal, as soon as nobody else writes; a block whose leases end lends nothing more.
    pub(super) async fn journal(&self, folder: &Path) -> Result<Journal, Failure> {
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

    pub(super) async fn redact(&self, secrets: &[Secret]) -> Result<(), Failure> {
        let job = JobApi::of(&self.host.env).map_err(|error| error.failure())?;
        forms::register(&job, forms::of_all(secrets.iter())).await.map_err(|error| error.failure())
    }

    async fn keep(
        &self,
        context: &Context<'_>,
        credential: Option<Credential>,
    ) -> Result<CachedCredential, Failure> {
        let credential = credential.ok_or_else(|| bug("a renewal answered nothing"))?;
        self.redact(&credential.secrets()).await?;
        let kept = CachedCredential::of(&credential, context.host.clock.now());
        let written = kept.write(&self.folder, &self.name);
        written.map_err(|error| not_renewed(format!("the renewed credential cannot be kept: {error}")))?;
        Ok(kept)
    }
}

/// Nobody will see what was lent, and no journal will give it back: it is given back here.
async fn give_back(context: &Context<'_>, leases: &[dataflow_lease::Lease]) {
    let settling = provider::SettleContext {
        host: &context.loaded.config,
        http: &context.http,
        clock: &context.host.clock,
    };
    for lease in leases {
        let time = context.loaded.config.deadlines.release.0;
        let settlement =
            context.host.clock.within(time, provider::settle(&lease.terms(false), &settling)).await;
        tracing::warn!(
            principal = lease.principal,
            ?settlement,
            "a renewal came too late and was given back"
        );
    }
}
