//! The fault harness: whole jobs, each with one fault at one point, and what must hold after every one of them.
//!
//! Every act of a hook, a keeper or a sweep outside of its process is a point (`src/host/fault.rs`); a first run
//! without a fault counts them, and then a job is run for each, or for some of them with a printed seed
//! (`DATAFLOW_SEED` runs the same again). Built with the feature `faults` alone:
//! `cargo test --features faults --test it harness::`.

mod bootstrap;
mod held;
mod reboot;
mod story;

use std::collections::BTreeMap;

use buildkite_dataflow::secret::Secret;

use bootstrap::{Bootstrap, Told};
use story::{ACCEPTED, BOUNDED, EXPIRES, INTROSPECTED, KEPT, REVOKED, SURVIVES, Story};

use crate::support::hooks::{Stage, files};

type Environment = BTreeMap<String, Secret>;

/// Which process the fault is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A hook, by its phase.
    Hook(&'static str),
    /// The keeper of a job whose bootstrap was killed.
    Keeper,
    /// The sweep after a job of which nothing is left but its journal.
    Sweep,
}

const HOOKS: [At; 3] = [At::Hook("pre-command"), At::Hook("post-command"), At::Hook("pre-exit")];

/// What happens, and what makes a difference to it.
struct Kind {
    word: &'static str,
    more: &'static str,
    differs: fn(&str) -> bool,
}

const fn kind(word: &'static str, more: &'static str, differs: fn(&str) -> bool) -> Kind {
    Kind { word, more, differs }
}

fn any(_: &str) -> bool {
    true
}

fn writes(what: &str) -> bool {
    !["request", "answer", "read", "list", "remove empty", "run"].contains(&what)
}

fn asks(what: &str) -> bool {
    what == "request"
}

const KILL: Kind = kind("kill", "", any);
const REBOOT: Kind = kind("reboot", "", any);
const FULL: Kind = kind("full", "", writes);
const UNSENT: Kind = kind("unsent", "", asks);
const UNHEARD: Kind = kind("unheard", "", asks);
const TWICE: Kind = kind("twice", "", asks);
const AHEAD: Kind = kind("jump", "86400", any);
const BACK: Kind = kind("jump", "-86400", any);
const KINDS: [&Kind; 8] = [&KILL, &REBOOT, &FULL, &UNSENT, &UNHEARD, &TWICE, &AHEAD, &BACK];

/// The points that were passed since the last look.
fn points(stage: &Stage) -> Vec<String> {
    let path = stage.folder.path().join("points");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    drop(std::fs::remove_file(path));
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// One job with a fault somewhere.
struct Job<'a> {
    stage: &'a mut Stage,
    story: &'a Story,
    at: At,
    fault: &'a str,
}

