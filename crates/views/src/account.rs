//! All links of one job, as one account: a step may use the plugin more than once, and each use has a chain of its own.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dataflow_record::end::{JobOutcome, SettledLease};
use dataflow_record::parts::{DataUse, Finding, IdentityTrust, Lent};
use dataflow_record::{End, Kind, Link, Start};
use serde_json::Value;
use uuid::Uuid;

/// The account of one job.
#[derive(Debug)]
pub struct Account {
    links: Vec<Link>,
}

impl Account {
    /// The accounts of these links, one a job, in the order in which the jobs began.
    pub fn all(links: Vec<Link>) -> Vec<Self> {
        let mut jobs = BTreeMap::<String, Vec<Link>>::new();
        for link in links {
            jobs.entry(link.run.job.clone()).or_default().push(link);
        }
        let mut accounts: Vec<Self> = jobs.into_values().map(Self::of).collect();
        accounts.sort_by_key(Self::began);
        accounts
    }

    fn of(mut links: Vec<Link>) -> Self {
        links.sort_by_key(|link| (link.sealed_at, link.sequence));
        Self { links }
    }

    /// Its links, in the order in which they were sealed.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    fn starts(&self) -> impl Iterator<Item = &Start> {
        self.links.iter().filter_map(|link| link.start.as_deref())
    }

    fn ends(&self) -> impl Iterator<Item = &End> {
        self.links.iter().filter_map(|link| link.end.as_deref())
    }

    /// The job's id, as the token says.
    pub fn job(&self) -> &str {
        self.links.first().map_or("", |link| link.run.job.as_str())
    }

    /// This program and its version.
    pub fn producer(&self) -> &str {
        self.links.first().map_or("", |link| link.run.producer.as_str())
    }

    /// When its first link was sealed.
    pub fn began(&self) -> Option<DateTime<Utc>> {
        self.links.first().map(|link| link.sealed_at)
    }

    /// When its last END was sealed; `None` while it runs.
    pub fn ended(&self) -> Option<DateTime<Utc>> {
        self.links.iter().filter(|link| link.kind == Kind::End).map(|link| link.sealed_at).max()
    }

    /// A claim of its token.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.starts().find_map(|start| start.identity.as_ref())?.claims.get(name)
    }

    /// Whether the signature of its token was checked.
    pub fn is_verified(&self) -> bool {
        let mut identities = self.starts().filter_map(|start| start.identity.as_ref()).peekable();
        identities.peek().is_some() && identities.all(|identity| identity.trust == IdentityTrust::Verified)
    }

    /// What the agent reported under this name.
    pub fn reported(&self, name: &str) -> Option<&str> {
        let reported = self.starts().find_map(|start| start.reported.get(name));
        reported.map(String::as_str).filter(|text| !text.is_empty())
    }

    /// What a claim says, or else what the agent reported under `reported`.
    pub fn text(&self, claim: &str, reported: &str) -> Option<String> {
        let claimed = match self.claim(claim) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let claimed = claimed.filter(|text| !text.is_empty());
        claimed.or_else(|| self.reported(reported).map(str::to_owned))
    }

    /// The organization's slug.
    pub fn organization(&self) -> String {
        self.text("organization_slug", "organization").unwrap_or_else(|| "unknown".to_owned())
    }

    /// The pipeline's slug.
    pub fn pipeline(&self) -> String {
        self.text("pipeline_slug", "pipeline").unwrap_or_else(|| "unknown".to_owned())
    }

    /// The step's key, or its label, or nothing that is the same from build to build.
    pub fn step(&self) -> Option<String> {
        self.text("step_key", "step-key").or_else(|| self.reported("label").map(str::to_owned))
    }

    /// The build's page.
    pub fn build_url(&self) -> String {
        let build = self.text("build_number", "build-number").unwrap_or_else(|| "0".to_owned());
        format!("https://buildkite.com/{}/{}/builds/{build}", self.organization(), self.pipeline())
    }

    /// The job's page.
    pub fn job_url(&self) -> String {
        format!("{}#{}", self.build_url(), self.job())
    }

    /// The build's id: as the agent reported it, or made of its page.
    pub fn build_id(&self) -> Uuid {
        let id = self.text("build_id", "build-id").and_then(|id| Uuid::parse_str(&id).ok());
        id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, self.build_url().as_bytes()))
    }

    /// The job's id as a UUID: made of it, where it is none.
    pub fn job_id(&self) -> Uuid {
        let made = || Uuid::new_v5(&Uuid::NAMESPACE_URL, self.job_url().as_bytes());
        Uuid::parse_str(self.job()).unwrap_or_else(|_| made())
    }

    /// Data that the step says it reads, each once.
    pub fn inputs(&self) -> Vec<&DataUse> {
        let said = self.starts().flat_map(|start| &start.inputs);
        once(said.chain(self.ends().flat_map(|end| &end.inputs)))
    }

    /// Data that the step says it writes, each once.
    pub fn outputs(&self) -> Vec<&DataUse> {
        let late = self.links.iter().filter_map(|link| link.late.as_ref());
        let said = self.starts().flat_map(|start| &start.outputs);
        once(said.chain(self.ends().flat_map(|end| &end.outputs)).chain(late.flat_map(|late| &late.outputs)))
    }

    /// Everything that was lent.
    pub fn lent(&self) -> impl Iterator<Item = (&Link, &Lent)> {
        self.links.iter().flat_map(|link| {
            let at_start = link.start.iter().flat_map(|start| &start.leases);
            let renewed = link.end.iter().flat_map(|end| &end.renewals);
            at_start.chain(renewed).map(move |lent| (link, lent))
        })
    }

    /// What became of a lease of a chain, as the last link of that chain says; `None` where none says anything.
    pub fn settlement(&self, of: &Link, request: &str) -> Option<&SettledLease> {
        let same =
            |link: &&Link| (&link.run.instance, &link.run.container) == (&of.run.instance, &of.run.container);
        let settled = self.links.iter().filter(same).flat_map(|link| {
            let between = link.settled.iter().flat_map(|part| &part.settlements);
            let end = link.end.iter().flat_map(|end| &end.settlements);
            between.chain(end).chain(link.late.iter().flat_map(|late| &late.settlements))
        });
        settled.fold(None, |last, settled| if settled.request == request { Some(settled) } else { last })
    }

    /// How the job ended: the worst that any of its blocks tells.
    pub fn outcome(&self) -> Option<JobOutcome> {
        self.ends().map(|end| end.result.outcome).max_by_key(|outcome| severity(*outcome))
    }

    /// The exit status of the command, as the agent wrote it.
    pub fn exit_status(&self) -> Option<&str> {
        self.ends().find_map(|end| end.result.exit_status.as_deref())
    }

    /// What a reader should look at.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let late = self.links.iter().filter_map(|link| link.late.as_ref());
        let found = self.starts().flat_map(|start| &start.findings);
        found.chain(self.ends().flat_map(|end| &end.findings)).chain(late.flat_map(|late| &late.findings))
    }

    /// Why it was refused, in a sentence.
    pub fn failure(&self) -> Option<&str> {
        self.starts().find_map(|start| start.failure.as_ref()).map(|failure| failure.what.as_str())
    }
}

fn severity(outcome: JobOutcome) -> u8 {
    match outcome {
        JobOutcome::Passed => 0,
        JobOutcome::NotRun => 1,
        JobOutcome::Cancelled => 2,
        JobOutcome::Abort => 3,
        JobOutcome::TimedOut => 4,
        JobOutcome::Failed => 5,
        JobOutcome::Refused => 6,
    }
}

fn once<'a>(uses: impl Iterator<Item = &'a DataUse>) -> Vec<&'a DataUse> {
    let mut found: Vec<&DataUse> = Vec::new();
    for data in uses {
        if !found.iter().any(|known| known.uri == data.uri) {
            found.push(data);
        }
    }
    found
}
