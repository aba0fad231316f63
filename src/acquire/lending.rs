//! Lending: intent before exchange, journal before export, redact before export, all or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join;

use super::exchange::{Approved, Exchange};
use super::identity::Asked;
use super::{at_rest, journal_entries, profiles};
use crate::callback::{Place, prepare};
use crate::context::Context;
use crate::release::{close, escrow};
use crate::report::{self, Report};
use crate::{findings, keeper, record_parts};
use dataflow_config::host::Mode;
use dataflow_config::step::{Release, Step};
use dataflow_host::agent::job_api::JobApi;
use dataflow_job::identity::Identity;
use dataflow_lease::Lease;
use dataflow_lease::journal::{Entry, Journal, Opened, VERSION};
use dataflow_lease::private::{self, Owner};
use dataflow_lease::state::Unusable;
use dataflow_policy::{self as policy, Request, wanted::LeftOut};
use dataflow_providers::token::Subject;
use dataflow_record::end::SealedBy;
use dataflow_record::parts::{Finding, Outcome, Start};
use dataflow_types::credential::{Credential, NEVER};
use dataflow_types::failure::Failure;
use dataflow_types::finding;
use dataflow_types::secret::Secret;

pub(crate) type Refused = (Outcome, Failure);

/// One block while it is being lent.
pub(crate) struct Lending<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) journal: Journal,
    files: PathBuf,
    pub(super) start: Start,
    pub(super) sealed: bool,
    leases: Vec<Lease>,
}

impl<'a> Lending<'a> {
    pub(crate) fn open(
        context: &'a Context<'a>,
        instance: String,
        step: &Step,
        identity: &Identity,
    ) -> Result<Self, Failure> {
        let job = identity.claims.text("job_id").unwrap_or_default();
        let opened = Opened {
            version: VERSION,
            job,
            instance,
            container: context.container(),
            bootstrap: context.bootstrap.clone(),
            socket: context.host.env.get(&dataflow_host::env::JOB_API_SOCKET).map(Into::into),
            release_at_pre_exit: step.release == Release::PreExit,
            install: context.form.word().to_owned(),
            mode: if context.loaded.config.mode == Mode::Observe { "observe" } else { "enforce" }.to_owned(),
            host_config: context.loaded.digest.clone(),
            records: dataflow_record::place::folder(&identity.claims, context.started),
            at: context.started,
        };
        let folder = context.state.block(&opened.job, &opened.instance, opened.container.as_deref());
        let journal = Journal::create(&folder, opened).map_err(|error| Unusable::Journal(error).failure())?;
        let start = record_parts::start(context, identity, step);
        let files = private::new(&folder);
        Ok(Self { context, journal, files, start, sealed: false, leases: Vec::new() })
    }

    pub(crate) async fn lend(
        &mut self,
        job: &JobApi,
        asked: Vec<Asked>,
        identity: &Identity,
    ) -> Result<(), Refused> {
        self.record_tokens(asked.iter().map(|one| &one.subject));
        let approved = self.approve(asked, identity)?;
        let credentials = self.exchange(&approved).await;
        // Once more: a try that was refused may have fetched a fresh one.
        self.record_tokens(approved.iter().map(|one| &one.subject));
        let credentials = credentials?;
        let requests: Vec<&Request> = approved.iter().map(|one| &one.request).collect();
        let failed = |failure| (Outcome::Failed, failure);
        if self.leases.is_empty() {
            self.seal_start(Vec::new()).map_err(failed)?;
            let sent = self.delivery().finish().await;
            return self.stored(sent).map_err(failed);
        }
        let folder = self.files.clone();
        let callbacks = prepare::prepare(self.place(&folder), &requests, &credentials);
        let mut callbacks =
            callbacks.map_err(|_| failed(report::bug("what callbacks need cannot be written")))?;
        let asked = callbacks.asked.take().map(|digest| Entry::Asked { digest });
        let hidden = requests.iter().flat_map(|one| one.ask.kind().hidden());
        callbacks.secrets.extend(hidden.map(Secret::new));
        let seen = credentials.into_iter().zip(&requests).filter(|(_, one)| one.export);
        let seen: Vec<Credential> = seen.map(|(credential, _)| credential).collect();
        self.start.findings.extend(profiles::keep(self.context, &seen, &mut callbacks.files));
        let export = callbacks.beside(seen, &self.owner(), &folder, &self.context.host.env);
        let export = export.map_err(|error| failed(error.failure()))?;
        self.start.exported = export.names();
        self.start.findings.extend(findings::covered(&export, &self.context.host.env));
        let to_hide = export.to_hide();
        let texts = to_hide.texts.len();
        self.start.findings.extend(findings::not_hidden(to_hide.left_out));
        let exporting = Entry::Exporting { variables: export.previous().to_vec() };
        self.start.findings.extend(at_rest::finding(&self.journal, &self.leases, &export, &folder));
        // Both before anything is handed over, and neither waits for the other.
        let entries = asked.into_iter().chain([exporting]).collect();
        let (delivered, hidden) = join(self.seal_and_deliver(entries), export.hide(job, to_hide)).await;
        delivered.map_err(failed)?;
        hidden.map_err(|error| failed(error.failure()))?;
        tracing::info!(texts, "hidden in the log");
        export.hand_over(job).await.map_err(|error| failed(error.failure()))?;
        tracing::info!(names = self.start.exported.join(" "), "exported");
        if keeper::is_needed(&requests, &self.leases) {
            self.start_keeper();
        }
        Ok(())
    }

    fn owner(&self) -> Owner {
        Owner { journal: self.journal.folder().to_owned(), opened: self.journal.opened().clone() }
    }

