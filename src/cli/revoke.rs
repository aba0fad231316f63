//! The face of `revoke`.

use std::path::PathBuf;

use clap::Args;

use crate::report::Report;
use crate::revoke::{self, Order};
use dataflow_config::host_find;
use dataflow_host::Host;
use dataflow_types::failure::Failure;

/// Revoke logins of Vault that jobs were lent, from outside of their hosts.
///
/// Has one Vault, that of `VAULT_ADDR`, revoke them by the accessors in the records, with a token of the operator's own:
/// `VAULT_TOKEN`, or `~/.vault-token`. It reads `VAULT_NAMESPACE`, `VAULT_CACERT`, `VAULT_CLIENT_CERT` and
/// `VAULT_CLIENT_KEY` too, and adds a LATE link to the record.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The folder of the records, as a file sink wrote it
    #[arg(long, value_name = "PATH")]
    records: PathBuf,
    /// The jobs, by `BUILDKITE_JOB_ID`
    #[arg(long = "job", value_name = "ID", num_args = 1.., required = true)]
    jobs: Vec<String>,
    /// The jobs' hosts are gone for good: tell of it in records that they did not close
    #[arg(long)]
    host_gone: bool,
    /// Ask about every login, also where the record, which may be forged, says that it is over
    #[arg(long)]
    all: bool,
}

/// Revokes, and says what was done.
pub(super) async fn revoke(host: &Host, arguments: &Revoke) -> Result<Report, Failure> {
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let order = Order {
        records: host.cwd.join(&arguments.records),
        jobs: arguments.jobs.clone(),
        host_gone: arguments.host_gone,
        all: arguments.all,
    };
    Ok(revoke::revoke(host, &loaded, &order).await)
}
