//! Under the real agent: whatever kills a job, what it was lent is given back, and told in one END.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use buildkite_dataflow::record::end::{JobOutcome, SealedBy};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::support::agent::{Agent, Running, Scene, until};
use crate::support::guarded::{ControlGroup, upgrade};
use crate::support::hooks::JOB;

const ACQUIRE: &[&str] = &["--acquire-job", JOB];

/// A command that does not mind being told to stop, and is at it.
fn deaf(scene: &Scene) -> Running {
    runs(scene, "trap '' TERM; touch RUNNING; sleep 50")
}

/// Starts a step under an agent and waits until its command has made the file `RUNNING`.
fn runs(scene: &Scene, command: &str) -> Running {
    let running = scene.path("running");
    let command = command.replace("RUNNING", &running.display().to_string());
    let mut agent = scene.start(&command, ACQUIRE);
    scene.wait_for(&running, &mut agent);
    assert_eq!((scene.keepers().len(), scene.given_and_living().1 > 0), (1, true), "{:?}", scene.told());
    agent
}

/// A command that runs until a file is made.
fn patient(scene: &Scene) -> (Running, PathBuf) {
    let go = scene.path("go");
    let command = format!("touch RUNNING; until test -e {}; do sleep 0.05; done", go.display());
    (runs(scene, &command), go)
}

/// The one account of the job is closed, by this one and with this word for its end.
#[track_caller]
fn gave_back(scene: &Scene, by: SealedBy, outcome: JobOutcome) {
    let accounts = scene.all_is_given_back();
    let [(_, end)] = accounts.as_slice() else { panic!("{accounts:?}") };
    assert_eq!((end.sealed_by, end.result.outcome), (by, outcome));
}

/// The job was killed: its one account was closed by the keeper.
#[track_caller]
fn the_keeper_gave_back(scene: &Scene) {
    gave_back(scene, SealedBy::Keeper, JobOutcome::Abort);
}

/// Cancels a step and waits for the moment at which the agent has lost patience.
fn cancelled(agent: &Agent, before: impl FnOnce(&Scene)) -> Scene {
    let mut scene = Scene::guarded(agent);
    scene.host.insert("BUILDKITE_CANCEL_GRACE_PERIOD", "2".to_owned());
    scene.host.insert("BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "1s".to_owned());
    let running = deaf(&scene);
    before(&scene);
    scene.sandbox.agent().cancel(JOB);
    scene.finished(running);
    let finish = scene.sandbox.agent().progress(JOB).unwrap().finish.unwrap();
    assert_eq!(finish["signal_reason"], "cancel");
    scene
}

#[test]
fn a_command_that_is_deaf_to_a_cancel_is_given_back_from_by_the_hooks_or_by_the_keeper() {
    for agent in Agent::all() {
        // Agent and bootstrap lose patience at the same moment: hooks may be let run, and often are not.
        let scene = cancelled(&agent, |_| {});
        let [(_, end)] = scene.all_is_given_back().try_into().unwrap();
        let expected =
            if end.sealed_by == SealedBy::Keeper { JobOutcome::Abort } else { JobOutcome::Cancelled };
        assert_eq!(end.result.outcome, expected);
    }
}

#[test]
fn a_bootstrap_that_is_killed_by_a_cancel_costs_the_hooks_and_the_keeper_gives_back() {
    for agent in Agent::all() {
        // It hears nothing of the cancel, as one that swaps: no hook runs for certain.
        let scene = cancelled(&agent, |scene| {
            scene.bootstraps().into_iter().for_each(|bootstrap| kill(bootstrap, Signal::SIGSTOP).unwrap());
        });
        the_keeper_gave_back(&scene);
    }
}

#[test]
fn a_bootstrap_that_is_killed_costs_the_hooks_and_the_keeper_gives_back() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let running = deaf(&scene);
        let [bootstrap] = scene.bootstraps().try_into().unwrap();
        let killed = Instant::now();
        kill(bootstrap, Signal::SIGKILL).unwrap();
        let took = scene.time_until_given_back(killed);
        // A figure to report: a bound here would fail on a busy machine for nothing.
        let line = format!("from SIGKILL of the bootstrap to the last revocation: {} ms\n", took.as_millis());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        scene.finished(running);
        the_keeper_gave_back(&scene);
    }
}

#[test]
fn an_agent_that_is_told_to_stop_lets_its_job_end_well() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let (running, go) = patient(&scene);
        running.signal(Signal::SIGTERM);
        std::fs::write(go, "").unwrap();
        scene.finished(running);
        gave_back(&scene, SealedBy::PostCommand, JobOutcome::Passed);
    }
}

#[test]
fn an_agent_that_is_told_to_stop_at_once_cancels_its_job_whose_hooks_give_back() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let running = runs(&scene, "touch RUNNING; sleep 50");
        running.signal(Signal::SIGQUIT);
        scene.finished(running);
        gave_back(&scene, SealedBy::PostCommand, JobOutcome::Cancelled);
    }
}

