//! What a journal holds, line by line.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Lease;
use dataflow_host::process::ProcessId;
use dataflow_record::Sealed;
use dataflow_types::at_rest::AtRest;
use dataflow_types::secret::Fingerprint;
use dataflow_types::settlement::Settlement;

/// One thing that happened, or is about to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Entry {
    /// The first line: whose journal this is.
    Opened(Opened),
    /// The bootstrap held the hook that writes this by a descriptor, as it does with each process that it starts:
    /// so it will hold the hooks after the command.
    HooksAreHeld,
    /// An exchange is about to be tried.
    Intent(Intent),
    /// The exchange failed and made nothing.
    NotIssued {
        /// The intent's id.
        id: String,
        /// The provider's code.
        reason: String,
    },
    /// The exchange gave a credential.
    Leased(Lease),
    /// What callbacks may ask for again was written down for them.
    Asked {
        /// The digest of that file.
        digest: Fingerprint,
    },
    /// Variables are about to be set.
    Exporting {
        /// Which, and what they were.
        variables: Vec<Exported>,
    },
    /// An earlier block of the same job ended first: this is what its variable was before.
    Rebased {
        /// Which variable.
        name: String,
        /// What it was before either block.
        previous: Option<AtRest>,
    },
    /// A link of the record was sealed; the journal is its outbox.
    Sealed(Sealed),
    /// Somebody is about to give a lease back: an answer that does not come may mean that it worked.
    Attempted {
        /// The lease's id.
        id: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// A lease came to its end, or giving it back failed: then a later entry may tell of a better end.
    Settled {
        /// The lease's or intent's id.
        id: String,
        /// What became of it.
        settlement: Settlement,
    },
    /// A sink has the link.
    Delivered {
        /// The link's digest.
        digest: Fingerprint,
    },
    /// While the step ran something happened that a reader should look at: the END tells of it.
    Found {
        /// Kebab-case, stable.
        ident: String,
        /// One sentence.
        what: String,
    },
    /// Written by a newer version; kept out of the way.
    #[serde(other)]
    Unknown,
}

/// Whose journal this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Opened {
    /// The format.
    pub version: u32,
    /// The job, as its token says.
    pub job: String,
    /// Which block of the job.
    pub instance: String,
    /// Which container, where several share a folder.
    pub container: Option<String>,
    /// The job's bootstrap: when it is gone, so is the job.
    pub bootstrap: ProcessId,
    /// The Job API's socket at the time.
    pub socket: Option<PathBuf>,
    /// Whether post-command leaves the leases to pre-exit.
    pub release_at_pre_exit: bool,
    /// How the hooks are installed: `plugin` or `agent-hook`.
    pub install: String,
    /// What denials do: `enforce` or `observe`.
    pub mode: String,
    /// Digest of the host config.
    pub host_config: Option<Fingerprint>,
    /// The folder of a sink in which the record's links belong, for earlier versions of this program: this one computes
    /// it anew.
    pub records: String,
    /// When it was opened.
    pub at: DateTime<Utc>,
}

/// An exchange that is about to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Intent {
    /// The request's id.
    pub id: String,
    /// Who is asked.
    pub provider: String,
    /// What the exchange is called in the provider's log.
    pub session: String,
    /// The latest time at which a credential made by it could live.
    pub latest: DateTime<Utc>,
}

/// A variable that is exported.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exported {
    /// Its name.
    pub name: String,
    /// Digest of the value that is set.
    pub fingerprint: Fingerprint,
    /// What it was before; `None` when it was not there.
    pub previous: Option<AtRest>,
}

#[cfg(test)]
impl Opened {
    /// Of nobody: for tests of what stands after it.
    pub(super) fn of_nobody() -> Self {
        Self {
            version: super::journal::VERSION,
            job: "job-1".into(),
            instance: "abc".into(),
            container: None,
            bootstrap: ProcessId { boot: None, namespace: None, pid: 1, started: None },
            socket: None,
            release_at_pre_exit: false,
            install: "plugin".into(),
            mode: "enforce".into(),
            host_config: None,
            records: "v=1".into(),
            at: DateTime::UNIX_EPOCH,
        }
    }
}
