//! Decides again what a callback asks for: the host config, or the job's claims, may have changed since.

use std::cell::Cell;

use super::block_file::{self, BlockFile};
use super::not_renewed;
use crate::acquire::exchange::Approved;
use crate::acquire::identity::{Asked, Resolved, Resolver};
use crate::context::Context;
use crate::record_parts;
use dataflow_host::Env;
use dataflow_job::identity::Identity;
use dataflow_job::situation::Situation;
use dataflow_lease::journal::Journal;
use dataflow_pipeline::condition::{Condition, Scope, Value};
use dataflow_policy::{self as policy, Request};
use dataflow_record as record;
use dataflow_types::failure::Failure;

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
pub(super) async fn resolve_again(
    context: &Context<'_>,
    mut requests: Vec<Request>,
) -> Result<(Identity, Vec<Asked>), Failure> {
    let conditions: Vec<Option<Condition>> =
        requests.iter_mut().map(|request| request.pending.condition.take()).collect();
    let Resolved { identity, asked, .. } = Resolver::new(context)?.resolve(requests).await?;
    for (condition, Asked { request, .. }) in conditions.iter().zip(&asked) {
        if let Some(condition) = condition.as_ref().filter(|condition| !still_holds(condition, &identity)) {
            let what = format!("`{}` is not asked for: `{}` is false", request.place, condition.text());
            return Err(not_renewed(what).presenting(&identity.claims));
        }
    }
    Ok((identity, asked))
}

/// Whether the START link of the journal says that this was asked for, before any code of the step ran.
fn was_asked_for(journal: &Journal, request: &Request) -> bool {
    let start = journal.links().first().and_then(|link| record::read(link.document.as_bytes()).ok()?.start);
    let (kind, origin) = (request.ask.kind(), record_parts::origin(&request.origin));
    start.is_some_and(|start| {
        start
            .requests
            .iter()
            .any(|one| one.origin == origin && one.provider == kind.provider() && one.target == kind.target())
    })
}

/// The request and what it is made with, those first.
pub(crate) fn needed<'r>(wanted: &'r Request, all: &'r [Request]) -> Vec<(usize, &'r Request)> {
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

/// Decides again. Each request comes with its place in the block.
pub(super) fn approve(
    context: &Context<'_>,
    file: &BlockFile,
    journal: &Journal,
    subset: Vec<(usize, Asked)>,
    identity: &Identity,
) -> Result<Vec<Approved>, Failure> {
    let requests = || subset.iter().map(|(_, asked)| &asked.request);
    if let Some(request) = requests().find(|request| !was_asked_for(journal, request)) {
        let (provider, target) = (request.ask.kind().provider(), request.ask.kind().target());
        return Err(not_renewed(format!("the step did not ask for {provider} `{target}` when it began")));
    }
    if !file.is_as_written(journal) {
        return Err(not_renewed(format!("`{}` is not as the hook wrote it", block_file::FILE)));
    }
    policy::rule(requests(), &identity.claims, &context.loaded.config).outcome?;
    let approved = subset.into_iter().map(|(index, asked)| {
        let id = journal.next_renewal(&format!("{}", index + 1));
        Approved::of(asked, id, &journal.opened().job)
    });
    Ok(approved.collect())
}