impl Job<'_> {
    /// What a process is told: of the fault, where it is this one's.
    fn told(&self, process: At) -> Told {
        let mut told = Told::new();
        let points = self.stage.folder.path().join("points").display().to_string();
        if self.at == process {
            told.push(("DATAFLOW_FAULT", self.fault.to_owned()));
            told.push(("DATAFLOW_POINTS", points));
        } else if self.at == At::Keeper && process == HOOKS[0] {
            told.push(("DATAFLOW_KEEPER_FAULT", self.fault.to_owned()));
            told.push(("DATAFLOW_KEEPER_POINTS", points));
        }
        told
    }

    fn reboots(&self) -> bool {
        self.fault.starts_with("reboot")
    }

    /// Runs the job; the status of each hook that ran, and whether the host was rebooted.
    fn hooks(&mut self) -> (Vec<i32>, bool) {
        let (mut bootstrap, mut statuses) = (Bootstrap::new(), Vec::new());
        for phase in HOOKS {
            let At::Hook(name) = phase else { continue };
            // The agent runs pre-exit whatever happened, unless the bootstrap is killed: then nobody does.
            let skipped = name == "post-command" && statuses != [0];
            if skipped || statuses.contains(&137) {
                continue;
            }
            statuses.push(bootstrap.hook(self.stage, name, &self.told(phase)));
            let exported = self.stage.variable(self.story.variable).is_some();
            let written = !self.stage.open_journals().is_empty() || !self.stage.records().is_empty();
            assert!(!exported || written, "{} in {phase:?}: exported and not written down", self.fault);
            if name == "pre-command" && statuses == [0] {
                assert!(exported, "{} in {phase:?}: nothing was exported", self.fault);
                self.stage.command_ended(0);
                if !matches!(self.at, At::Hook(_)) {
                    break;
                }
            }
        }
        let rebooted = self.reboots() && statuses.contains(&137);
        if rebooted || self.at == At::Sweep {
            bootstrap::keepers_die(self.stage);
        }
        if rebooted {
            bootstrap::forget(self.stage);
        }
        bootstrap.ends();
        bootstrap::keepers_end(self.stage);
        (statuses, rebooted)
    }

    /// Runs the job, and sweeps once without a fault; what does not hold then.
    fn run(mut self) -> Vec<String> {
        let before = held::given(self.stage, self.story).len();
        let environment = self.stage.api.env();
        let (statuses, mut rebooted) = self.hooks();
        let exported = self.stage.variable(self.story.variable).is_some();
        if self.at == At::Sweep {
            let told = self.told(At::Sweep);
            let killed = bootstrap::sweep(self.stage, &told).status == -1;
            rebooted = killed && self.reboots();
        } else if self.at == At::Keeper {
            rebooted = self.reboots();
        }
        if rebooted {
            bootstrap::forget(self.stage);
        }
        drop(points(self.stage));
        // A sweep lets what was just tried alone for a minute.
        let mut told: Told = vec![("DATAFLOW_FAULT", "jump:0:61".to_owned())];
        told.extend(rebooted.then(|| ("DATAFLOW_BOOT", "another".to_owned())));
        let swept = bootstrap::sweep(self.stage, &told);
        assert_eq!(swept.status, 0, "{}", swept.text);
        let given = held::given(self.stage, self.story).split_off(before);
        let slack = self.fault.rsplit_once(':').filter(|_| self.fault.starts_with("jump"));
        let slack = slack.map_or(0, |(_, seconds)| seconds.parse::<i64>().unwrap().abs());
        let mut broken = held::broken(self.stage, &given, self.fault, slack);
        if matches!(self.at, At::Hook(_)) && exported && !statuses.contains(&137) {
            broken.push(format!("still exported after {statuses:?}"));
        }
        if !broken.is_empty() {
            broken.push(format!("the sweep said: {}", swept.text));
        }
        clear(self.stage, environment);
        broken
    }
}

/// The next job has an environment and a record of its own.
fn clear(stage: &Stage, environment: Environment) {
    for path in files(&stage.folder.path().join("records")) {
        std::fs::remove_file(path).unwrap();
    }
    stage.api.begin(environment);
}

/// Counts the points of a process in a job without a fault.
fn count(stage: &mut Stage, story: &Story, at: At) -> Vec<String> {
    let environment = stage.api.env();
    let mut job = Job { stage, story, at, fault: "" };
    let (statuses, _) = job.hooks();
    assert!(statuses.iter().all(|status| *status == 0), "{}: {statuses:?}", story.name);
    if at == At::Sweep {
        let told = job.told(At::Sweep);
        bootstrap::sweep(job.stage, &told);
    }
    let counted = points(job.stage);
    bootstrap::sweep(job.stage, &Told::new());
    clear(job.stage, environment);
    counted
}

/// Numbers that look random, the same again for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        // Knuth's, from MMIX: the high bits are good.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most
    }
}

