//! Signals and a log that went away, in the middle of giving back: nothing of it stops a settlement.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::lease::entry::Entry;
use buildkite_dataflow::record::Kind;
use buildkite_dataflow::record::end::SealedBy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::journals::forged;
use crate::support::agent::until;
use crate::support::hooks::{Ended, Stage};
use crate::support::survivors::{Sweeper, lease};

const REVOKE: &str = "/vault/v1/auth/token/revoke-self";
/// How long the sandbox takes for each answer: far longer than a signal needs.
const SLOW: Duration = Duration::from_millis(500);
const AFTER: [(&str, SealedBy); 2] =
    [("post-command", SealedBy::PostCommand), ("pre-exit", SealedBy::PreExit)];

/// A job that asks for a login of Vault, which must be given back.
fn asking() -> Stage {
    let mut stage = Stage::new();
    let vault =
        json!({"address": stage.sandbox.provider_url("vault"), "role": "train", "export-token": true});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    // Whatever is said is said, and in the middle of the work too.
    stage.config["log"] = json!("debug");
    stage.block = json!({"credentials": [{"vault": vault}]});
    stage.prepare();
    stage
}

/// The same, lent, on the way to the phase.
fn lent() -> Stage {
    let mut stage = asking();
    stage.lends();
    stage.command_ended(0);
    stage
}

/// Everything that Vault gave is revoked, and the record tells it in one END.
#[track_caller]
fn all_is_given_back(stage: &Stage, by: SealedBy) {
    let issued = stage.issued("vault");
    assert!(!issued.is_empty() && issued.iter().all(|one| one.revoked), "a login lives");
    stage.nothing_left();
    let records = stage.records();
    let kinds: Vec<_> = records.iter().map(|link| link.kind).collect();
    assert_eq!(kinds, [Kind::Start, Kind::End]);
    let end = records[1].end.as_ref().unwrap();
    assert_eq!(end.sealed_by, by);
    let words: Vec<_> = end.settlements.iter().map(|one| one.settlement.word()).collect();
    assert!(words.iter().all(|word| word.starts_with("revoked")), "{words:?}");
}

/// Starts a process whose revocation is answered slowly, and waits until it was asked for.
fn in_the_middle(stage: &Stage, mut process: Command) -> Child {
    stage.sandbox.faults().set_latency(SLOW);
    let child = process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| format!("a revocation by {process:?}"), || stage.sandbox.faults().asked(REVOKE) > 0);
    child
}

/// Sends every signal that could end a process which does not expect it, and waits.
fn hears(stage: &mut Stage, child: Child) -> Ended {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPIPE, Signal::SIGHUP] {
        kill(id, signal).unwrap();
    }
    stage.ended(&child.wait_with_output().unwrap())
}

#[test]
fn no_signal_that_an_agent_or_a_terminal_sends_stops_a_settlement() {
    for (phase, by) in AFTER {
        let mut stage = lent();
        let child = in_the_middle(&stage, stage.command(phase));
        let ended = hears(&mut stage, child);
        assert_eq!(ended.status, 0, "{phase}: {}", ended.text);
        all_is_given_back(&stage, by);
    }
}

#[test]
fn a_signal_stops_no_settlement_of_a_step_that_is_refused() {
    let mut stage = asking();
    // The second of two is refused, and what the first gave goes back at once.
    let vault = stage.block["credentials"][0].clone();
    let role = format!("{}-strict", crate::support::hooks::ROLE);
    stage.block["credentials"] = json!([vault, {"aws": {"role": role, "region": "eu-west-1"}}]);
    stage.write_config();
    let child = in_the_middle(&stage, stage.command("pre-command"));
    let ended = hears(&mut stage, child);
    assert!(ended.text.contains("nothing was exported; settled"), "{}", ended.text);
    assert!(stage.issued("vault").iter().all(|one| one.revoked));
    stage.nothing_left();
    assert_eq!(stage.records().iter().filter(|link| link.end.is_some()).count(), 1);
}

#[test]
fn no_signal_stops_a_settlement_of_a_sweep() {
    let mut stage = lent();
    let token = stage.variable("VAULT_TOKEN").unwrap();
    // A job of an earlier boot had it too.
    let address = stage.sandbox.provider_url("vault");
    let folder = forged(&stage, vec![Entry::Leased(lease("vault", &token, &[("address", &address)]))]);
    let child = in_the_middle(&stage, stage.sweeping());
    let ended = hears(&mut stage, child);
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(ended.text.contains("swept job forged: settled `who`: revoked"), "{}", ended.text);
    assert!(stage.issued("vault").iter().all(|one| one.revoked) && !folder.exists());
}

#[test]
fn no_signal_stops_a_settlement_of_the_other_users_sweep() {
    let mut stage = asking();
    let sweeper = Sweeper::of(&mut stage);
    assert_eq!(Sweeper::hook(&mut stage, "pre-command").status, 0);
    let (token, address) = (stage.variable("VAULT_TOKEN").unwrap(), stage.sandbox.provider_url("vault"));
    let left = sweeper.leave("one", &lease("vault", &token, &[("address", &address)]));
    let child = in_the_middle(&stage, sweeper.command(&stage));
    let ended = hears(&mut stage, child);
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(ended.text.contains("settled `who`: revoked"), "{}", ended.text);
    assert!(stage.issued("vault").iter().all(|one| one.revoked) && !left.exists());
}

/// Output that nobody can read.
type Lost = fn() -> OwnedFd;

/// A terminal whose other side is closed: writing fails with EIO.
fn terminal() -> OwnedFd {
    nix::pty::openpty(None, None).unwrap().slave
}

/// A pipe that nobody reads: EPIPE.
fn pipe() -> OwnedFd {
    std::io::pipe().unwrap().1.into()
}

/// A disk without room: ENOSPC.
fn full() -> OwnedFd {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Runs a hook whose output is lost; its status.
fn unheard(stage: &Stage, phase: &str, lost: &OwnedFd) -> Option<i32> {
    let mut hook: Command = stage.command(phase);
    hook.stdin(Stdio::null()).stdout(lost.try_clone().unwrap()).stderr(lost.try_clone().unwrap());
    hook.status().unwrap().code()
}

#[test]
fn a_log_that_went_away_stops_no_settlement_and_changes_no_exit_status() {
    let logs: [(&str, Lost); 3] = [("EIO", terminal), ("EPIPE", pipe), ("ENOSPC", full)];
    for (error, lost) in logs {
        for (phase, by) in AFTER {
            let stage = lent();
            assert_eq!(unheard(&stage, phase, &lost()), Some(0), "{error} in {phase}");
            all_is_given_back(&stage, by);
        }
    }
}

#[test]
fn a_required_settlement_that_fails_is_the_exit_status_whoever_reads_the_log() {
    for (phase, _) in AFTER {
        let mut stage = lent();
        stage.config["required"] = json!({"settlement": true});
        stage.write_config();
        let sealed: Value = json!({"errors": ["Vault is sealed"]});
        stage.fault(REVOKE, 99, Response::json(503, &sealed));
        assert_eq!(unheard(&stage, phase, &terminal()), Some(108), "{phase}");
        assert_eq!(stage.records().iter().filter(|link| link.end.is_some()).count(), 1);
    }
}
