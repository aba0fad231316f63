//! The fault harness: whole jobs, each with one fault at one point, and what must hold after every one of them.
//!
//! Every act of a hook outside of its process is a point (`src/host/fault.rs`); a first run without a fault
//! counts them, and then a job is run for each. Built with the feature `faults` alone:
//! `cargo test --features faults --test it harness::`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use buildkite_dataflow::record::Link;
use buildkite_dataflow::settlement::Settlement;

use crate::support::hooks::{Stage, files};
use buildkite_dataflow::secret::Secret;

type Environment = BTreeMap<String, Secret>;

/// The job's bootstrap: a shell that starts the hooks as it is told to, so that they have one parent.
struct Bootstrap {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Bootstrap {
    fn new() -> Self {
        let script = "while read -r line; do eval \"$line\" >/dev/null 2>&1 </dev/null; echo $?; done";
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (shell.stdin.take(), BufReader::new(shell.stdout.take().unwrap()));
        Self { shell, orders, answers }
    }

    /// Runs a hook; its status, 137 when it was killed.
    fn hook(&mut self, stage: &Stage, phase: &str, fault: &str) -> i32 {
        stage.write_config();
        let hook = stage.command(phase);
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', r"'\''"));
        let mut line = "env -i ".to_owned();
        for (name, value) in hook.get_envs() {
            let value = value.unwrap_or_default();
            // A read line has no line breaks, and a test's values have none.
            line.push_str(&format!("{}={} ", name.to_str().unwrap(), quoted(value)));
        }
        let points = stage.folder.path().join("points");
        line.push_str(&format!("DATAFLOW_FAULT={fault} DATAFLOW_POINTS={} ", quoted(points.as_os_str())));
        line.push_str(&quoted(hook.get_program()));
        for argument in hook.get_args() {
            line.push_str(&format!(" {}", quoted(argument)));
        }
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    /// The job is over.
    fn ends(mut self) {
        self.orders = None;
        self.shell.wait().unwrap();
    }
}

/// The points that the hooks have passed since the last look.
fn points(stage: &Stage) -> Vec<String> {
    let path = stage.folder.path().join("points");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    drop(std::fs::remove_file(path));
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

const PHASES: [&str; 3] = ["pre-command", "post-command", "pre-exit"];

/// Runs one job with `fault` in one of its hooks, and sweeps once; what does not hold then.
fn job(stage: &mut Stage, phase: &str, fault: &str) -> Vec<String> {
    let before = stage.sandbox.sts().issued().len();
    let environment = stage.api.env();
    let at = |this: &str| if this == phase { fault } else { "" };
    let mut bootstrap = Bootstrap::new();
    let mut statuses = vec![bootstrap.hook(stage, "pre-command", at("pre-command"))];
    let lent = statuses[0] == 0;
    if lent {
        assert!(stage.variable("AWS_SESSION_TOKEN").is_some(), "{fault} in {phase}: nothing was exported");
        stage.command_ended(0);
        statuses.push(bootstrap.hook(stage, "post-command", at("post-command")));
    }
    // The agent runs pre-exit whatever happened, unless the bootstrap is killed: then nobody does.
    let killed = statuses.contains(&137);
    if !killed {
        statuses.push(bootstrap.hook(stage, "pre-exit", at("pre-exit")));
    }
    let exported = stage.variable("AWS_SESSION_TOKEN").is_some();
    bootstrap.ends();
    drop(points(stage));
    stage.sweep();
    let mut broken = broken(stage, before, fault);
    if exported && !statuses.contains(&137) {
        broken.push(format!("still exported after {statuses:?}"));
    }
    clear(stage, environment);
    broken
}

/// What does not hold after a job and one sweep, though it must.
fn broken(stage: &Stage, before: usize, fault: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let issued: Vec<_> = stage.sandbox.sts().issued().into_iter().skip(before).collect();
    for journal in stage.open_journals() {
        // A hook killed between making the file and its first line left nothing to settle; it goes in a day.
        let void = std::fs::metadata(&journal).unwrap().len() == 0 && issued.is_empty();
        if !void {
            broken.push(format!("{} is left", journal.display()));
        }
        std::fs::remove_dir_all(journal.parent().unwrap()).unwrap();
    }
    stage.no_secret_anywhere();
    let links = stage.records();
    let ends = links.iter().filter(|link| link.end.is_some()).count();
    let chains: BTreeSet<_> = links.iter().map(|link| (&link.run.job, &link.run.instance)).collect();
    if ends != chains.len() {
        broken.push(format!("{ends} END links for {} chains", chains.len()));
    }
    if links.iter().enumerate().any(|(number, link)| link.sequence as usize != number) {
        broken.push("a link is missing".into());
    }
    let untold = issued.iter().filter(|issued| !told_of(&links, &issued.arn));
    // Nobody can know of an answer to a request that somebody else doubled.
    broken.extend(
        untold
            .skip(usize::from(fault.starts_with("twice")))
            .map(|issued| format!("nobody tells of {}", issued.arn)),
    );
    broken
}

/// Whether the record says what became of a session: settled truly, or said to live until a time.
fn told_of(links: &[Link], arn: &str) -> bool {
    let end = links.iter().filter_map(|link| link.end.as_ref()).next_back();
    let start = links.iter().filter_map(|link| link.start.as_ref()).next_back();
    let settled = |request: &str| {
        end.iter()
            .flat_map(|end| &end.settlements)
            .find(|one| one.request == request)
            .map(|one| &one.settlement)
    };
    let leases = start.iter().flat_map(|start| &start.leases).chain(end.iter().flat_map(|end| &end.renewals));
    let leased = leases.into_iter().find(|lease| lease.principal == arn);
    let unknown = |settlement: &Settlement| matches!(settlement, Settlement::Unknown { .. });
    let lost = end.iter().flat_map(|end| &end.settlements).any(|one| unknown(&one.settlement));
    let second = start.iter().flat_map(|start| &start.findings).any(|finding| finding.ident == "answer-lost");
    leased.is_some_and(|lease| settled(&lease.request).is_some()) || lost || second
}

/// The next job has an environment and a record of its own.
fn clear(stage: &Stage, environment: Environment) {
    for path in files(&stage.folder.path().join("records")) {
        std::fs::remove_file(path).unwrap();
    }
    stage.api.begin(environment);
}

/// Counts the points of each hook in a job without a fault.
fn count(stage: &mut Stage) -> Vec<(&'static str, Vec<String>)> {
    let (mut bootstrap, environment) = (Bootstrap::new(), stage.api.env());
    let mut counted = Vec::new();
    for phase in PHASES {
        assert_eq!(bootstrap.hook(stage, phase, ""), 0, "{phase}");
        stage.command_ended(0);
        counted.push((phase, points(stage)));
    }
    bootstrap.ends();
    clear(stage, environment);
    counted
}

/// A job for each point of each hook at which `kind` makes a difference.
fn every(kind: &str, differs: impl Fn(&str) -> bool) {
    let mut stage = Stage::new();
    let (mut jobs, mut broken) = (0, Vec::new());
    for (phase, points) in count(&mut stage) {
        for (number, what) in points.iter().enumerate().filter(|(_, what)| differs(what)) {
            let (kind, more) = kind.split_once(':').unwrap_or((kind, ""));
            let fault = format!("{kind}:{number}:{more}");
            let found = job(&mut stage, phase, fault.trim_end_matches(':'));
            broken.extend(found.into_iter().map(|found| format!("{fault} ({what}) in {phase}: {found}")));
            jobs += 1;
        }
    }
    println!("{kind}: {jobs} jobs, {} invariants broken", broken.len());
    assert!(jobs > 0 && broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_hook_killed_at_any_point_leaves_nothing_untold() {
    every("kill", |_| true);
}

#[test]
fn a_disk_full_from_any_point_on_leaves_nothing_untold() {
    every("full", |what| !["request", "answer", "read", "list"].contains(&what));
}

#[test]
fn a_request_lost_before_it_arrives_leaves_nothing_untold() {
    every("unsent", |what| what == "request");
}

#[test]
fn a_request_whose_answer_is_lost_leaves_nothing_untold() {
    every("unheard", |what| what == "request");
}

#[test]
fn a_request_that_arrives_twice_leaves_nothing_untold() {
    every("twice", |what| what == "request");
}

#[test]
fn a_clock_that_jumps_ahead_leaves_nothing_untold() {
    every("jump:86400", |_| true);
}

#[test]
fn a_clock_that_jumps_back_leaves_nothing_untold() {
    every("jump:-86400", |_| true);
}
