//! The face: arguments in, text and an exit code out; the only printer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::hook::{self, Form, Phase};
use crate::report::{self, Report};
use crate::sweep;
use dataflow_config::host_find::{self, LoadError, Loaded};
use dataflow_host::{Host, closed};
use dataflow_types::failure::{Failure, Ident};

mod callback;
#[cfg(feature = "tools")]
mod deny;
mod diagnostics;
mod doctor;
mod print;
#[cfg(feature = "tools")]
mod records;
#[cfg(feature = "tools")]
mod rehearse;
#[cfg(feature = "tools")]
mod revoke;
#[cfg(feature = "tools")]
mod table;
#[cfg(feature = "tools")]
mod tools;

/// The commands that only the whole tool has: `tools::Command`.
#[cfg(not(feature = "tools"))]
const OF_THE_WHOLE_TOOL: [&str; 4] = ["deny", "revoke", "records", "rehearse"];

/// Lends a Buildkite step exactly the credentials it may have, takes them back, and leaves a record.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "As a hook it is started by the agent: see the README.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Settle what dead jobs of this host left, and deliver their records.
    Sweep {
        /// Instead, as the user of `survive-reboot`, settle with this private key what outlived a restart
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    Doctor(doctor::Doctor),
    CredentialProcess(callback::CredentialProcess),
    Token(callback::Token),
    GitCredential(callback::GitCredential),
    Keeper(callback::Keeper),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tools(tools::Command),
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    // Before there is anything to read.
    let closed = closed::close();
    match dataflow_host::runtime::with_room(move || run(closed)) {
        Ok(code) => code,
        Err(error) => finish(&Host::real(), &failed(report::exhausted(&error))),
    }
}

fn run(closed: bool) -> ExitCode {
    let host = Host::real();
    print::panics_through(&host.mask);
    let arguments: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let program = arguments.first().map_or("", String::as_str);
    let first = arguments.get(1).map(String::as_str);
    match hook::phase::of_arguments(program, first, &host.env) {
        Some((form, phase)) => run_hook(&host, closed, form, phase),
        None => match Arguments::try_parse() {
            Ok(arguments) => run_command(&host, closed, &arguments),
            Err(error) => usage(&host, &error, &arguments),
        },
    }
}

/// Help, or what is wrong with the arguments, which may be anybody's words.
#[cfg_attr(feature = "tools", expect(unused_variables, reason = "only the build for hosts lacks a command"))]
fn usage(host: &Host, error: &clap::Error, arguments: &[String]) -> ExitCode {
    #[cfg(not(feature = "tools"))]
    if let Some(command) = arguments.get(1).filter(|word| OF_THE_WHOLE_TOOL.contains(&word.as_str())) {
        let what = format!("this build, which is for hosts, has no `{command}`");
        let hint = "the whole tool has it: `cargo build --release`, without `--no-default-features`";
        return finish(host, &failed(Failure::new(Ident::NotInThisBuild, what).hinted(hint)));
    }
    let plain = Arguments::try_parse_from(arguments.iter().map(|word| print::one_line(word)));
    let plain = plain.as_ref().err().unwrap_or(error);
    let text = plain.render().to_string();
    if plain.use_stderr() {
        print::complaint(&text);
    } else {
        print::lines(&text);
    }
    ExitCode::from(u8::try_from(plain.exit_code()).unwrap_or(2))
}

fn run_hook(host: &Host, closed: bool, form: Form, phase: Phase) -> ExitCode {
    let loaded = host_find::load(host);
    start_diagnostics(host, &loaded, closed);
    let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _span = span(phase).entered();
        let work = match hook::begin(host, loaded, form, phase) {
            Ok(work) => work,
            Err(report) => return report,
        };
        match dataflow_host::runtime::start() {
            Ok(runtime) => {
                let report = runtime.block_on(hook::run(host, work, form));
                // A look-up of a name that is given up goes on by itself, and nobody waits for it.
                runtime.shutdown_background();
                report
            }
            Err(error) => hook::not_begun(report::exhausted(&error), phase),
        }
    }));
    let report = report.unwrap_or_else(|_| failed(report::bug("a fault in this program ended the hook")));
    print::report(&report, &host.mask);
    // A bug after the command must not replace the command's own status.
    let code = if report.failure.as_ref().is_some_and(|f| f.ident == Ident::Bug) && !phase.is_before_command()
    {
        0
    } else {
        report.exit_code()
    };
    ExitCode::from(code)
}

