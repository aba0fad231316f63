//! Denying sessions of AWS from outside of the host that they were lent on: one inline policy a session.
//!
//! AWS takes no session back. Whoever may write policies on a role can deny one session everything, which takes
//! effect some minutes later. That must be nobody whom a job could be: such a job could allow itself anything.

use std::path::PathBuf;

use url::Url;

use crate::report::Report;
use dataflow_config::address::is_safe;
use dataflow_config::aws::Partition;
use dataflow_config::host_find::Loaded;
use dataflow_host::Host;
use dataflow_host::http::Http;
use dataflow_host::retry::{Backoff, Verdict};
use dataflow_providers::aws::iam::{Iam, Query};
use dataflow_providers::call::CallError;
use dataflow_providers::sigv4::Keys;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::span::Span;

mod operator;
mod role;
mod session;
mod story;

use story::Story;

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    /// The folder of the records; none where sessions are named.
    pub records: Option<PathBuf>,
    /// The jobs whose sessions are denied.
    pub jobs: Vec<String>,
    /// The ARNs of sessions that are denied whatever records say. Neither jobs nor these: what is over is pruned.
    pub sessions: Vec<String>,
    /// Whether it is only told.
    pub dry_run: bool,
    /// What a session must still have to live.
    pub least: Span,
    /// Where IAM is, if not where it always is.
    pub iam: Option<Url>,
    /// Where STS is.
    pub sts: Option<Url>,
    /// Who the operator is, where STS cannot be asked.
    pub operator: Option<String>,
}

/// What every request is made with.
#[derive(Debug)]
struct Doors<'a> {
    host: &'a Host,
    loaded: &'a Loaded,
    http: &'a Http,
    keys: &'a Keys,
    partition: Partition,
}

impl Doors<'_> {
    /// Requests that are signed for a region.
    fn query(&self, region: &str) -> Query<'_> {
        let deadlines = &self.loaded.config.deadlines;
        Query {
            http: self.http,
            clock: &self.host.clock,
            mask: &self.host.mask,
            keys: self.keys,
            region: region.to_owned(),
            backoff: Backoff { attempts: 5, base: deadlines.retry.0, jitter: true },
            until: self.host.clock.now() + deadlines.grant.0,
        }
    }

    /// IAM is one for a whole partition.
    fn iam(&self, order: &Order) -> Result<Iam<'_>, Failure> {
        let default = || Url::parse(self.partition.iam());
        let url =
            order.iam.clone().map_or_else(default, Ok).map_err(|error| impossible(error.to_string()))?;
        let named = Partition::region_of(&url).map(|region| region.to_string());
        let region = named.unwrap_or_else(|| self.partition.first_region().to_owned());
        Ok(Iam { query: self.query(&region), url })
    }
}

/// Denies the sessions that the records of some jobs tell of, and says so in the records.
pub async fn deny(host: &Host, loaded: &Loaded, order: &Order) -> Report {
    match attempt(host, loaded, order).await {
        Ok(report) => report,
        Err(failure) => Report { failure: Some(failure), ..Report::default() },
    }
}

async fn attempt(host: &Host, loaded: &Loaded, order: &Order) -> Result<Report, Failure> {
    if let Some(url) = order.iam.iter().chain(&order.sts).find(|url| !is_safe(url)) {
        let seen = url.origin().ascii_serialization();
        return Err(impossible(format!("expected an https URL, saw `{seen}`")));
    }
    if let Some(arn) = order.operator.as_ref().filter(|arn| arn.split(':').count() < 6) {
        return Err(impossible(format!(
            "expected an ARN such as `arn:aws:sts::123456789012:assumed-role/NAME/SESSION`, saw `{arn}`"
        )));
    }
    let mut report = Report::default();
    Story::of(order, host, &mut report).run(loaded).await?;
    Ok(report)
}

fn impossible(what: String) -> Failure {
    Failure::new(Ident::DenialImpossible, what).leaving("nothing was denied")
}

/// An answer of AWS that was no use, as a person is told it.
fn refused(error: &CallError, what: &str) -> Failure {
    let ident = match error {
        CallError::Refused { .. } if error.verdict() == Verdict::Again => Ident::ProviderBusy,
        CallError::Refused { .. } => Ident::ProviderRefused,
        CallError::Malformed { .. } => Ident::ProviderMalformed,
        CallError::Unreachable(_) => Ident::ProviderUnreachable,
    };
    let mut failure = Failure::of(ident, error);
    failure.causes.insert(0, std::mem::replace(&mut failure.what, what.to_owned()));
    if let CallError::Refused { refusal, .. } = error {
        failure.hint.clone_from(&refusal.hint);
    }
    failure
}
