//! The chains of a folder of records: found, checked, and made longer by a LATE link, for what an operator does
//! from outside of the host (`deny`, `revoke`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

pub use super::links::Chain;
use super::links::Group;
use super::{Error, file};
use dataflow_config::sink::FileSink;
use dataflow_host::walk;
use dataflow_record::end::{Late, SettledLease};
use dataflow_record::parts::{Finding, Lent, Requested};
use dataflow_record::{self as record, Kind, Link, Part, Place, seal_after};
use dataflow_types::file_name::plain;
use dataflow_types::settlement::Settlement;

/// How long after the last lease could be given back its job's own host may still write to its chain.
const AFTERWARDS: TimeDelta = TimeDelta::hours(1);

/// Which chains are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Those of these jobs.
    Jobs(&'a [String]),
    /// Those in which a session was denied.
    Denied,
    /// All of them.
    All,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Chains, each as far as it can be believed.
    pub chains: Vec<Chain>,
    /// What cannot be believed, as messages.
    pub broken: Vec<String>,
    /// The links among that.
    pub unattached: Vec<Link>,
    /// How many records there are, wanted or not.
    pub records: usize,
}

/// What a person should look at who named a job without a record.
pub const WHERE: &str =
    "`--job` is BUILDKITE_JOB_ID, `run.job` of a link; `--records` the folder of a file sink";

impl Found {
    /// Why there is nothing about these jobs, where that is so: a sentence, and its cause.
    pub fn nothing_of(&self, jobs: &[String], folder: &Path) -> Option<(String, Vec<String>)> {
        let cause = (self.records == 0).then(|| "no record is there at all".to_owned());
        match self.missing(jobs) {
            Some(job) => Some((no_record(job, folder), cause.into_iter().collect())),
            None => cause.map(|_| (format!("no record is below `{}`", folder.display()), Vec::new())),
        }
    }

    /// A job that is told of by no chain, and by none that is broken.
    fn missing<'j>(&self, jobs: &'j [String]) -> Option<&'j String> {
        let is_there = |job: &String| self.chains.iter().any(|chain| chain.job() == job.as_str());
        jobs.iter().find(|job| self.broken.is_empty() && !is_there(job))
    }
}

fn no_record(job: &str, folder: &Path) -> String {
    format!("no record of job `{job}` is below `{}`", folder.display())
}

/// That the folder of the records cannot be read: a sentence, and its cause.
pub fn unreadable(jobs: &[String], folder: &Path, error: &std::io::Error) -> (String, String) {
    let cause = format!("`{}` cannot be read: {error}", folder.display());
    (jobs.first().map_or_else(|| "no record can be read".to_owned(), |job| no_record(job, folder)), cause)
}

/// Reads the wanted chains below `records`, which must be a folder.
pub fn find(records: &Path, wanted: Wanted<'_>) -> std::io::Result<Found> {
    if !records.metadata()?.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::NotADirectory));
    }
    let mut files: BTreeMap<(PathBuf, String), Vec<PathBuf>> = BTreeMap::new();
    let walked = walk::below(records)?;
    let unseen = |(path, error): (PathBuf, std::io::Error)| {
        format!("`{}` cannot be looked into: {error}", path.display())
    };
    for path in walked.files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(chain) = record::chain(name) else { continue };
        let folder = path.parent().unwrap_or(records).to_owned();
        files.entry((folder, chain.to_owned())).or_default().push(path.clone());
    }
    let broken = walked.troubles.into_iter().map(unseen).collect();
    let mut found = Found { records: files.len(), broken, ..Found::default() };
    for ((folder, chain), paths) in files {
        let is_wanted = match wanted {
            Wanted::Jobs(jobs) => jobs.iter().any(|job| chain.split('.').next() == Some(&plain(job))),
            Wanted::All => true,
            Wanted::Denied => paths.iter().any(|path| path.to_string_lossy().ends_with("-late.json")),
        };
        if !is_wanted {
            continue;
        }
        let mut group = Group { records, folder, doubts: Vec::new(), unattached: Vec::new() };
        let chains = group.chains(chain.split('.').next().unwrap_or_default(), &paths);
        found.chains.extend(
            chains.into_iter().filter(|chain| !matches!(wanted, Wanted::Denied) || chain.is_denied_in_part()),
        );
        let doubts = group.doubts.into_iter();
        found.broken.extend(doubts.map(|(path, problem)| format!("`{}` {problem}", path.display())));
        found.unattached.extend(group.unattached);
    }
    Ok(found)
}

/// What a link tells of as lent, at the start and while the step ran.
pub fn lent(link: &Link) -> impl Iterator<Item = &Lent> {
    let at_start = link.start.iter().flat_map(|start| &start.leases);
    at_start.chain(link.end.iter().flat_map(|end| &end.renewals))
}

impl Chain {
    /// Its links, in order.
    pub fn into_links(self) -> Vec<Link> {
        self.links
    }

    /// The job that it is the account of.
    pub fn job(&self) -> &str {
        self.links.first().map_or("", |link| link.run.job.as_str())
    }

    /// What a provider lent, at the start and while the step ran.
    pub fn lent(&self, provider: &str) -> impl Iterator<Item = &Lent> {
        self.links.iter().flat_map(lent).filter(move |lent| lent.provider == provider)
    }

