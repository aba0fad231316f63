//! The requests of a block: tokens, identity, and the exchanges, all at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, join_all, select, try_join_all};

use crate::context::Context;
use crate::report;
use dataflow_config::host::Verify;
use dataflow_config::token::From;
use dataflow_host::agent::oidc::{Issuer, Shape};
use dataflow_host::retry::{Backoff, UNTIL_THE_DEADLINE};
use dataflow_job::identity::{Identity, Verifier};
use dataflow_job::keys::KeyStore;
use dataflow_job::situation::Situation;
use dataflow_lease::Lease;
use dataflow_policy::wanted::{self, Wanted};
use dataflow_policy::{self as policy, Request, request};
use dataflow_providers::source::Sources;
use dataflow_providers::token::{Key, Tokens};
use dataflow_providers::{self as provider, Error};
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::credential::Credential;
use dataflow_types::failure::Failure;
use dataflow_types::span::Span;

/// The audience of a token that is only to say who runs: nobody else believes it.
pub(crate) const IDENTITY_AUDIENCE: &str = "urn:buildkite-dataflow:identity";

/// A request that the policy lets through.
#[derive(Debug)]
pub(crate) struct Approved {
    /// What the journal and the record call it.
    pub(crate) id: String,
    /// What is asked for.
    pub(crate) request: Request,
    /// What the exchange is called in the provider's log.
    pub(crate) session: String,
}

/// The way to tokens and providers for one block.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    context: &'a Context<'a>,
    tokens: Tokens,
    keys: KeyStore,
    until: DateTime<Utc>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Result<Self, Failure> {
        let config = &context.loaded.config;
        let until = context.started + config.deadlines.grant.0;
        let issuer = Issuer::of(context.host, &context.http, config.deadlines.retry.0);
        let issuer = issuer.map_err(|error| error.failure())?;
        // Where keys are not needed, a host without a way to the issuer is not to wait for them at each step.
        let attempts = if config.verify == Verify::Required { 5 } else { 1 };
        let backoff = Backoff { attempts, base: config.deadlines.retry.0, jitter: true };
        let (http, clock, cache) = (&context.http, &context.host.clock, context.state.cache());
        Ok(Self {
            context,
            tokens: Tokens::new(issuer, context.host.mask.clone(), clock.clone(), until),
            keys: KeyStore::new(http, clock, Some(cache), backoff, until),
            until,
        })
    }

    /// Mints every token that the requests need, at once, and learns from them who runs.
    pub(crate) async fn identify(&self, requests: &[Request]) -> Result<Identity, Failure> {
        let mut keys: BTreeSet<Key> = requests.iter().filter_map(provider::token_key).collect();
        if !keys.iter().any(|key| key.from == From::Agent) {
            let shape = Shape { audience: Some(IDENTITY_AUDIENCE.to_owned()), ..Shape::default() };
            keys.insert(Key { from: From::Agent, shape });
        }
        let issuers = &self.context.loaded.config.issuers;
        // The usual issuer's keys are fetched while the tokens are minted. Who verifies asks for them again and shares
        // what comes of it; where nobody gets that far, nobody waits for them.
        let early = async {
            if let [issuer] = issuers.as_slice() {
                drop(self.keys.keys(issuer).await);
            }
        };
        match select(pin!(early), pin!(self.minted(&keys))).await {
            Either::Left(((), minted)) => minted.await,
            Either::Right((minted, _)) => minted,
        }
    }

    /// Mints these tokens, and learns from the agent's own who runs.
    async fn minted(&self, keys: &BTreeSet<Key>) -> Result<Identity, Failure> {
        let mint = async |key| Ok((key, self.tokens.get(key).await.map_err(|error| token_failure(&error))?));
        let minted = try_join_all(keys.iter().map(mint)).await?;
        let mut identity = None;
        for (key, token) in minted {
            let (audience, token_is) = (key.shape.audience.as_deref(), token.fingerprint().handle());
            tracing::info!(audience, token = token_is, "have a token of the job");
            if key.from == From::Agent {
                let verified = self.verify(key, &token).await?;
                identity.get_or_insert(verified);
            }
        }
        identity.ok_or_else(|| report::bug("no token of the agent among the minted ones"))
    }

    /// Who runs, and what is asked for now that this is known. What waits for it is minted afterwards, and for what is
    /// not asked for nothing is.
    pub(crate) async fn resolve(&self, requests: Vec<Request>) -> Result<(Identity, Wanted), Failure> {
        let (open, certain): (Vec<Request>, Vec<Request>) =
            requests.iter().cloned().partition(|request| request.pending.is_open());
        let identity = self.identify(&certain).await?;
        let requests = request::without_unmatched(requests, &identity.claims, &self.context.loaded.config);
        let situation = Situation::of(&identity.claims, &self.context.host.env);
        let wanted = wanted::settle(requests, &identity.claims, &situation);
        let wanted = wanted.map_err(|error| error.failure().presenting(&identity.claims))?;
        if !open.is_empty() && !wanted.requests.is_empty() {
            self.identify(&wanted.requests).await?;
        }
        Ok((identity, wanted))
    }

    async fn verify(&self, key: &Key, token: &SubjectToken) -> Result<Identity, Failure> {
        let config = &self.context.loaded.config;
        let verifier = Verifier { issuers: &config.issuers, verify: config.verify, keys: &self.keys };
        let audience = key.shape.audience.as_deref().unwrap_or_default();
        let identity = verifier.identify(token, audience, self.context.host.clock.now()).await;
        identity.map_err(|error| {
            let claims = token.unverified_claims().unwrap_or_default();
            error.failure().presenting(&claims)
        })
    }

    /// The token of a request, as it was minted.
    pub(crate) async fn token(&self, request: &Request) -> Option<SubjectToken> {
        self.tokens.get(&provider::token_key(request)?).await.ok()
    }

    /// The tokens that were fetched for these requests, each once, whatever came of it.
    pub(crate) fn fetched<'r>(
        &self,
        requests: impl Iterator<Item = &'r Request>,
    ) -> Vec<(Key, SubjectToken)> {
        let mut keys: Vec<Key> = Vec::new();
        for key in requests.filter_map(provider::token_key) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let of = |key: Key| self.tokens.fetched(&key).into_iter().map(move |token| (key.clone(), token));
        keys.into_iter().flat_map(of).collect()
    }

    /// What the token of a request says, for messages.
    pub(crate) async fn presented(&self, request: &Request) -> Option<Claims> {
        self.token(request).await?.unverified_claims().ok()
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
            tokens: &self.tokens,
            sources: &sources,
            folder,
            program: &self.context.host.program,
            mask: &self.context.host.mask,
            backoff: Backoff { attempts: UNTIL_THE_DEADLINE, base: config.deadlines.retry.0, jitter: true },
            until: self.until,
        };
        let exchange = async |one: &Approved| {
            let Approved { request, session, .. } = one;
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
        let asked = || policy::duration(kind, &self.context.loaded.config).max(kind.on_the_way());
        self.until + kind.longest().unwrap_or_else(asked).0
    }
}

fn token_failure(error: &Error) -> Failure {
    match error {
        Error::Token(inner) => inner.failure(),
        other => Failure::of(dataflow_types::failure::Ident::NoToken, other),
    }
}
