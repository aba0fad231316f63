//! The job's own token for a step that runs: for SDKs that exchange it themselves.
//!
//! It is printed for them, or written into the file that they read. Every holder can exchange it until
//! its end, so each is a lease in the block's journal: on the last credential that could be had for it.

use super::approve::{approve, resolve_again};
use super::block_file::BlockFile;
use super::{Callback, not_renewed};
use crate::acquire::exchange::Approved;
use crate::acquire::identity::Asked;
use crate::context::Context;
use crate::report::bug;
use dataflow_lease::journal::{Entry, Intent, Journal};
use dataflow_lease::state::Unusable;
use dataflow_lease::{Lease, Need};
use dataflow_policy::{self as policy, Request};
use dataflow_providers::token::Minted;
use dataflow_types::claims::SubjectToken;
use dataflow_types::failure::Failure;

impl Callback<'_> {
    /// A fresh token of the job, as the credential's own exchange takes it.
    pub async fn subject_token(&self) -> Result<SubjectToken, Failure> {
        let context = self.context()?;
        let (file, requests) = self.asked(&context)?;
        let wanted = self.find(&requests)?;
        Ok(self.token_of(&context, &file, &requests, wanted).await?.0)
    }

    /// The requests whose token files are kept fresh.
    pub(crate) fn kept_files(&self) -> Result<Vec<Request>, Failure> {
        let (_, requests) = self.asked(&self.context()?)?;
        Ok(requests.into_iter().filter(|request| request.token_file().is_some()).collect())
    }

    /// A fresh token of the job, as `request` takes it. While the caller has the journal, no process gives back.
    pub(crate) async fn token_for(&self, request: &Request) -> Result<(SubjectToken, Journal), Failure> {
        let context = self.context()?;
        let (file, requests) = self.asked(&context)?;
        self.token_of(&context, &file, &requests, request).await
    }

    async fn token_of(
        &self,
        context: &Context<'_>,
        file: &BlockFile,
        all: &[Request],
        request: &Request,
    ) -> Result<(SubjectToken, Journal), Failure> {
        let index = all.iter().position(|one| one == request);
        let index = index.ok_or_else(|| not_renewed("the block no longer asks for it"))?;
        let (identity, asked) = resolve_again(context, vec![request.clone()]).await?;
        let [asked] = <[Asked; 1]>::try_from(asked).map_err(|_| bug("a request went missing"))?;
        let subject = asked.subject.as_ref();
        let minted = subject.ok_or_else(|| not_renewed("it is not made with a token of the job"))?.last();
        // The journal has the lease before the caller has the token.
        let mut journal = self.journal(&file.journal).await?;
        if identity.claims.text("job_id").as_deref() != Some(journal.opened().job.as_str()) {
            return Err(not_renewed("the block belongs to another job"));
        }
        let approved = approve(context, file, &journal, vec![(index, asked)], &identity)?;
        let [one] = approved.as_slice() else { return Err(bug("one request was approved as several")) };
        let written = journal.append(lease(context, one, &minted));
        written.map_err(|error| Unusable::Journal(error).failure())?;
        self.redact(&[minted.token.secret().clone()]).await?;
        Ok((minted.token, journal))
    }
}

/// An intent, by which renewals are counted, and the lease.
fn lease(context: &Context<'_>, one: &Approved, minted: &Minted) -> Vec<Entry> {
    let (kind, now) = (one.request.ask.kind(), context.host.clock.now());
    let lease = Lease {
        id: one.id.clone(),
        provider: kind.provider().to_owned(),
        principal: kind.target(),
        handle: minted.claims.as_ref().and_then(|claims| claims.text("jti")).unwrap_or_default(),
        session: one.session.clone(),
        fingerprint: minted.token.fingerprint(),
        issued_at: now,
        expires_at: minted.last_use(policy::duration(kind, &context.loaded.config), now),
        children: Vec::new(),
        leave: false,
        settle_with: Need::Nothing,
    };
    let intent = Intent {
        id: lease.id.clone(),
        provider: lease.provider.clone(),
        session: lease.session.clone(),
        latest: lease.expires_at,
    };
    vec![Entry::Intent(intent), Entry::Leased(lease)]
}
