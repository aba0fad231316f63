//! The exchanges of a block, all at once.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::identity::Asked;
use crate::context::Context;
use dataflow_host::retry::{Backoff, UNTIL_THE_DEADLINE};
use dataflow_lease::Lease;
use dataflow_policy::{self as policy, Request};
use dataflow_providers::source::Sources;
use dataflow_providers::token::Subject;
use dataflow_providers::{self as provider, Error};
use dataflow_types::claims::Claims;
use dataflow_types::credential::Credential;
use dataflow_types::span::Span;

/// A request that the policy lets through.
#[derive(Debug)]
pub(crate) struct Approved {
    /// What the journal and the record call it.
    pub(crate) id: String,
    /// What is asked for.
    pub(crate) request: Request,
    /// What the exchange is called in the provider's log.
    pub(crate) session: String,
    /// The job's token, where it is made with one.
    pub(crate) subject: Option<Arc<Subject>>,
}

impl Approved {
    /// The same request of the job `job`, under the name `id`.
    pub(crate) fn of(asked: Asked, id: String, job: &str) -> Self {
        let Asked { request, subject } = asked;
        Self { id, session: provider::session(&request, job), request, subject }
    }

    /// What its token says, for messages.
    pub(crate) fn presented(&self) -> Option<Claims> {
        self.subject.as_ref()?.last().claims
    }
}

/// The way to providers for one block.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    context: &'a Context<'a>,
    until: DateTime<Utc>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Self {
        Self { context, until: context.acquire_until() }
    }

    /// Tries every exchange at once, but for those that wait for another credential of the block; the
    /// answers in the order of the requests.
    pub(crate) async fn all(&self, approved: &[Approved], folder: &Path) -> Vec<Result<Credential, Error>> {
        let config = &self.context.loaded.config;
        let sources = Sources::named(approved.iter().filter_map(|one| one.request.name.clone()));
        let context = provider::Context {
            host: config,
            http: &self.context.http,
            clock: &self.context.host.clock,
            subject: None,
            sources: &sources,
            folder,
            program: &self.context.host.program,
            mask: &self.context.host.mask,
            backoff: Backoff { attempts: UNTIL_THE_DEADLINE, base: config.deadlines.retry.0, jitter: true },
            until: self.until,
        };
        let exchange = async |one: &Approved| {
            let Approved { request, session, subject, .. } = one;
            let context = provider::Context { subject: subject.as_deref(), ..context };
            let answer = provider::exchange(request, session, &context).await;
            for secret in answer.iter().flat_map(Credential::secrets) {
                self.context.host.mask.add(&secret);
            }
            if let Some(name) = &request.name {
                sources.made(name, answer.as_ref().ok().map(|credential| credential.material.clone()));
            }
            answer
        };
        join_all(approved.iter().map(&exchange)).await
    }

    /// A text without any secret that this process has met: a server may repeat one.
    pub(crate) fn masked(&self, text: &str) -> String {
        self.context.host.mask.apply(text)
    }

    /// What time it is.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.host.clock.now()
    }

    /// The host's limit beyond which a lease goes that was lent all the same: this host only observes. A stored secret has
    /// no end.
    pub(crate) fn outlived(&self, lease: &Lease) -> Option<Span> {
        let left = lease.expires_at - self.now();
        let stored = lease.provider == provider::secrets::NAME;
        policy::outlived(left, &self.context.loaded.config).filter(|_| !stored)
    }

    /// The latest time at which a credential asked for now could live.
    pub(crate) fn latest(&self, request: &Request) -> DateTime<Utc> {
        let kind = request.ask.kind();
        let asked = || policy::duration(kind, &self.context.loaded.config).max(kind.intermediate_lifetime());
        self.until + kind.longest().unwrap_or_else(asked).0
    }
}
