//! The face of `rehearse`: each step's life as it happens, then a table of what was lent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::rehearse::job::Build;
use crate::rehearse::perform::Performed;
use crate::rehearse::{Error, Event, Options, fixture, rehearse};
use crate::report::Report;
use dataflow_host::interrupts::Interrupts;
use dataflow_host::{Host, descendants};
use dataflow_types::failure::{Class, Failure};

/// Run a pipeline's steps for real, hooks and all, against a sandbox with no account anywhere.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  buildkite-dataflow rehearse examples/pipeline.yml --step train\n\n\
    A step's role is judged by trust/ROLE.json beside the pipeline, written as for AWS; without one any job of \
    agent.buildkite.com with the usual audience may have it. A file with a `fixture:` line, or a folder of such \
    files, is run and compared with what it expects.\n\nExit code: 0 when every step passed and every fixture is \
    as expected, 1 when not, 102 when there was nothing to run, 130 or 143 when it was interrupted: what was lent is given back, what \
    runs is ended, and the table tells what was done.")]
pub(super) struct Arguments {
    /// A pipeline's file, a fixture, or a folder of fixtures
    pipeline: PathBuf,
    /// Only this step, by key (again for more)
    #[arg(long = "step", value_name = "KEY")]
    steps: Vec<String>,
    /// Where the records go
    #[arg(long, value_name = "DIR", default_value = "rehearsal/records")]
    records: PathBuf,
    /// The folder of trust policies [default: `trust` beside the pipeline]
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    /// A host config whose grants, limits and mode are to be met
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
    /// The organization that the job's token names
    #[arg(long, value_name = "SLUG", default_value = "acme")]
    organization: String,
    /// The pipeline that the job's token names [default: the file's name]
    #[arg(long = "pipeline", value_name = "SLUG")]
    slug: Option<String>,
    /// The branch that the job's token names
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,
    /// The commit that the job's token names
    #[arg(long, value_name = "SHA", default_value = "0000000000000000000000000000000000000000")]
    commit: String,
}