    /// What was asked of a provider.
    pub fn asked(&self, provider: &str) -> impl Iterator<Item = &Requested> {
        let starts = self.links.iter().filter_map(|link| link.start.as_ref());
        starts.flat_map(|start| &start.requests).filter(move |asked| asked.provider == provider)
    }

    /// What became of a lease, as far as it is told.
    pub fn settlement(&self, request: &str) -> Option<&Settlement> {
        self.settled().filter(|one| one.request == request).last().map(|one| &one.settlement)
    }

    fn settled(&self) -> impl Iterator<Item = &SettledLease> {
        self.links.iter().flat_map(|link| {
            let settled = link.settled.iter().flat_map(|part| &part.settlements);
            let end = link.end.iter().flat_map(|end| &end.settlements);
            settled.chain(end).chain(link.late.iter().flat_map(|late| &late.settlements))
        })
    }

    /// Whether the record tells already that a session was denied.
    pub fn tells_denied(&self, request: &str) -> bool {
        let denied = |one: &SettledLease| matches!(one.settlement, Settlement::Denied { .. });
        self.settled().any(|one| one.request == request && denied(one))
    }

    fn is_denied_in_part(&self) -> bool {
        self.settled().any(|one| matches!(one.settlement, Settlement::Denied { .. }))
    }

    /// Whether nobody else writes to it any more: the END is there, and nothing is left that its job's own
    /// host could still give back. A link in between would take the place of that host's own.
    pub fn is_closed(&self, now: DateTime<Utc>) -> bool {
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

    /// Whether nothing lies beside it that should be of it and cannot be believed. No link can follow it otherwise: the
    /// next number may be taken.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Seals a LATE link, and stores it beside the others.
    pub fn tell(
        &self,
        settlements: Vec<SettledLease>,
        findings: Vec<Finding>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let failed = |source: serde_json::Error| Error {
            sink: self.folder.display().to_string(),
            source: source.into(),
        };
        let late = Late { settlements, outputs: Vec::new(), findings };
        let Some(last) = self.links.last() else { return Ok(()) };
        let link = seal_after(Part::Late(late), last, self.last.clone(), now).map_err(failed)?;
        let Some(place) = Place::beside(&link.document) else { return Ok(()) };
        let sink = FileSink::private(self.records.clone());
        let names = self.folder.strip_prefix(&self.records).unwrap_or(&self.folder).iter();
        let place =
            Place { folders: names.map(|name| name.to_string_lossy().into_owned()).collect(), ..place };
        file::store(&sink, &place, &link.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_types::secret::Fingerprint;
    use serde_json::{Value, json};

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    /// A chain of links of these kinds, each with what it says was settled.
    fn chain(links: &[(&str, &Value)]) -> Chain {
        let run = json!({"job": "j", "instance": "i", "container": null, "install": "plugin", "mode": "enforce",
            "producer": "p", "host-config": null});
        let link = |(sequence, (kind, settlements)): (usize, &(&str, &Value))| {
            let part = match *kind {
                "end" => json!({"result": {"outcome": "passed", "exit-status": "0", "trust": "reported"},
                    "renewals": [], "settlements": settlements, "variables": [], "inputs": [], "outputs": [],
                    "sealed-by": "post-command", "findings": []}),
                "late" => json!({"settlements": settlements, "outputs": [], "findings": []}),
                _ => json!({"settlements": settlements}),
            };
            let link = json!({"schema": record::SCHEMA, "kind": kind, "sequence": sequence, "sealed-at": at(0),
                "run": run, "proof": dataflow_record::Proof::default(), *kind: part});
            serde_json::from_value(link).unwrap()
        };
        let links = links.iter().enumerate().map(link).collect();
        let (records, last) = (PathBuf::new(), Fingerprint::of(b""));
        Chain { folder: records.clone(), records, links, last, is_whole: true }
    }

    #[test]
    fn a_chain_is_closed_when_its_host_has_nothing_more_to_write() {
        let settled = |settlement: Value| json!([{"request": "0", "settlement": settlement}]);
        let expires = settled(json!({"outcome": "expires", "at": at(1)}));
        let failed = settled(json!({"outcome": "failed", "reason": "busy", "until": at(2)}));
        let revoked = settled(json!({"outcome": "revoked", "at": at(1)}));
        assert!(!chain(&[("settled", &expires)]).is_closed(at(9)), "there is no END");
        assert!(chain(&[("end", &expires)]).is_closed(at(0)));
        // Its host tries again, and tells of it with the next link.
        assert!(!chain(&[("end", &failed)]).is_closed(at(2)));
        assert!(chain(&[("end", &failed)]).is_closed(at(4)));
        assert!(chain(&[("end", &failed), ("late", &revoked)]).is_closed(at(1)));
    }

    #[test]
    fn a_denial_is_told_for_the_request_that_it_is_of() {
        let denied = json!([{"request": "1", "settlement": {"outcome": "denied", "at": at(1)}}]);
        let chain = chain(&[("end", &json!([])), ("late", &denied)]);
        assert!(chain.tells_denied("1") && !chain.tells_denied("0") && chain.is_denied_in_part());
    }
}