#[test]
fn an_agent_that_is_killed_with_its_process_group_leaves_a_job_that_is_given_back_from() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let (running, go) = patient(&scene);
        running.signal_group(Signal::SIGKILL);
        assert_eq!(scene.finished(running).status, None);
        std::fs::write(go, "").unwrap();
        // A bootstrap has a group of its own: it goes on until it finds nobody at the other end of its log.
        let [(_, end)] = scene.all_is_given_back().try_into().unwrap();
        let outcome = end.result.outcome;
        assert!([JobOutcome::Passed, JobOutcome::Cancelled, JobOutcome::Abort].contains(&outcome), "{end:?}");
    }
}

/// Nobody of the job's own is left; then a sweep gives back, once.
fn only_a_sweep_gave_back(scene: &Scene) {
    until(|| format!("the end of {:?}", scene.told()), || scene.processes().is_empty());
    assert!(scene.given_and_living().1 > 0, "who gave back?");
    let told = scene.sweep();
    assert!(told.contains("revoked"), "{told}");
    gave_back(scene, SealedBy::Sweep, JobOutcome::Abort);
}

#[test]
fn a_control_group_that_is_killed_takes_the_keeper_along_and_a_sweep_gives_back() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let running = deaf(&scene);
        // Stopped first, for a kernel kills a control group in one act.
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for process in scene.control_group() {
                kill(process, signal).unwrap();
            }
        }
        scene.finished(running);
        only_a_sweep_gave_back(&scene);
    }
}

#[test]
fn a_control_group_that_the_kernel_kills_holds_the_keeper_and_a_sweep_gives_back() {
    for agent in Agent::all() {
        let name = format!("dataflow-{}", std::process::id());
        let Some(group) = ControlGroup::new(&name) else { return };
        let mut scene = Scene::guarded(&agent);
        scene.within = Some(group.0.clone());
        let running = deaf(&scene);
        let held = group.holds();
        assert!(scene.keepers().iter().all(|keeper| held.contains(keeper)), "{:?}", scene.told());
        group.kill();
        assert_eq!(scene.finished(running).status, None);
        only_a_sweep_gave_back(&scene);
    }
}

#[test]
fn a_control_group_that_is_told_to_stop_gives_back_once() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let running = runs(&scene, "touch RUNNING; sleep 50");
        for process in scene.control_group() {
            // The command may end before its turn comes.
            let _gone = kill(process, Signal::SIGTERM);
        }
        scene.finished(running);
        assert_eq!(scene.all_is_given_back().len(), 1);
    }
}

#[test]
fn a_keeper_that_is_told_to_stop_gives_back_at_once_and_leaves_the_rest_to_the_hooks() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let (running, go) = patient(&scene);
        until(|| "a keeper that listens".to_owned(), || scene.keepers_listen());
        scene.keepers().into_iter().for_each(|keeper| kill(keeper, Signal::SIGTERM).unwrap());
        scene.time_until_given_back(Instant::now());
        std::fs::write(go, "").unwrap();
        assert_eq!(scene.finished(running).status, Some(0));
        scene.is_as_before();
        gave_back(&scene, SealedBy::PostCommand, JobOutcome::Passed);
    }
}

#[test]
fn a_step_that_kills_its_keeper_is_given_back_from_by_the_hooks() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let (running, go) = patient(&scene);
        scene.keepers().into_iter().for_each(|keeper| kill(keeper, Signal::SIGKILL).unwrap());
        std::fs::write(go, "").unwrap();
        assert_eq!(scene.finished(running).status, Some(0));
        scene.is_as_before();
        gave_back(&scene, SealedBy::PostCommand, JobOutcome::Passed);
    }
}

#[test]
fn two_jobs_of_one_host_at_once_have_an_account_each_and_the_end_of_one_is_not_the_others() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let (first, second) = scene.two_deaf_jobs();
        assert_eq!((scene.keepers().len(), scene.bootstraps().len()), (2, 2), "{:?}", scene.told());
        let [one, _] = scene.bootstraps().try_into().unwrap();
        let (_, living) = scene.given_and_living();
        kill(one, Signal::SIGKILL).unwrap();
        until(|| "one revocation".to_owned(), || scene.given_and_living().1 < living);
        // The other has its own keeper, which is not woken by this.
        until(|| format!("the end of one of {:?}", scene.told()), || scene.keepers().len() == 1);
        assert_eq!(scene.given_and_living().1, living / 2);
        scene.bootstraps().into_iter().for_each(|bootstrap| kill(bootstrap, Signal::SIGKILL).unwrap());
        scene.finished(first);
        scene.finished(second);
        let accounts = scene.all_is_given_back();
        assert_eq!(accounts.len(), 2);
        assert!(accounts.iter().all(|(_, end)| end.sealed_by == SealedBy::Keeper));
        let jobs: std::collections::BTreeSet<_> =
            scene.links().into_iter().map(|link| link.run.job).collect();
        assert_eq!(jobs.len(), 2);
    }
}

