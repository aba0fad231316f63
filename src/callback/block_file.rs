//! What was asked of a block, written down for its callbacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use dataflow_lease::journal::Journal;
use dataflow_policy::{Origin, Request};
use dataflow_types::secret::{Fingerprint, Secret};

/// The file that says what was asked, in the block's private folder.
pub(crate) const FILE: &str = "block.json";

/// What a callback needs of its block.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BlockFile {
    /// The block's journal.
    pub(crate) journal: PathBuf,
    /// The credentials as they were written.
    pub(crate) credentials: Vec<serde_json::Value>,
    /// Which credentials of each grant were asked for.
    #[serde(default)]
    pub(crate) parts: BTreeMap<String, Vec<usize>>,
    /// The digest of the file as it was read.
    #[serde(skip)]
    pub(crate) digest: Option<Fingerprint>,
}

impl BlockFile {
    /// The file as a callback finds it.
    pub(crate) fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        let file: Self = serde_json::from_slice(bytes)?;
        Ok(Self { digest: Some(Fingerprint::of(bytes)), ..file })
    }

    /// The requests that were asked for, among all that the block could have.
    pub(crate) fn asked_for(&self, requests: Vec<Request>) -> Vec<Request> {
        let was = |request: &Request| match &request.origin {
            Origin::Step => true,
            Origin::Grant(name) => {
                self.parts.get(name).is_none_or(|parts| parts.contains(&request.pending.part))
            }
        };
        requests.into_iter().filter(was).collect()
    }

    /// Whether it is what the hook wrote, as the journal has it. A journal of an earlier version does not say.
    pub(super) fn is_as_written(&self, journal: &Journal) -> bool {
        journal.asked().is_none_or(|written| self.digest.as_ref() == Some(written))
    }
}

/// What the hook writes down for callbacks, where a request may be renewed.
pub(crate) fn block_file(journal: &Path, requests: &[&Request]) -> Result<Option<Secret>, serde_json::Error> {
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
