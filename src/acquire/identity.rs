//! Who runs: the tokens of the job, and what is asked for now that the job is known.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select, try_join_all};

use crate::context::Context;
use crate::report;
use dataflow_config::host::Verify;
use dataflow_config::token::TokenSource;
use dataflow_host::agent::oidc::{Issuer, TokenRequest};
use dataflow_host::retry::Backoff;
use dataflow_job::identity::{Identity, Verifier};
use dataflow_job::keys::KeyStore;
use dataflow_job::situation::Situation;
use dataflow_policy::wanted::{self, LeftOut};
use dataflow_policy::{Request, request};
use dataflow_providers::token::{Key, Minter, Subject};
use dataflow_providers::{self as provider, Error};
use dataflow_types::failure::{Failure, Ident};

/// The audience of a token that only says who runs: no server accepts it.
const IDENTITY_AUDIENCE: &str = "urn:buildkite-dataflow:identity";

/// A request, with the job's token where it is made with one.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked for, with the claims in it.
    pub(crate) request: Request,
    /// The token, which other requests may share.
    pub(crate) subject: Option<Arc<Subject>>,
}

/// Who runs, and what is asked for now that this is known.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Who runs.
    pub(crate) identity: Identity,
    /// What is asked for.
    pub(crate) asked: Vec<Asked>,
    /// What is not, because its condition is false.
    pub(crate) left_out: Vec<LeftOut>,
}

/// The tokens that were minted for one block.
type Subjects = BTreeMap<Key, Arc<Subject>>;

/// Mints and verifies the tokens of one block.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    context: &'a Context<'a>,
    minter: Arc<Minter>,
    keys: KeyStore,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Result<Self, Failure> {
        let config = &context.loaded.config;
        let until = context.acquire_until();
        let issuer = Issuer::of(context.host, &context.http, config.deadlines.retry.0);
        let issuer = issuer.map_err(|error| error.failure())?;
        // Where keys are not needed, a host without a way to the issuer is not to wait for them at each step.
        let attempts = if config.verify == Verify::Required { 5 } else { 1 };
        let backoff = Backoff { attempts, base: config.deadlines.retry.0, jitter: true };
        let (http, clock, cache) = (&context.http, &context.host.clock, context.state.cache());
        let minter = Minter { issuer, mask: context.host.mask.clone(), clock: clock.clone(), until };
        let keys = KeyStore::new(http, clock, Some(cache), backoff, until);
        Ok(Self { context, minter: Arc::new(minter), keys })
    }

    /// Who runs, and what is asked for now that this is known. What waits for it is minted afterwards, and for what is
    /// not asked for nothing is.
    pub(crate) async fn resolve(&self, requests: Vec<Request>) -> Result<Resolved, Failure> {
        let certain = requests.iter().filter(|request| !request.pending.is_open());
        let (identity, mut subjects) =
            self.identify(certain.filter_map(provider::token_key).collect()).await?;
        let requests = request::without_unmatched(requests, &identity.claims, &self.context.loaded.config);
        let situation = Situation::of(&identity.claims, &self.context.host.env);
        let wanted = wanted::resolve(requests, &identity.claims, &situation);
        let wanted = wanted.map_err(|error| error.failure().presenting(&identity.claims))?;
        let wanted_keys: Vec<Option<Key>> = wanted.requests.iter().map(provider::token_key).collect();
        let more = wanted_keys.iter().flatten().filter(|key| !subjects.contains_key(*key)).cloned();
        self.mint(more.collect(), &mut subjects).await?;
        let asked = wanted.requests.into_iter().zip(wanted_keys).map(|(request, key)| {
            let subject = key.and_then(|key| subjects.get(&key).cloned());
            Asked { request, subject }
        });
        Ok(Resolved { identity, asked: asked.collect(), left_out: wanted.left_out })
    }

    /// Mints these tokens, at once, and learns from them who runs.
    async fn identify(&self, mut keys: BTreeSet<Key>) -> Result<(Identity, Subjects), Failure> {
        if !keys.iter().any(|key| key.from == TokenSource::Agent) {
            let request =
                TokenRequest { audience: Some(IDENTITY_AUDIENCE.to_owned()), ..TokenRequest::default() };
            keys.insert(Key { from: TokenSource::Agent, request });
        }
        let issuers = &self.context.loaded.config.issuers;
        // The usual issuer's keys are fetched while the tokens are minted. The verification asks for them again and shares
        // what comes of it; where it is not reached, nothing waits for them.
        let early = async {
            if let [issuer] = issuers.as_slice() {
                drop(self.keys.keys(issuer).await);
            }
        };
        let mut subjects = Subjects::new();
        let identity = match select(pin!(early), pin!(self.mint(keys, &mut subjects))).await {
            Either::Left(((), minted)) => minted.await,
            Either::Right((minted, _)) => minted,
        }?;
        let identity = identity.ok_or_else(|| report::bug("no token of the agent among the minted ones"))?;
        Ok((identity, subjects))
    }

    /// Mints these tokens, at once; who runs, where one of them is the agent's.
    async fn mint(&self, keys: BTreeSet<Key>, subjects: &mut Subjects) -> Result<Option<Identity>, Failure> {
        let mint = async |key| Subject::mint(&self.minter, key).await.map_err(|error| token_failure(&error));
        let minted = try_join_all(keys.into_iter().map(mint)).await?;
        let mut identity = None;
        for subject in minted {
            let (audience, token) = (subject.key.request.audience.as_deref(), subject.last().token);
            tracing::info!(audience, token = token.fingerprint().handle(), "have a token of the job");
            if subject.key.from == TokenSource::Agent {
                let verified = self.verify(&subject).await?;
                identity.get_or_insert(verified);
            }
            subjects.insert(subject.key.clone(), Arc::new(subject));
        }
        Ok(identity)
    }

    async fn verify(&self, subject: &Subject) -> Result<Identity, Failure> {
        let config = &self.context.loaded.config;
        let verifier = Verifier { issuers: &config.issuers, verify: config.verify, keys: &self.keys };
        let (audience, minted) =
            (subject.key.request.audience.as_deref().unwrap_or_default(), subject.last());
        let identity = verifier.identify(&minted.token, audience, self.context.host.clock.now()).await;
        identity.map_err(|error| error.failure().presenting(&minted.claims.unwrap_or_default()))
    }
}

fn token_failure(error: &Error) -> Failure {
    match error {
        Error::Token(inner) => inner.failure(),
        other => Failure::of(Ident::NoToken, other),
    }
}