    fn place<'p>(&'p self, folder: &'p Path) -> Place<'p> {
        let host = self.context.host;
        let (program, env, clock) = (&host.program, &host.env, &host.clock);
        Place { program, journal: self.journal.folder(), folder, env, clock }
    }

    fn record_tokens<'s>(&mut self, subjects: impl Iterator<Item = &'s Option<Arc<Subject>>>) {
        let mut known: Vec<&Subject> = Vec::new();
        for subject in subjects.flatten().map(Arc::as_ref) {
            if !known.iter().any(|other| std::ptr::eq(*other, subject)) {
                known.push(subject);
            }
        }
        self.start.tokens = known.into_iter().flat_map(record_parts::token_uses).collect();
    }

    /// The step has what it was lent, and for some minutes it works: a missing keeper is a line of the log only,
    /// for the START link is sealed.
    fn start_keeper(&mut self) {
        if let Err(error) = keeper::start(self.context, self.journal.folder()) {
            let what = format!(
                "the keeper could not be started ({error}): token files will not be kept fresh, and after a kill \
                 leases wait for the next sweep"
            );
            self.start.findings.push(Finding::new(finding::Ident::KeeperNotStarted, what));
        }
    }

    fn approve(&mut self, asked: Vec<Asked>, identity: &Identity) -> Result<Vec<Approved>, Refused> {
        let config = &self.context.loaded.config;
        let requests = || asked.iter().map(|one| &one.request);
        // From now on in our own words, from the export on in the step's log.
        let hidden = requests().flat_map(|request| request.ask.kind().hidden());
        hidden.for_each(|text| self.context.host.mask.add(&Secret::new(text)));
        let policy::Ruling { decisions, outcome } = policy::rule(requests(), &identity.claims, config);
        let ids = || (1..).map(|number: usize| number.to_string());
        let decided = ids().zip(requests()).zip(&decisions);
        let requested =
            decided.map(|((id, request), decision)| record_parts::requested(id, request, decision, config));
        self.start.requests = requested.collect();
        self.start.findings.extend(findings::not_secret(requests()));
        let would_be_denied = outcome.map_err(|denied| (Outcome::Denied, denied))?;
        let found = would_be_denied
            .iter()
            .map(|denied| Finding::new(finding::Ident::WouldBeDenied, denied.sentence()));
        self.start.findings.extend(found);
        let job = &self.journal.opened().job;
        Ok(asked.into_iter().zip(ids()).map(|(one, id)| Approved::of(one, id, job)).collect())
    }

    async fn exchange(&mut self, approved: &[Approved]) -> Result<Vec<Credential>, Refused> {
        if self.context.loaded.config.required.encryption_at_rest {
            at_rest::require(&mut self.journal, &self.files).map_err(|failure| (Outcome::Failed, failure))?;
        }
        let exchange = Exchange::new(self.context);
        let durable =
            self.journal.append(journal_entries::first_entries(&exchange, approved, &self.context.bootstrap));
        durable.map_err(|error| (Outcome::Failed, Unusable::Journal(error).failure()))?;
        let answers = exchange.all(approved, &self.files).await;
        let answered = journal_entries::answered(&exchange, approved, answers);
        self.start.findings.extend(answered.findings);
        self.leases = answered.leases;
        self.start.leases = self.leases.iter().map(record_parts::lent).collect();
        let left = escrow::leave(self.context, &self.journal, &self.leases);
        // Durable with the START link, which is sealed next, whatever happened here.
        let written = self.journal.note(answered.entries);
        written.map_err(|error| (Outcome::Failed, Unusable::Journal(error).failure()))?;
        self.start.findings.extend(left.map_err(|failure| (Outcome::Failed, failure))?);
        answered.failure.map_or(Ok(answered.credentials), |failure| Err((Outcome::Failed, failure)))
    }

    /// Gives back what was lent so far, closes the record, and says what state is left.
    pub(crate) async fn refuse(mut self, outcome: Outcome, failure: Failure) -> Failure {
        // A signal to end would leave to other processes what this one can give back itself.
        dataflow_host::process::outlive_signals();
        let recorded = record_parts::failure(&failure, self.context);
        // A START that is sealed says that all went well: then the END tells why it did not.
        let known = if self.sealed { vec![recorded.clone()] } else { Vec::new() };
        if !self.sealed {
            self.start.outcome = outcome;
            self.start.failure = Some(recorded);
            self.start.exported.clear();
            // One that could not be made durable is not the first of two: it would say that all went well.
            self.journal.forget_links();
            if let Err(error) = self.seal_start(Vec::new()) {
                tracing::error!(what = error.what, "the START link could not be written");
            }
        }
        let ended = close::close_block(self.context, self.journal, SealedBy::PreCommand, known).await;
        failure.leaving(match ended.settled.as_slice() {
            [] => "nothing was exported".to_owned(),
            settled => format!("nothing was exported; {}", settled.join("; ")),
        })
    }

    /// Notes what is not asked for.
    pub(crate) fn leave_out(&mut self, left_out: &[LeftOut]) {
        self.start.findings.extend(left_out.iter().map(findings::left_out));
    }

    pub(crate) fn report(&self, report: &mut Report) {
        for lease in &self.leases {
            let ends = lease.expires_at.timestamp() < NEVER;
            let until = ends.then(|| format!(" until {}", lease.expires_at.format("%Y-%m-%dT%H:%M:%SZ")));
            report.lines.push(format!("lent `{}`{}", lease.principal, until.unwrap_or_default()));
        }
        for finding in &self.start.findings {
            let lines = if findings::is_news(finding) { &mut report.lines } else { &mut report.warnings };
            lines.push(finding.what.clone());
        }
    }
}
