//! The commands of the whole tool, which the build for hosts does not have (feature `tools`).

use std::process::ExitCode;

use clap::Subcommand;
use tokio::runtime::Runtime;

use super::{deny, failed, finish, records, rehearse, revoke};
use dataflow_host::Host;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Deny(Box<deny::Deny>),
    Revoke(revoke::Revoke),
    Records(records::Records),
    Rehearse(Box<rehearse::Arguments>),
    /// What answers to `buildkite-agent` in a rehearsal
    #[command(hide = true, disable_help_flag = true)]
    AgentStandIn {
        /// The file that was run, and the words behind it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

impl Command {
    pub(super) fn span(&self) -> tracing::Span {
        match self {
            Self::Deny(_) => tracing::info_span!("deny"),
            Self::Revoke(_) => tracing::info_span!("revoke"),
            Self::Records(_) => tracing::info_span!("records"),
            Self::Rehearse(_) => tracing::info_span!("rehearse"),
            Self::AgentStandIn { .. } => tracing::info_span!("agent-stand-in"),
        }
    }

    pub(super) fn run(&self, host: &Host, runtime: &Runtime) -> ExitCode {
        match self {
            Self::Deny(arguments) => {
                let report = runtime.block_on(deny::deny(host, arguments)).unwrap_or_else(failed);
                finish(host, &report)
            }
            Self::Revoke(arguments) => {
                let report = runtime.block_on(revoke::revoke(host, arguments)).unwrap_or_else(failed);
                finish(host, &report)
            }
            Self::Records(arguments) => records::run(host, arguments),
            Self::Rehearse(arguments) => match runtime.block_on(rehearse::run(host, arguments)) {
                Ok(code) => ExitCode::from(code),
                Err(failure) => finish(host, &failed(failure)),
            },
            Self::AgentStandIn { words } => rehearse::stand_in(host, runtime, words),
        }
    }
}
