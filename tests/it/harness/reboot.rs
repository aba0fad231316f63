//! A host that is restarted while a step runs, and a sweeper of another user to whom its leases were sealed.

use std::process::Command;

use buildkite_dataflow::lease::escrow::Answer;
use buildkite_dataflow::record::Kind;
use buildkite_dataflow::record::end::SealedBy;
use buildkite_dataflow::settlement::Settlement;

use super::bootstrap::{blocks, keepers_die, key_of};
use super::story::{INTROSPECTED, REVOKED, Story};
use crate::support::hooks::{Ended, Stage, files, undiagnosed};
use crate::support::survivors::{Sweeper, two_users};

/// A job that was lent what must be given back, on a host that went down and came up again.
fn rebooted(story: &Story) -> (Stage, Sweeper) {
    let mut stage = (story.stage)();
    let sweeper = Sweeper::of(&mut stage);
    let before = Sweeper::hook(&mut stage, "pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    assert!(stage.variable(story.variable).is_some());
    keepers_die(&stage);
    for block in blocks(&stage) {
        std::fs::remove_file(key_of(&block, Sweeper::agent())).unwrap();
    }
    // What is on the disk now, and in no memory any more.
    stage.no_secret_anywhere();
    (stage, sweeper)
}

fn after_reboot(stage: &mut Stage, mut command: Command) -> String {
    let output = command.env("DATAFLOW_BOOT", "another").output().unwrap();
    let Ended { status, text } = stage.ended(&output);
    assert_eq!(status, 0, "{text}");
    undiagnosed(&text)
}

/// The ordinary sweep, of the agent's user.
fn agents_sweep(stage: &mut Stage) -> String {
    stage.write_config();
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
    sweep.arg("sweep").env_clear();
    sweep.env("BUILDKITE_CONFIG_PATH", stage.folder.path().join("agent/buildkite-agent.cfg"));
    Sweeper::as_agent(&mut sweep);
    after_reboot(stage, sweep)
}

fn sweepers_sweep(stage: &mut Stage, sweeper: &Sweeper) -> String {
    let sweep = sweeper.command(stage);
    after_reboot(stage, sweep)
}

fn living(stage: &Stage, story: &Story) -> usize {
    stage.sandbox.provider(story.provider).unwrap().lives().iter().filter(|one| !one.revoked).count()
}

/// The links of the one record, and every settlement in its END and its LATE.
fn told(stage: &Stage) -> (Vec<Kind>, Vec<Settlement>, Vec<Settlement>) {
    let links = stage.records();
    let end = links.iter().find_map(|link| link.end.as_ref()).unwrap();
    assert_eq!(end.sealed_by, SealedBy::Sweep);
    let of = |settled: &[buildkite_dataflow::record::end::SettledLease]| {
        settled.iter().map(|one| one.settlement.clone()).collect::<Vec<_>>()
    };
    let late = links.iter().filter_map(|link| link.late.as_ref()).flat_map(|late| of(&late.settlements));
    (links.iter().map(|link| link.kind).collect(), of(&end.settlements), late.collect())
}

#[test]
fn a_lease_survives_a_restart_and_the_record_tells_its_end_whoever_sweeps_first() {
    for story in [&REVOKED, &INTROSPECTED] {
        for agent_first in [true, false] {
            let (mut stage, sweeper) = rebooted(story);
            assert!(living(&stage, story) > 0, "{}", story.name);
            if agent_first {
                let text = agents_sweep(&mut stage);
                assert!(text.contains("the sweeper of `survive-reboot` can give it back"), "{text}");
                assert!(living(&stage, story) > 0, "{}", story.name);
            }
            let text = sweepers_sweep(&mut stage, &sweeper);
            assert!(text.contains("revoked"), "{text}");
            assert_eq!(living(&stage, story), 0, "{}", story.name);
            agents_sweep(&mut stage);
            let (kinds, end, late) = told(&stage);
            let revoked =
                |settled: &[Settlement]| settled.iter().any(|one| one.word().starts_with("revoked"));
            if agent_first {
                assert_eq!(kinds, [Kind::Start, Kind::End, Kind::Late], "{}", story.name);
                assert!(!revoked(&end) && revoked(&late), "{end:?} {late:?}");
            } else {
                assert_eq!(kinds, [Kind::Start, Kind::End], "{}", story.name);
                assert!(revoked(&end), "{end:?}");
            }
            assert!(sweeper.left().is_empty() && stage.open_journals().is_empty(), "{}", story.name);
            assert_eq!(
                agents_sweep(&mut stage) + &sweepers_sweep(&mut stage, &sweeper),
                "",
                "{}",
                story.name
            );
            assert_eq!(stage.records().len(), kinds.len());
        }
    }
}

#[test]
fn without_the_other_users_key_nothing_on_the_disk_gives_anything_back() {
    let (mut stage, sweeper) = rebooted(&REVOKED);
    let mut other = (REVOKED.stage)();
    let other = (Sweeper::of(&mut other), other);
    std::fs::copy(&other.0.key, &sweeper.key).unwrap();
    let text = sweepers_sweep(&mut stage, &sweeper);
    assert!(text.contains("sealed to another, or changed"), "{text}");
    assert!(living(&stage, &REVOKED) > 0 && files(&sweeper.folder).len() == 1);
}

#[test]
fn a_word_that_is_not_the_sweepers_does_not_reach_the_record() {
    if !two_users() {
        return;
    }
    let (mut stage, sweeper) = rebooted(&REVOKED);
    let [left] = sweeper.left().try_into().unwrap();
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let said = Answer { until, settlement: Settlement::Revoked { at: until } };
    let path = left.with_extension("settled");
    std::fs::write(&path, serde_json::to_vec(&said).unwrap()).unwrap();
    std::os::unix::fs::chown(&path, Some(Sweeper::agent()), None).unwrap();
    agents_sweep(&mut stage);
    let (_, end, _) = told(&stage);
    assert!(end.iter().all(|one| matches!(one, Settlement::Failed { .. })), "{end:?}");
    sweepers_sweep(&mut stage, &sweeper);
    agents_sweep(&mut stage);
    assert_eq!((living(&stage, &REVOKED), told(&stage).0.len()), (0, 3));
}