fn seed() -> u64 {
    let given = std::env::var("DATAFLOW_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(chrono::Utc::now().timestamp_subsec_nanos()))
}

/// A job for each point of these processes at which a kind makes a difference, or for `most` of them a kind.
fn every(story: &Story, processes: &[At], kinds: &[&Kind], most: usize) {
    let mut stage = (story.stage)();
    let counted: Vec<(At, Vec<String>)> =
        processes.iter().map(|at| (*at, count(&mut stage, story, *at))).collect();
    let seed = seed();
    let (mut random, mut broken) = (Random(seed), Vec::new());
    for kind in kinds {
        let all = counted.iter().flat_map(|(at, points)| {
            let differing = points.iter().enumerate().filter(|(_, what)| (kind.differs)(what));
            differing.map(|(number, what)| (*at, number, what.as_str()))
        });
        let mut all: Vec<_> = all.collect();
        let points = all.len();
        while all.len() > most {
            all.swap_remove(random.below(all.len()));
        }
        let (jobs, before) = (all.len(), broken.len());
        for (at, number, what) in all {
            let fault = format!("{}:{number}:{}", kind.word, kind.more);
            let fault = fault.trim_end_matches(':');
            let found = Job { stage: &mut stage, story, at, fault }.run();
            broken.extend(found.into_iter().map(|found| format!("{fault} ({what}) in {at:?}: {found}")));
        }
        let fault = format!("{} {}", kind.word, kind.more);
        #[expect(clippy::print_stdout, reason = "how much was tried is a result")]
        {
            println!(
                "{}, {}: {jobs} jobs for {points} points, {} invariants broken (seed {seed})",
                story.name,
                fault.trim_end(),
                broken.len() - before
            );
        }
        assert!(jobs > 0, "no point of {} in {processes:?}", kind.word);
    }
    assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
}

/// Every point.
const ALL: usize = usize::MAX;

/// How many jobs a kind of fault is worth where another provider is settled in the same way.
const SAMPLE: usize = 20;

/// How many jobs a kind of fault is worth for another kind of settlement: points chosen anew in each run, and every one
/// before a release (`.ci/full`).
fn most() -> usize {
    if std::env::var_os("DATAFLOW_EVERY_POINT").is_some() { ALL } else { SAMPLE }
}

#[test]
fn a_hook_killed_at_any_point_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&KILL], ALL);
}

#[test]
fn a_host_rebooted_at_any_point_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&REBOOT], ALL);
}

#[test]
fn a_disk_full_from_any_point_on_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&FULL], ALL);
}

#[test]
fn a_request_lost_before_it_arrives_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&UNSENT], ALL);
}

#[test]
fn a_request_whose_answer_is_lost_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&UNHEARD], ALL);
}

#[test]
fn a_request_that_arrives_twice_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&TWICE], ALL);
}

#[test]
fn a_clock_that_jumps_ahead_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&AHEAD], ALL);
}

#[test]
fn a_clock_that_jumps_back_leaves_nothing_untold() {
    every(&EXPIRES, &HOOKS, &[&BACK], ALL);
}

#[test]
fn a_session_with_a_deadline_comes_to_its_end_whatever_fails() {
    every(&BOUNDED, &HOOKS, &KINDS, most());
}

#[test]
fn a_login_of_vault_comes_to_its_end_whatever_fails() {
    every(&REVOKED, &HOOKS, &KINDS, most());
}

#[test]
fn a_login_that_is_sealed_to_another_user_comes_to_its_end_whatever_fails() {
    // After a reboot its journal waits for that user: reboot.rs.
    let kinds: Vec<&Kind> = KINDS.into_iter().filter(|kind| kind.word != REBOOT.word).collect();
    every(&SURVIVES, &HOOKS, &kinds, SAMPLE / 2);
    every(&SURVIVES, &[At::Keeper], &[&KILL, &FULL], SAMPLE / 2);
}

#[test]
fn a_token_that_the_server_confirms_as_gone_comes_to_its_end_whatever_fails() {
    every(&INTROSPECTED, &HOOKS, &KINDS, most());
}

#[test]
fn a_token_that_the_server_took_back_without_a_word_comes_to_its_end_whatever_fails() {
    every(&ACCEPTED, &HOOKS, &KINDS, most());
}

#[test]
fn an_identity_with_a_token_file_comes_to_its_end_whatever_fails() {
    every(&KEPT, &HOOKS, &KINDS, SAMPLE);
}

#[test]
fn a_keeper_in_which_anything_fails_leaves_nothing_untold() {
    every(&REVOKED, &[At::Keeper], &KINDS, most());
    every(&KEPT, &[At::Keeper], &[&KILL, &REBOOT, &FULL], SAMPLE / 2);
}

#[test]
fn a_sweep_in_which_anything_fails_is_made_good_by_the_next() {
    every(&REVOKED, &[At::Sweep], &KINDS, most());
    every(&EXPIRES, &[At::Sweep], &[&KILL, &REBOOT, &FULL], most());
}
