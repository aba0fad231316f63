//! Renews a credential for a step that runs. Callers that come together share one exchange.

use std::path::Path;

use chrono::TimeDelta;

use super::approve::{approve, needed, resolve_again};
use super::{Callback, TRIES, not_renewed};
use crate::acquire::at_rest;
use crate::acquire::exchange::Exchange;
use crate::acquire::identity::Asked;
use crate::acquire::journal_entries::{self, Answered};
use crate::context::Context;
use crate::release::escrow;
use crate::report::bug;
use dataflow_host::files;
use dataflow_lease::cached::CachedCredential;
use dataflow_lease::journal::Entry;
use dataflow_lease::state::Unusable;
use dataflow_policy::Request;
use dataflow_providers as provider;
use dataflow_record::parts::Finding;
use dataflow_types::credential::Credential;
use dataflow_types::failure::Failure;

/// A kept credential with less left is renewed: botocore begins to ask at 15 minutes.
const ENOUGH: TimeDelta = TimeDelta::minutes(15);
/// A younger one is not, however short its life: SDKs ask again and again near an end.
const YOUNG: TimeDelta = TimeDelta::seconds(60);
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

impl Callback<'_> {
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
        let subset = needed(wanted, &requests);
        let asked: Vec<Request> = subset.iter().map(|(_, request)| (*request).clone()).collect();
        let places: Vec<usize> = subset.iter().map(|(place, _)| *place).collect();
        let (identity, asked) = resolve_again(&context, asked).await?;
        let subset: Vec<(usize, Asked)> = places.into_iter().zip(asked).collect();
        let mut journal = self.journal(&file.journal).await?;
        if identity.claims.text("job_id").as_deref() != Some(journal.opened().job.as_str()) {
            return Err(not_renewed("the block belongs to another job"));
        }
        let approved = approve(&context, &file, &journal, subset, &identity)?;
        if context.loaded.config.required.encryption_at_rest {
            at_rest::require(&mut journal, &self.folder)?;
        }
        let exchange = Exchange::new(&context);
        let durable = journal.append(journal_entries::intents(&exchange, &approved));
        durable.map_err(|error| Unusable::Journal(error).failure())?;
        // Others may need the journal while the provider thinks.
        drop(journal);
        let answers = exchange.all(&approved, &self.folder).await;
        let mut answered = journal_entries::answered(&exchange, &approved, answers);
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
        let found = answered.findings.drain(..).map(|Finding { ident, what }| Entry::Found { ident, what });
        entries.extend(found);
        let written = match self.journal(journal).await {
            Ok(mut journal) => {
                let strict = context.loaded.config.required.encryption_at_rest;
                let may = if strict { at_rest::require(&mut journal, &self.folder) } else { Ok(()) };
                may.and_then(|()| journal.append(entries).map_err(|error| Unusable::Journal(error).failure()))
                    .map(|()| escrow::leave(context, &journal, &answered.leases))
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
        if let Some(finding) = left? {
            tracing::warn!("{}", finding.what);
        }
        Ok(())
    }

    /// Forgets what is kept: somebody was refused with it.
    pub fn forget(&self) -> Result<(), Failure> {
        let removed = files::remove(&CachedCredential::path(&self.folder, &self.name));
        removed.map_err(|error| not_renewed(format!("what is kept cannot be removed: {error}")))
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

/// No process gets what was lent, and no journal has it: it is given back here.
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
