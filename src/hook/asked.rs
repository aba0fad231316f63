//! What was asked, written down for callbacks and decided again when they come.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::account::Decided;
use super::{Context, grant};
use crate::config::host::Mode;
use crate::failure::Failure;
use crate::job::identity::Identity;
use crate::lease::journal::Journal;
use crate::policy::{self, Origin, Request};
use crate::provider;
use crate::secret::Secret;

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
}

impl BlockFile {
    /// The requests that were asked for, among all that the block could have. Their conditions were answered then.
    pub(super) fn asked_for(&self, requests: Vec<Request>) -> Vec<Request> {
        let was = |request: &Request| match &request.origin {
            Origin::Step => true,
            Origin::Grant(name) => {
                self.parts.get(name).is_none_or(|parts| parts.contains(&request.pending.part))
            }
        };
        let mut asked: Vec<Request> = requests.into_iter().filter(was).collect();
        for request in &mut asked {
            request.pending.condition = None;
        }
        asked
    }
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
    let file = BlockFile { journal: journal.to_owned(), credentials, parts };
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
    journal: &Journal,
    subset: &[(usize, &Request)],
    identity: &Identity,
) -> Result<Vec<Decided>, Failure> {
    let config = &context.loaded.config;
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
        Some(one) => Err(grant::denial(one).presenting(&identity.claims)),
        None => Ok(decided),
    }
}
