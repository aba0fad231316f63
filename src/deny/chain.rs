//! The chains of a folder of records: found, checked, and made longer by a LATE link.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::host::files;
use crate::lease::state::plain;
use crate::provider::aws;
use crate::record::end::{Late, SettledLease};
use crate::record::parts::{Lent, Told};
use crate::record::{self, Kind, Link, Part, seal_after};
use crate::secret::Fingerprint;
use crate::settlement::Settlement;
use crate::sink::{self, file};

/// How long after the last lease could be given back its job's own host may still write to its chain.
const AFTERWARDS: TimeDelta = TimeDelta::hours(1);

/// Which chains are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// Those of these jobs.
    Jobs(&'a [String]),
    /// Those in which a session was denied.
    Denied,
}

/// One plugin block's account, whole up to its last link.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    links: Vec<Link>,
    last: Fingerprint,
}

/// Why a chain is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[from] files::Untrusted),
    /// It is no link of a version that is known.
    #[error("is no link that this version can read: {0}")]
    NoLink(String),
    /// It does not follow the one before.
    #[error("does not follow the link before it: one is missing, or was changed")]
    Torn,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whole chains.
    pub(super) chains: Vec<Chain>,
    /// The others, told.
    pub(super) broken: Vec<String>,
}

/// Reads the wanted chains below `records`.
pub(super) fn find(records: &Path, wanted: Wanted<'_>) -> std::io::Result<Found> {
    let mut files: BTreeMap<(PathBuf, String), Vec<PathBuf>> = BTreeMap::new();
    for path in files::list_deep(records)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(chain) = record::chain(name) else { continue };
        let folder = path.parent().unwrap_or(records).to_owned();
        files.entry((folder, chain.to_owned())).or_default().push(path.clone());
    }
    let mut found = Found::default();
    for ((folder, chain), paths) in files {
        let is_wanted = match wanted {
            Wanted::Jobs(jobs) => jobs.iter().any(|job| chain.split('.').next() == Some(&plain(job))),
            Wanted::Denied => paths.iter().any(|path| path.to_string_lossy().ends_with("-late.json")),
        };
        if !is_wanted {
            continue;
        }
        match read(folder, &paths) {
            Ok(chain) if matches!(wanted, Wanted::Denied) && !chain.is_denied_in_part() => {}
            Ok(chain) => found.chains.push(chain),
            Err((path, problem)) => found.broken.push(format!("`{}` {problem}", path.display())),
        }
    }
    Ok(found)
}

fn read(folder: PathBuf, paths: &[PathBuf]) -> Result<Chain, (PathBuf, Broken)> {
    let mut read = Vec::new();
    for path in paths {
        let broken = |problem| (path.clone(), problem);
        let bytes = files::read(path).map_err(|error| broken(error.into()))?;
        let link = record::read(&bytes).map_err(|error| broken(Broken::NoLink(error.to_string())))?;
        read.push((link, Fingerprint::of(&bytes), path));
    }
    read.sort_by_key(|(link, _, _)| link.sequence);
    let (mut links, mut last, mut sequence) = (Vec::new(), None, 0);
    for (link, digest, path) in read {
        if link.previous != last || link.sequence != sequence {
            return Err((path.clone(), Broken::Torn));
        }
        (last, sequence) = (Some(digest), sequence.saturating_add(1));
        links.push(link);
    }
    let nothing = || (folder.clone(), Broken::Torn);
    let last = last.ok_or_else(nothing)?;
    Ok(Chain { folder, links, last })
}

impl Chain {
    /// The job that it is the account of.
    pub(super) fn job(&self) -> &str {
        self.links.first().map_or("", |link| link.run.job.as_str())
    }

    /// The sessions of AWS that were lent, at the start and while the step ran.
    pub(super) fn lent(&self) -> impl Iterator<Item = &Lent> {
        let at_start =
            self.links.iter().filter_map(|link| link.start.as_ref()).flat_map(|start| &start.leases);
        let later = self.links.iter().filter_map(|link| link.end.as_ref()).flat_map(|end| &end.renewals);
        at_start.chain(later).filter(|lent| lent.provider == aws::NAME)
    }

    /// The ARNs of every role that the job could have sessions of.
    pub(super) fn roles(&self) -> impl Iterator<Item = &str> {
        let starts = self.links.iter().filter_map(|link| link.start.as_ref());
        let asked = starts.flat_map(|start| &start.requests).filter(|request| request.provider == aws::NAME);
        let through = self.lent().filter_map(|lent| lent.facts.get(aws::THROUGH));
        let lent = self.lent().map(|lent| lent.principal.as_str());
        lent.chain(asked.map(|request| request.target.as_str()))
            .chain(through.flat_map(|arns| arns.split(' ')))
    }

    fn settled(&self) -> impl Iterator<Item = &SettledLease> {
        self.links.iter().flat_map(|link| {
            let settled = link.settled.iter().flat_map(|part| &part.settlements);
            let end = link.end.iter().flat_map(|end| &end.settlements);
            settled.chain(end).chain(link.late.iter().flat_map(|late| &late.settlements))
        })
    }

    /// Whether the record tells already that a session was denied.
    pub(super) fn tells_denied(&self, request: &str) -> bool {
        let denied = |one: &SettledLease| matches!(one.settlement, Settlement::Denied { .. });
        self.settled().any(|one| one.request == request && denied(one))
    }

    fn is_denied_in_part(&self) -> bool {
        self.settled().any(|one| matches!(one.settlement, Settlement::Denied { .. }))
    }

    /// Whether nobody else writes to it any more: the END is there, and nothing is left that its job's own
    /// host could still give back. A link in between would take the place of that host's own.
    pub(super) fn is_closed(&self, now: DateTime<Utc>) -> bool {
        let mut last: BTreeMap<&str, &Settlement> = BTreeMap::new();
        for one in self.settled() {
            last.insert(&one.request, &one.settlement);
        }
        let over = |settlement: &Settlement| match settlement {
            Settlement::Failed { until, .. } => *until + AFTERWARDS < now,
            settlement => settlement.is_final(),
        };
        self.links.iter().any(|link| link.kind == Kind::End) && last.into_values().all(over)
    }

    /// Seals a LATE link that tells of denied sessions, and stores it beside the others.
    pub(super) fn tell(&self, denied: &[(String, String)], now: DateTime<Utc>) -> Result<(), sink::Error> {
        let failed = |source: serde_json::Error| sink::Error {
            sink: self.folder.display().to_string(),
            source: source.into(),
        };
        let settlement = || Settlement::Denied { at: now };
        let settled = |request: &String| SettledLease { request: request.clone(), settlement: settlement() };
        let finding = |what: &String| told("session-denied", what);
        let late = Late {
            settlements: denied.iter().map(|(request, _)| settled(request)).collect(),
            outputs: Vec::new(),
            findings: denied.iter().map(|(_, what)| finding(what)).collect(),
        };
        let Some(last) = self.links.last() else { return Ok(()) };
        let link = seal_after(Part::Late(late), last, self.last.clone(), now).map_err(failed)?;
        file::store(&self.folder, &link)
    }
}

fn told(ident: &str, what: &str) -> Told {
    Told { ident: ident.to_owned(), what: what.to_owned() }
}
