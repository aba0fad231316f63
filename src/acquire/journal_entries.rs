//! What an exchange leaves in the journal: an intent before it, a lease or a refusal after it.

use super::exchange::{Approved, Exchange};
use crate::{findings, record_parts};
use dataflow_config::credential::Settle;
use dataflow_host::process::ProcessId;
use dataflow_lease::Lease;
use dataflow_lease::journal::{Entry, Intent};
use dataflow_providers::Error;
use dataflow_record::parts::Finding;
use dataflow_types::credential::Credential;
use dataflow_types::failure::Failure;

/// What came of several exchanges.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// For the journal, before anything is handed over.
    pub(crate) entries: Vec<Entry>,
    /// What was lent.
    pub(crate) leases: Vec<Lease>,
    /// What was lent, itself: one for each of the requests where nothing failed.
    pub(crate) credentials: Vec<Credential>,
    /// What a reader of the record should look at.
    pub(crate) findings: Vec<Finding>,
    /// What went wrong, if anything did.
    pub(crate) failure: Option<Failure>,
}

/// What a journal begins with: how the hooks after the command are known, and the intents.
pub(crate) fn first_entries(
    exchange: &Exchange<'_>,
    approved: &[Approved],
    bootstrap: &ProcessId,
) -> Vec<Entry> {
    let held = bootstrap.holds_this_process().then_some(Entry::HooksAreHeld);
    held.into_iter().chain(intents(exchange, approved)).collect()
}

/// What must be durable before anybody is asked.
pub(crate) fn intents(exchange: &Exchange<'_>, approved: &[Approved]) -> Vec<Entry> {
    let intent = |one: &Approved| {
        Entry::Intent(Intent {
            id: one.id.clone(),
            provider: one.request.ask.kind().provider().to_owned(),
            session: one.session.clone(),
            latest: exchange.latest(&one.request),
        })
    };
    for one in approved {
        let kind = one.request.ask.kind();
        tracing::info!(provider = kind.provider(), target = kind.target(), "asking");
    }
    approved.iter().map(intent).collect()
}

/// What the answers mean.
pub(crate) fn answered(
    exchange: &Exchange<'_>,
    approved: &[Approved],
    answers: Vec<Result<Credential, Error>>,
) -> Answered {
    let mut answered = Answered::default();
    let mut failures = Vec::new();
    for (one, answer) in approved.iter().zip(answers) {
        match answer {
            Ok(credential) => {
                let provider = one.request.ask.kind().provider();
                let mut lease = Lease::on(&credential, &one.id, provider, &one.session, exchange.now());
                lease.children = children(one, approved);
                lease.leave = one.request.settle == Settle::Leave;
                tracing::info!(provider, principal = lease.principal, until = %lease.expires_at, "lent");
                answered.entries.push(Entry::Leased(lease.clone()));
                let latest = exchange.latest(&one.request);
                answered.findings.extend(findings::of_lease(&lease, credential.answer_lost, latest));
                answered
                    .findings
                    .extend(exchange.outlived(&lease).map(|limit| findings::outlived(&lease, limit)));
                answered.leases.push(lease);
                answered.credentials.push(credential);
            }
            Err(error) => {
                let reason = exchange.masked(&error.reason());
                tracing::info!(provider = one.request.ask.kind().provider(), reason, "not lent");
                answered.entries.extend(record_parts::not_lent(&one.id, &error, reason));
                // The failure of a source says more than that of the requests that waited for it.
                let waited = matches!(error, Error::Source(_));
                failures.push((waited, error.failure(&one.request, one.presented().as_ref())));
            }
        }
    }
    answered.failure = failures.into_iter().min_by_key(|(waited, _)| *waited).map(|(_, failure)| failure);
    answered
}

/// The requests that are made with this one.
fn children(one: &Approved, all: &[Approved]) -> Vec<String> {
    let name = one.request.name.as_deref();
    let made_with = |other: &&Approved| {
        other.request.ask.kind().sources().iter().any(|(_, source)| Some(*source) == name)
    };
    all.iter().filter(made_with).map(|other| other.id.clone()).collect()
}
