//! The face of `deny`.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use crate::deny::{self, Order};
use crate::report::Report;
use dataflow_config::host_find;
use dataflow_host::Host;
use dataflow_types::failure::Failure;
use dataflow_types::span::Span;

/// Deny sessions of AWS that jobs were lent, from outside of their hosts.
///
/// Puts one inline policy a session on its role, which denies everything to exactly that session, removes those
/// whose session has ended, and adds a LATE link to the record. For an identity that no job can have: it reads
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
#[derive(Debug, Args)]
pub(super) struct Deny {
    /// The folder of the records, as a file sink wrote it
    #[arg(long, value_name = "PATH", required_unless_present = "sessions")]
    records: Option<PathBuf>,
    /// The jobs, by `BUILDKITE_JOB_ID`
    #[arg(
        long = "job",
        value_name = "ID",
        num_args = 1..,
        requires = "records",
        required_unless_present_any = ["prune", "sessions"]
    )]
    jobs: Vec<String>,
    /// Sessions by their ARN, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`, whatever records say of them
    #[arg(long = "session", value_name = "ARN", num_args = 1..)]
    sessions: Vec<String>,
    /// Only remove policies of sessions that have ended, on every role where records tell of a denial
    #[arg(long, conflicts_with_all = ["jobs", "sessions"])]
    prune: bool,
    /// Print the policies, and ask and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave a session alone that ends sooner: a policy takes minutes to work
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    least: Span,
    /// Where IAM is [default: the partition's]
    #[arg(long, value_name = "URL")]
    endpoint: Option<Url>,
    /// Where STS is, which says who the operator is [default: the host config's, or the partition's]
    #[arg(long, value_name = "URL")]
    sts_endpoint: Option<Url>,
    /// Who the operator is, where STS cannot be asked
    #[arg(long, value_name = "ARN")]
    operator: Option<String>,
}

/// Denies, and says what was done.
pub(super) async fn deny(host: &Host, arguments: &Deny) -> Result<Report, Failure> {
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let order = Order {
        // Without a job, records say nothing of a session that is named.
        records: arguments
            .records
            .as_ref()
            .filter(|_| arguments.prune || !arguments.jobs.is_empty())
            .map(|records| host.cwd.join(records)),
        jobs: arguments.jobs.clone(),
        sessions: arguments.sessions.clone(),
        dry_run: arguments.dry_run,
        least: arguments.least,
        iam: arguments.endpoint.clone(),
        sts: arguments.sts_endpoint.clone(),
        operator: arguments.operator.clone(),
    };
    Ok(deny::deny(host, &loaded, &order).await)
}