#[test]
fn a_binary_that_is_replaced_while_a_step_runs_gives_back_what_the_old_one_lent() {
    for agent in Agent::all() {
        let (scene, binary) = Scene::guarded_by_a_copy(&agent);
        let (running, go) = patient(&scene);
        upgrade(&binary);
        std::fs::write(go, "").unwrap();
        assert_eq!(scene.finished(running).status, Some(0));
        gave_back(&scene, SealedBy::PostCommand, JobOutcome::Passed);
    }
}

#[test]
fn a_keeper_whose_binary_was_replaced_gives_back_all_the_same() {
    for agent in Agent::all() {
        let (scene, binary) = Scene::guarded_by_a_copy(&agent);
        let running = deaf(&scene);
        upgrade(&binary);
        scene.bootstraps().into_iter().for_each(|bootstrap| kill(bootstrap, Signal::SIGKILL).unwrap());
        scene.finished(running);
        the_keeper_gave_back(&scene);
    }
}

#[test]
fn a_step_that_outlasts_its_token_finds_another_in_its_file() {
    for agent in Agent::all() {
        let mut scene = Scene::guarded(&agent);
        let azure = json!({"tenant-id": "acme.onmicrosoft.com", "client-id": "11111111-2222-4333-8444-555555555555",
            "token": {"lifetime": "3s"}});
        scene.plugins[0].1["credentials"] = json!([{ "azure": azure }]);
        let entra =
            json!({"from": "https://login.microsoftonline.com", "to": scene.sandbox.provider_url("azure")});
        scene.config["network"] = json!({"routes": [entra]});
        let step = scene.run(
            "first=$(cat \"$AZURE_FEDERATED_TOKEN_FILE\"); end=$(( $(date +%s) + 40 )); \
             while [ \"$(cat \"$AZURE_FEDERATED_TOKEN_FILE\")\" = \"$first\" ]; do \
             [ \"$(date +%s)\" -lt \"$end\" ] || exit 3; done",
        );
        assert_eq!(step.status, Some(0), "{}", step.log);
        scene.is_as_before();
        let [(_, end)] = scene.accounts().try_into().unwrap();
        assert_eq!((end.sealed_by, end.renewals.is_empty()), (SealedBy::PostCommand, false));
    }
}

#[test]
fn where_other_plugins_hooks_fail_pre_exit_gives_back_and_the_keeper_has_nothing_to_do() {
    for agent in Agent::all() {
        for (phase, outcome) in [("pre-command", JobOutcome::NotRun), ("post-command", JobOutcome::Passed)] {
            let mut scene = Scene::guarded(&agent);
            let failing = |name: &str| (scene.other_plugin(name, phase, "exit 7"), serde_json::Value::Null);
            let (first, last) = (failing("first-buildkite-plugin"), failing("last-buildkite-plugin"));
            // After the command either is before ours, in the order of v3 or of v4.
            if phase == "post-command" {
                scene.plugins.insert(0, first);
            }
            scene.plugins.push(last);
            let step = scene.run("true");
            assert_eq!(step.status, Some(7), "{}", step.log);
            gave_back(&scene, SealedBy::PreExit, outcome);
        }
    }
}

#[test]
fn two_containers_of_one_job_have_an_account_each() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let Some(containers) = scene.containers(&["0", "1"], "test -n \"$VAULT_TOKEN\"") else { return };
        for container in containers {
            let ended = scene.container_ended(container);
            assert_eq!(ended.status, Some(0), "{}", ended.log);
        }
        let accounts = scene.all_is_given_back();
        assert_eq!(accounts.len(), 2);
        assert!(accounts.iter().all(|(_, end)| end.sealed_by == SealedBy::PostCommand));
    }
}

#[test]
fn a_container_that_is_killed_takes_its_keeper_along_and_what_it_held_ends_by_itself() {
    for agent in Agent::all() {
        let scene = Scene::guarded(&agent);
        let running = scene.path("running");
        let command = format!("trap '' TERM; touch {}; sleep 50", running.display());
        let Some(mut containers) = scene.containers(&["0"], &command) else { return };
        let mut container = containers.pop().unwrap();
        scene.wait_for(&running, container.running());
        assert_eq!(scene.keepers().len(), 1);
        container.kill();
        scene.container_ended(container);
        until(|| format!("the end of {:?}", scene.told()), || scene.processes().is_empty());
        let (given, living) = scene.given_and_living();
        // Its namespace is gone, and so is what its memory-backed storage held: the next container of the same
        // volume sees that nobody listens at its socket, closes the account, and can give nothing back.
        let told = scene.sweep();
        assert_eq!(scene.given_and_living(), (given, living), "{told}");
        let [(start, end)] = scene.accounts().try_into().unwrap();
        assert_eq!((end.sealed_by, end.result.outcome), (SealedBy::Sweep, JobOutcome::Abort), "{told}");
        let words: Vec<_> = end.settlements.iter().map(|one| one.settlement.word()).collect();
        assert_eq!((start.leases.len(), words), (2, vec!["expires", "failed"]), "{told}");
        scene.no_secret_on_disk();
    }
}