/// The span of a hook, named by its phase.
fn span(phase: Phase) -> tracing::Span {
    match phase {
        Phase::Environment => tracing::info_span!("environment"),
        Phase::PreCommand => tracing::info_span!("pre-command"),
        Phase::PostCommand => tracing::info_span!("post-command"),
        Phase::PreExit => tracing::info_span!("pre-exit"),
    }
}

/// The span of a command.
fn command_span(command: &Command) -> tracing::Span {
    match command {
        Command::Sweep { .. } => tracing::info_span!("sweep"),
        #[cfg(feature = "tools")]
        Command::Tools(command) => command.span(),
        Command::Doctor(_) => tracing::info_span!("doctor"),
        Command::CredentialProcess(_) => tracing::info_span!("credential-process"),
        Command::Token(_) => tracing::info_span!("token"),
        Command::GitCredential(_) => tracing::info_span!("git-credential"),
        Command::Keeper(_) => tracing::info_span!("keeper"),
    }
}

fn failed(failure: Failure) -> Report {
    Report { failure: Some(failure), ..Report::default() }
}

fn run_command(host: &Host, closed: bool, arguments: &Arguments) -> ExitCode {
    // What a client starts for a token may read both outputs as one: google-auth does.
    if !matches!(arguments.command, Command::Token(_)) {
        start_diagnostics(host, &host_find::load(host), closed);
    }
    let runtime = match dataflow_host::runtime::start() {
        Ok(runtime) => runtime,
        Err(error) => {
            return finish(host, &failed(report::exhausted(&error)));
        }
    };
    let _span = command_span(&arguments.command).entered();
    let code = match &arguments.command {
        Command::Sweep { key } => {
            let report = match key {
                Some(key) => runtime.block_on(sweep::escrow::sweep(host, &host.cwd.join(key))),
                None => runtime.block_on(sweep::sweep(host)),
            };
            let report = report.unwrap_or_else(failed);
            finish(host, &report)
        }
        #[cfg(feature = "tools")]
        Command::Tools(command) => command.run(host, &runtime),
        Command::Doctor(arguments) => finish(host, &doctor::doctor(host, arguments).unwrap_or_else(failed)),
        Command::CredentialProcess(arguments) => {
            handed(host, runtime.block_on(callback::credential_process(host, arguments)))
        }
        Command::Token(arguments) => handed(host, runtime.block_on(callback::token(host, arguments))),
        Command::GitCredential(arguments) => {
            handed(host, runtime.block_on(callback::git_credential(host, arguments)))
        }
        Command::Keeper(arguments) => handed(host, runtime.block_on(callback::keep(host, arguments))),
    };
    runtime.shutdown_background();
    code
}

fn handed(host: &Host, result: Result<(), Failure>) -> ExitCode {
    result.map_or_else(|failure| finish(host, &failed(failure)), |()| ExitCode::SUCCESS)
}

fn finish(host: &Host, report: &Report) -> ExitCode {
    print::report(report, &host.mask);
    ExitCode::from(report.exit_code())
}

fn start_diagnostics(host: &Host, loaded: &Result<Loaded, LoadError>, closed: bool) {
    let log = loaded.as_ref().map(|loaded| loaded.config.log).unwrap_or_default();
    diagnostics::start(log, &host.mask);
    if let Ok(loaded) = loaded {
        tracing::debug!("{}", loaded.standing());
    }
    if !closed {
        tracing::warn!("this process can be read by others of its user");
    }
}
