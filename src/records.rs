//! The records of a folder, for people: which jobs there are, what each was lent, and the views of others.

use std::path::Path;

use serde_json::Value;

use dataflow_record::Link;
use dataflow_record::end::JobOutcome;
use dataflow_sinks::chain::{self, Wanted};
use dataflow_types::failure::{Failure, Ident};
use dataflow_views::{Account, cdevents, openlineage};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The jobs, in the order in which they began.
    pub accounts: Vec<Account>,
    /// What cannot be believed, a sentence each.
    pub broken: Vec<String>,
}

impl Found {
    /// The failure of a folder in which something cannot be believed.
    pub fn failure(&self) -> Option<Failure> {
        let what = || format!("{} of what is there cannot be believed", self.broken.len());
        (!self.broken.is_empty()).then(|| Failure::new(Ident::RecordsBroken, what()))
    }
}

/// Reads the records below a folder: all, or those of some jobs.
pub fn read(folder: &Path, jobs: &[String]) -> Result<Found, Failure> {
    let wanted = if jobs.is_empty() { Wanted::All } else { Wanted::Jobs(jobs) };
    let found = chain::find(folder, wanted).map_err(|error| {
        let (what, cause) = chain::unreadable(jobs, folder, &error);
        Failure::new(Ident::RecordsUnreadable, what).caused_by(vec![cause])
    })?;
    if let Some((what, causes)) = found.nothing_of(jobs, folder) {
        return Err(Failure::new(Ident::RecordsUnreadable, what).caused_by(causes).hinted(chain::WHERE));
    }
    let links: Vec<Link> = found.chains.into_iter().flat_map(chain::Chain::into_links).collect();
    Ok(Found { accounts: Account::all(links), broken: found.broken })
}

/// A format of others, or our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenLineage` run events.
    OpenLineage,
    /// `CDEvents`.
    CdEvents,
    /// The links themselves.
    Ndjson,
}

/// What a format says of a job, a document each.
pub fn exported(account: &Account, format: Format) -> Result<Vec<Value>, Failure> {
    match format {
        Format::OpenLineage => Ok(openlineage::events(account)),
        Format::CdEvents => Ok(cdevents::events(account)),
        Format::Ndjson => {
            account.links().iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(|_| {
                Failure::new(Ident::Bug, "a link that was read cannot be written").hinted("please report it")
            })
        }
    }
}

/// How a job ended, in a word.
pub fn result(account: &Account) -> &'static str {
    match account.outcome() {
        None => "running",
        Some(JobOutcome::Passed) => "passed",
        Some(JobOutcome::Failed) => "failed",
        Some(JobOutcome::Cancelled) => "cancelled",
        Some(JobOutcome::TimedOut) => "timed out",
        Some(JobOutcome::NotRun) => "not run",
        Some(JobOutcome::Refused) => "refused",
        Some(JobOutcome::Abort) => "aborted",
    }
}

/// Everything that a person wants to know of a job, a line each.
pub fn shown(account: &Account) -> Vec<String> {
    let trust = if account.is_verified() { "verified" } else { "reported" };
    let mut lines = vec![
        format!("job        {}", account.job_url()),
        format!("step       {} ({trust})", openlineage::name(account)),
    ];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<10} {value}"));
    for (name, claim, reported) in
        [("branch", "build_branch", "branch"), ("commit", "build_commit", "commit"), ("subject", "sub", "")]
    {
        if let Some(text) = account.text(claim, reported) {
            line(name, text);
        }
    }
    line("result", result(account).to_owned());
    for (link, lent) in account.lent() {
        let settled = account.settlement(link, &lent.request).map(|settled| settled.settlement.to_string());
        let settled = settled.unwrap_or_else(|| "open".to_owned());
        line("lent", format!("{} `{}`: {settled}", lent.provider, lent.principal));
    }
    for data in account.inputs() {
        line("reads", format!("{} (asserted)", data.uri));
    }
    for data in account.outputs() {
        line("writes", format!("{} (asserted)", data.uri));
    }
    for finding in account.findings() {
        line("finding", format!("[{}] {}", finding.ident, finding.what));
    }
    lines
}
