//! What was asked, written down for callbacks and decided again when they come.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Context;
use super::account::{self, Decided};
use super::exchange::Exchange;
use super::renew::not_renewed;
use dataflow_config::host::Mode;
use dataflow_host::Env;
use dataflow_job::identity::Identity;
use dataflow_job::situation::Situation;
use dataflow_lease::journal::Journal;
use dataflow_pipeline::condition::{Condition, Scope, Value};
use dataflow_policy::{self as policy, Origin, Request};
use dataflow_providers as provider;
use dataflow_record as record;
use dataflow_types::failure::Failure;
use dataflow_types::secret::{Fingerprint, Secret};

/// The file that says what was asked, in the block's private folder.
pub(super) const FILE: &str = "block.json";

/// What a callback needs of its block.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct BlockFile {
    /// The block's journal.
    pub(super) journal: PathBuf,
    /// The credentials as they were written.
    pub(super) credentials: Vec<serde_json::Value>,
    /// Which credentials of each grant were asked for.
    #[serde(default)]
    pub(super) parts: BTreeMap<String, Vec<usize>>,
    /// The digest of the file as it was read.
    #[serde(skip)]
    pub(super) digest: Option<Fingerprint>,
}

impl BlockFile {
    /// The file as a callback finds it.
    pub(super) fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        let file: Self = serde_json::from_slice(bytes)?;
        Ok(Self { digest: Some(Fingerprint::of(bytes)), ..file })
    }

    /// The requests that were asked for, among all that the block could have.
    pub(super) fn asked_for(&self, requests: Vec<Request>) -> Vec<Request> {
        let was = |request: &Request| match &request.origin {
            Origin::Step => true,
            Origin::Grant(name) => {
                self.parts.get(name).is_none_or(|parts| parts.contains(&request.pending.part))
            }
        };
        requests.into_iter().filter(was).collect()
    }

    /// Whether it is what the hook wrote, as the journal has it. A journal of an earlier version does not say.
    fn is_as_written(&self, journal: &Journal) -> bool {
        journal.asked().is_none_or(|written| self.digest.as_ref() == Some(written))
    }
}

/// Answers a condition by what the job's token says alone, and notes whether that was enough: any process of the step
/// chooses the environment of a callback.
struct TokenAlone<'a> {
    situation: Situation<'a>,
    was_enough: Cell<bool>,
}

impl Scope for TokenAlone<'_> {
    fn variable(&self, name: &str) -> Value {
        self.was_enough.set(self.was_enough.get() && self.situation.is_of_the_token(name));
        self.situation.variable(name)
    }

    fn env(&self, name: &str) -> Option<String> {
        let value = self.situation.env(name);
        self.was_enough.set(self.was_enough.get() && value.is_some());
        value
    }
}

/// Whether a condition still holds, as far as the token says. What depends on the environment was answered before any
/// code of the step ran: the START link lists what was asked for then.
fn still_holds(condition: &Condition, identity: &Identity) -> bool {
    let nothing = Env::default();
    let situation = Situation::of(&identity.claims, &nothing);
    let scope = TokenAlone { situation, was_enough: Cell::new(true) };
    condition.holds(&scope).unwrap_or(false) || !scope.was_enough.get()
}

/// Who runs, and these requests with the claims in them; what a condition no longer wants is refused.
pub(super) async fn settle_again(
    exchange: &Exchange<'_>,
    mut requests: Vec<Request>,
) -> Result<(Identity, Vec<Request>), Failure> {
    let conditions: Vec<Option<Condition>> =
        requests.iter_mut().map(|request| request.pending.condition.take()).collect();
    let (identity, wanted) = exchange.settle(requests).await?;
    for (condition, request) in conditions.iter().zip(&wanted.requests) {
        if let Some(condition) = condition.as_ref().filter(|condition| !still_holds(condition, &identity)) {
            let what = format!("`{}` is not asked for: `{}` is false", request.place, condition.text());
            return Err(not_renewed(what).presenting(&identity.claims));
        }
    }
    Ok((identity, wanted.requests))
}

/// Whether the START link of the journal says that this was asked for, before any code of the step ran.
fn was_asked_for(journal: &Journal, request: &Request) -> bool {
    let start = journal.links().first().and_then(|link| record::read(link.document.as_bytes()).ok()?.start);
    let (kind, origin) = (request.ask.kind(), account::origin(&request.origin));
    start.is_some_and(|start| {
        start
            .requests
            .iter()
            .any(|one| one.origin == origin && one.provider == kind.provider() && one.target == kind.target())
    })
}

/// What the hook writes down for callbacks, where a request may be renewed.
pub(super) fn block_file(journal: &Path, requests: &[&Request]) -> Result<Option<Secret>, serde_json::Error> {
    if !requests.iter().any(|request| request.may_be_renewed() || request.token_file().is_some()) {
        return Ok(None);
    }
    let mut credentials: Vec<serde_json::Value> = Vec::new();
    let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for request in requests {
        if let Origin::Grant(name) = &request.origin {
            parts.entry(name.clone()).or_default().push(request.pending.part);
        }
        // A grant is one entry, however many credentials it names.
        if credentials.last() != Some(&request.written) {
            credentials.push(request.written.clone());
        }
    }
    let file = BlockFile { journal: journal.to_owned(), credentials, parts, digest: None };
    serde_json::to_string(&file).map(|text| Some(Secret::new(text)))
}

/// The request and what it is made with, those first.
pub(super) fn needed<'r>(wanted: &'r Request, all: &'r [Request]) -> Vec<(usize, &'r Request)> {
    let mut found = vec![wanted];
    let mut index = 0;
    while let Some(request) = found.get(index) {
        let sources = request.ask.kind().sources();
        let more = all.iter().filter(|other| {
            let named = sources.iter().any(|(_, source)| other.name.as_deref() == Some(source));
            named && !found.iter().any(|known| std::ptr::eq(*known, *other))
        });
        let more: Vec<&Request> = more.collect();
        found.extend(more);
        index += 1;
    }
    found.reverse();
    let place = |request: &'r Request| all.iter().position(|other| std::ptr::eq(other, request));
    found.into_iter().map(|request| (place(request).unwrap_or_default(), request)).collect()
}

/// Decides again: the host config, or the job's claims, may have changed since.
pub(super) fn decide(
    context: &Context<'_>,
    file: &BlockFile,
    journal: &Journal,
    subset: &[(usize, &Request)],
    identity: &Identity,
) -> Result<Vec<Decided>, Failure> {
    let config = &context.loaded.config;
    let is_new = |(_, request): &&(usize, &Request)| !was_asked_for(journal, request);
    if let Some((_, request)) = subset.iter().find(is_new) {
        let (provider, target) = (request.ask.kind().provider(), request.ask.kind().target());
        return Err(not_renewed(format!("the step did not ask for {provider} `{target}` when it began")));
    }
    if !file.is_as_written(journal) {
        return Err(not_renewed(format!("`{FILE}` is not as the hook wrote it")));
    }
    let decided: Vec<Decided> = subset
        .iter()
        .map(|(index, request)| Decided {
            id: journal.next_renewal(&format!("{}", index + 1)),
            decision: policy::decide(request, &identity.claims, config),
            session: provider::session(request, &journal.opened().job),
            request: (*request).clone(),
        })
        .collect();
    let stops = |one: &&Decided| {
        !one.decision.allows() && (config.mode == Mode::Enforce || one.decision.guards_the_token())
    };
    match decided.iter().find(stops) {
        Some(one) => Err(account::denial(one).presenting(&identity.claims)),
        None => Ok(decided),
    }
}