/// Does what a rehearsed command asks of the agent; the first word is the file that it ran.
pub(super) fn stand_in(host: &Host, runtime: &tokio::runtime::Runtime, words: &[String]) -> ExitCode {
    let words = words.get(1..).unwrap_or_default();
    match runtime.block_on(crate::rehearse::stand_in::run(host, words)) {
        Ok(answer) => {
            print::answer(&answer.out);
            ExitCode::from(answer.status)
        }
        Err(refusal) => {
            print::complaint(&format!("{refusal}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Rehearses; the exit code.
pub(super) async fn run(host: &Host, arguments: &Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()
        .map_err(|error| crate::report::bug(&format!("no signal can be listened to: {error}")))?;
    descendants::adopt();
    let path = host.cwd.join(&arguments.pipeline);
    let mut screen = Screen::default();
    let fixtures = fixtures(&path, &mut screen).map_err(|error| error.failure())?;
    let code = if fixtures.is_empty() {
        let rehearsed =
            rehearse((host, &interrupts), &options(arguments), &mut |event| screen.show(&event)).await;
        descendants::end_all();
        let rows = rehearsed.map_err(|error| error.failure())?;
        let went_well = super::table::table(&rows);
        if rows.iter().all(|row| row.performed.is_none()) {
            print::lines("nothing was run: no step has a command that this build would run\n");
            Class::Configuration.exit_code()
        } else {
            u8::from(!went_well)
        }
    } else {
        check((host, &interrupts), &fixtures, &arguments.records, &mut screen).await
    };
    print::lines(&format!("records: {}\n", shown(&arguments.records)));
    Ok(interrupts.exit_code().unwrap_or(code))
}

fn shown(path: &Path) -> String {
    print::one_line(&path.to_string_lossy())
}

fn options(arguments: &Arguments) -> Options {
    let stem = || arguments.pipeline.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Options {
        pipeline: arguments.pipeline.clone(),
        steps: arguments.steps.clone(),
        records: arguments.records.clone(),
        trust: arguments.trust.clone(),
        host_config: arguments.host_config.clone(),
        build: Build {
            organization: arguments.organization.clone(),
            pipeline: arguments.slug.clone().or_else(stem).unwrap_or_default(),
            branch: arguments.branch.clone(),
            commit: arguments.commit.clone(),
        },
    }
}

/// The fixtures that a path names: itself, or those of a folder; none where it is a pipeline.
fn fixtures(path: &Path, screen: &mut Screen) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        let is_one = fixture::is_fixture(&crate::rehearse::text(path)?);
        return Ok(is_one.then(|| path.to_owned()).into_iter().collect());
    }
    let mut found = Vec::new();
    for file in crate::rehearse::folder(path)?.into_iter().filter(|file| !file.is_dir()) {
        match crate::rehearse::text(&file) {
            Ok(text) if !fixture::is_fixture(&text) => {
                let note =
                    format!("`{}` has no line that begins with `fixture:`, and is not run", file.display());
                screen.show(&Event::Note(note));
            }
            // What cannot be read is told in its turn.
            _ => found.push(file),
        }
    }
    if found.is_empty() { Err(Error::NoFixture(path.to_owned())) } else { Ok(found) }
}

/// Runs every fixture, whatever became of those before it, and tells all that is wrong.
async fn check(
    (host, interrupts): (&Host, &Interrupts),
    fixtures: &[PathBuf],
    records: &Path,
    screen: &mut Screen,
) -> u8 {
    let (mut failed, mut broken) = (0, 0);
    for path in fixtures {
        if interrupts.times() > 0 {
            print::lines(&format!("not run: {}\n", shown(path)));
            failed += 1;
            continue;
        }
        let checked =
            fixture::check((host, interrupts), path, records, &mut |event| screen.show(&event)).await;
        descendants::end_all();
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                broken += 1;
                print::lines(&format!("BROKEN: {}\n", shown(path)));
                let failure = Some(error.failure());
                print::report(&Report { failure, ..Report::default() }, &host.mask);
                continue;
            }
        };
        let mut text = String::new();
        let word = if checked.wrong.is_empty() { "ok" } else { "WRONG" };
        let _written = writeln!(text, "{word}: {} ({})", print::one_line(&checked.fixture), shown(path));
        for wrong in &checked.wrong {
            let _written = writeln!(text, "  {}", print::one_line(wrong));
        }
        failed += usize::from(!checked.wrong.is_empty());
        print::lines(&text);
    }
    let fine = fixtures.len() - failed - broken;
    let broken_too = if broken > 0 { format!(", {broken} could not be run") } else { String::new() };
    print::lines(&format!("\n{fine} fixtures as expected, {failed} not{broken_too}\n"));
    match (broken, failed) {
        (0, 0) => 0,
        (0, _) => 1,
        _ => Class::Configuration.exit_code(),
    }
}

/// Where events are shown.
#[derive(Default)]
struct Screen {
    phase: &'static str,
}

impl Screen {
    fn show(&mut self, event: &Event<'_>) {
        let text = match event {
            Event::Job { name, number, of } => return print::heading(&format!("{name} ({number} of {of})")),
            Event::Phase(phase) => {
                self.phase = phase;
                return;
            }
            Event::Line(line) => format!("  {:<12} | {}\n", self.phase, print::command_line(line)),
            Event::Note(note) => format!("  note: {}\n", print::one_line(note)),
            Event::Ended(performed) => format!("  {}\n", print::one_line(&ending(performed))),
        };
        print::lines(&text);
    }
}

fn ending(performed: &Performed) -> String {
    let mut text = match (performed.failed_hook, performed.command) {
        _ if performed.cancelled => "cancelled".to_owned(),
        (Some((phase, status)), _) => format!("failed: the {phase} hook ended with status {status}"),
        (None, Some(0)) => "passed".to_owned(),
        (None, Some(status)) => format!("failed: the command ended with status {status}"),
        (None, None) => "did not run".to_owned(),
    };
    for problem in performed.leaks.iter().chain(&performed.left_behind) {
        let _written = write!(text, "; LEFT BEHIND: {problem}");
    }
    text
}
