//! The face of `records`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{finish, print, table};
use crate::records::{self, Format, Found};
use crate::report::Report;
use dataflow_host::Host;
use dataflow_types::failure::Failure;
use dataflow_views::Account;

/// Look into the records of a folder: which jobs, what they were lent, and the events of others
#[derive(Debug, Args)]
pub(super) struct Records {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A line for each job
    List {
        #[command(flatten)]
        from: From,
    },
    /// All of what a job's record tells
    Show {
        #[command(flatten)]
        from: From,
    },
    /// The records in a format of others, a JSON document a line
    Export {
        /// Which
        #[arg(long, value_enum)]
        format: Name,
        #[command(flatten)]
        from: From,
    },
}

#[derive(Debug, Args)]
struct From {
    /// The folder of the records, as a file sink wrote it
    #[arg(value_name = "PATH")]
    records: PathBuf,
    /// Only these jobs, by `BUILDKITE_JOB_ID`
    #[arg(long = "job", value_name = "ID", num_args = 1..)]
    jobs: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// `OpenLineage` run events, spec 2-0-2
    Openlineage,
    /// `CDEvents` 0.5
    Cdevents,
    /// The links of the records themselves
    Ndjson,
}

impl Name {
    fn format(self) -> Format {
        match self {
            Self::Openlineage => Format::OpenLineage,
            Self::Cdevents => Format::CdEvents,
            Self::Ndjson => Format::Ndjson,
        }
    }
}

/// Shows, and warns of what cannot be believed.
pub(super) fn run(host: &Host, arguments: &Records) -> ExitCode {
    let from = match &arguments.command {
        Command::List { from } | Command::Show { from } | Command::Export { from, .. } => from,
    };
    let shown = records::read(&host.cwd.join(&from.records), &from.jobs).and_then(|found| {
        print::answer(&text(&arguments.command, &found)?);
        Ok(found)
    });
    let report = shown.map_or_else(super::failed, |found| Report {
        failure: found.failure(),
        warnings: found.broken,
        ..Report::default()
    });
    finish(host, &report)
}

fn text(command: &Command, found: &Found) -> Result<String, Failure> {
    let mut lines = Vec::new();
    match command {
        Command::List { .. } => return Ok(list(&found.accounts)),
        Command::Show { .. } => {
            for account in &found.accounts {
                lines.extend(records::shown(account).iter().map(|line| print::one_line(line)));
                lines.push(String::new());
            }
        }
        Command::Export { format, .. } => {
            for account in &found.accounts {
                let documents = records::exported(account, format.format())?;
                lines.extend(documents.iter().map(ToString::to_string));
            }
        }
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

fn list(accounts: &[Account]) -> String {
    let mut rows = vec![["BEGAN", "PIPELINE.STEP", "BUILD", "JOB", "RESULT", "LENT"].map(str::to_owned)];
    rows.extend(accounts.iter().map(|account| {
        let began = account.began().map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string());
        [
            began.unwrap_or_default(),
            dataflow_views::openlineage::name(account),
            account.text("build_number", "build-number").unwrap_or_default(),
            account.job().to_owned(),
            records::result(account).to_owned(),
            account.lent().count().to_string(),
        ]
        .map(|cell| print::one_line(&cell))
    }));
    table::aligned(&rows)
}
