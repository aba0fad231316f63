//! The life of a step under the real agent, however it is installed and however it ends.

use buildkite_dataflow::record::end::{End, JobOutcome, SealedBy};
use buildkite_dataflow::record::parts::{Outcome, Start};
use buildkite_dataflow::settlement::Settlement;
use serde_json::json;

use crate::support::agent::{Agent, Scene, asks_for, until};
use crate::support::hooks::{JOB, ROLE, undiagnosed};

/// The one account of a step that was lent one role by our plugin, which is as before again.
#[track_caller]
fn account(scene: &Scene) -> (Start, End) {
    account_of(scene, "plugin")
}

/// The same, however we are installed.
#[track_caller]
fn account_of(scene: &Scene, install: &str) -> (Start, End) {
    scene.is_as_before();
    for link in scene.links() {
        assert_eq!(link.run.install, install);
    }
    let [(start, end)] = scene.accounts().try_into().unwrap();
    assert_eq!((start.outcome, scene.sandbox.sts().issued().len()), (Outcome::Granted, 1));
    assert_eq!((start.leases.len(), end.settlements.len()), (1, 1));
    (start, end)
}

#[track_caller]
fn ended(end: &End, outcome: JobOutcome, sealed_by: SealedBy) {
    assert_eq!((end.result.outcome, end.sealed_by), (outcome, sealed_by));
}

#[test]
fn a_plugin_lends_a_role_to_the_command_and_takes_it_back() {
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        let step = scene.run("env | grep -c ^AWS_; test -n \"$AWS_SESSION_TOKEN\"");
        assert_eq!(step.status, Some(0), "{}", step.log);
        assert!(step.log.contains("lent `arn:aws:sts::123456789012:assumed-role/deploy/"), "{}", step.log);
        let (_, end) = account(&scene);
        ended(&end, JobOutcome::Passed, SealedBy::PostCommand);
        assert!(end.variables.iter().all(|variable| variable.outcome == "removed"), "{:?}", end.variables);
    }
}

#[test]
fn a_vendored_plugin_lends_as_well() {
    for agent in Agent::all() {
        let mut scene = Scene::new(&agent);
        scene.plugins = vec![(scene.vendored_plugin(), asks_for(ROLE))];
        let step = scene.run("test -n \"$AWS_SESSION_TOKEN\"");
        assert_eq!(step.status, Some(0), "{}", step.log);
        ended(&account(&scene).1, JobOutcome::Passed, SealedBy::PostCommand);
    }
}

#[test]
fn agent_hooks_serve_the_steps_block_once() {
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        scene.install_agent_hooks();
        let step = scene.run("test -n \"$AWS_SESSION_TOKEN\"");
        assert_eq!(step.status, Some(0), "{}", step.log);
        assert!(step.log.contains("the agent's own hook has lent this already"), "{}", step.log);
        ended(&account_of(&scene, "agent-hook").1, JobOutcome::Passed, SealedBy::PostCommand);
    }
}

#[test]
fn the_commands_own_status_stays_the_jobs() {
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        let step = scene.run("exit 3");
        assert_eq!(step.status, Some(3), "{}", step.log);
        let (_, end) = account(&scene);
        ended(&end, JobOutcome::Failed, SealedBy::PostCommand);
        assert_eq!(end.result.exit_status.as_deref(), Some("3"));
    }
}

#[test]
fn a_command_that_is_killed_leaves_nothing_behind() {
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        let step = scene.run("kill -KILL $$");
        assert_ne!(step.status, Some(0), "{}", step.log);
        let (_, end) = account(&scene);
        ended(&end, JobOutcome::Failed, SealedBy::PostCommand);
        assert_eq!(end.result.exit_status.as_deref(), Some("-1"));
    }
}

#[test]
fn where_an_earlier_plugin_fails_nothing_is_lent() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        let other = scene.other_plugin("failing-buildkite-plugin", "pre-command", "exit 42");
        scene.plugins.insert(0, (other, json!(null)));
        let step = scene.run("true");
        assert_eq!(step.status, Some(42), "{}", step.log);
        scene.is_as_before();
        assert_eq!((scene.accounts().len(), scene.sandbox.sts().issued().len()), (0, 0));
    }
}

#[test]
fn where_a_later_plugin_fails_pre_exit_gives_back() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        let other = scene.other_plugin("failing-buildkite-plugin", "pre-command", "exit 42");
        scene.plugins.push((other, json!(null)));
        let step = scene.run("true");
        assert_eq!(step.status, Some(42), "{}", step.log);
        ended(&account(&scene).1, JobOutcome::NotRun, SealedBy::PreExit);
    }
}

#[test]
fn where_another_plugin_stops_the_post_command_hooks_pre_exit_gives_back() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        // Before ours in v3's order, and in v4's, which is the other way round.
        for (place, name) in [(0, "first-buildkite-plugin"), (2, "last-buildkite-plugin")] {
            let other = scene.other_plugin(name, "post-command", "exit 7");
            scene.plugins.insert(place, (other, json!(null)));
        }
        let step = scene.run("true");
        assert_eq!(step.status, Some(7), "{}", step.log);
        ended(&account(&scene).1, JobOutcome::Passed, SealedBy::PreExit);
    }
}

#[test]
fn a_cancelled_step_gives_back_and_says_so() {
    for agent in Agent::all() {
        let scene = Scene::with_plugin(&agent);
        let running = scene.path("running");
        let mut child =
            scene.start(&format!("touch {}; sleep 60", running.display()), &["--acquire-job", JOB]);
        scene.wait_for(&running, &mut child);
        scene.sandbox.agent().cancel(JOB);
        let step = scene.finished(child);
        let finish = scene.sandbox.agent().progress(JOB).unwrap().finish.unwrap();
        assert_eq!(
            (&finish["signal"], &finish["signal_reason"]),
            (&json!("SIGTERM"), &json!("cancel")),
            "{}",
            step.log
        );
        ended(&account(&scene).1, JobOutcome::Cancelled, SealedBy::PostCommand);
    }
}

/// A step whose command does not mind being told to stop: when its time is over the agent kills command
/// and bootstrap together, and hooks may run or not.
fn killed_by_a_cancel(agent: &Agent) -> Scene {
    let mut scene = Scene::with_plugin(agent);
    scene.host.insert("BUILDKITE_CANCEL_GRACE_PERIOD", "2".to_owned());
    scene.host.insert("BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "1s".to_owned());
    let running = scene.path("running");
    let command = format!("trap '' TERM; touch {}; sleep 50", running.display());
    let mut child = scene.start(&command, &["--acquire-job", JOB]);
    scene.wait_for(&running, &mut child);
    scene.sandbox.agent().cancel(JOB);
    let step = scene.finished(child);
    let finish = scene.sandbox.agent().progress(JOB).unwrap().finish.unwrap();
    assert_eq!(finish.get("signal_reason"), Some(&json!("cancel")), "{}", step.log);
    until(|| "the command's end".to_owned(), || scene.processes().is_empty());
    scene
}

/// Of a job that was killed: one lease, settled, in one END, which says what is known.
#[track_caller]
fn given_back(scene: &Scene, (start, end): &(Start, End)) {
    scene.holds_nothing_back();
    let ends = scene.links().into_iter().filter(|link| link.sequence == 1 && link.end.is_some());
    assert_eq!(ends.count(), scene.accounts().len());
    let lent = start.leases.iter().map(|lease| Settlement::Expires { at: lease.expires_at });
    let settled = end.settlements.iter().map(|one| one.settlement.clone());
    assert_eq!((start.leases.len(), settled.collect::<Vec<_>>()), (1, lent.collect()));
    let expected = if end.sealed_by == SealedBy::Sweep { JobOutcome::Abort } else { JobOutcome::Cancelled };
    assert_eq!(end.result.outcome, expected);
}

#[test]
fn what_a_killed_job_left_is_given_back_by_a_sweep() {
    for agent in Agent::all() {
        let scene = killed_by_a_cancel(&agent);
        scene.sweep();
        let [account] = scene.accounts().try_into().unwrap();
        given_back(&scene, &account);
        assert_eq!(undiagnosed(&scene.sweep()), "", "a second sweep has nothing to do");
    }
}

#[test]
fn what_a_killed_job_left_is_given_back_by_the_next_job() {
    for agent in Agent::all() {
        let mut scene = killed_by_a_cancel(&agent);
        scene.plugins[0].1 = asks_for(&format!("{ROLE}-other"));
        let next = scene.run("test -n \"$AWS_SESSION_TOKEN\"");
        assert_eq!(next.status, Some(0), "{}", next.log);
        let [killed, next] = scene.accounts().try_into().unwrap();
        given_back(&scene, &killed);
        ended(&next.1, JobOutcome::Passed, SealedBy::PostCommand);
    }
}

#[test]
fn two_blocks_that_cover_each_other_leave_every_variable_as_before() {
    for agent in Agent::all() {
        for before in [None, Some("as-before")] {
            let mut scene = Scene::with_plugin(&agent);
            scene.env.extend(before.map(|value| ("AWS_REGION".to_owned(), value.to_owned())));
            scene.plugins.push((scene.plugins[0].0.clone(), asks_for(&format!("{ROLE}-other"))));
            let step = scene.run("test -n \"$AWS_SESSION_TOKEN\"");
            assert_eq!(step.status, Some(0), "{}", step.log);
            scene.is_as_before();
            assert_eq!(scene.environment("after").get("AWS_REGION").map(String::as_str), before);
            assert_eq!((scene.accounts().len(), scene.sandbox.sts().issued().len()), (2, 2));
        }
    }
}

#[test]
fn the_same_block_twice_is_served_once() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.plugins.push(scene.plugins[0].clone());
        let step = scene.run("test -n \"$AWS_SESSION_TOKEN\"");
        assert_eq!(step.status, Some(0), "{}", step.log);
        assert!(step.log.contains("an equal block of this step has lent this already"), "{}", step.log);
        ended(&account(&scene).1, JobOutcome::Passed, SealedBy::PostCommand);
    }
}

/// The step stops before its command with one error, and nothing was asked.
#[track_caller]
fn refused(scene: &Scene, status: i32, expected: &str) {
    let step = scene.run("echo the command ran");
    assert_eq!(step.status, Some(status), "{}", step.log);
    assert!(step.log.contains(expected) && !step.log.contains("\nthe command ran"), "{}", step.log);
    assert_eq!(step.log.matches("error[").count(), 1, "{}", step.log);
    scene.is_as_before();
    assert_eq!((scene.accounts().len(), scene.sandbox.agent().tokens().len()), (0, 0));
}

#[test]
fn a_null_that_makes_the_agent_drop_the_configuration_is_one_clear_message() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.plugins[0].1["credentials"][0]["aws"]["region"] = json!(null);
        refused(&scene, 102, "step config: `credentials[0].aws.region`: saw null, expected a value");
    }
}

#[test]
fn without_a_job_api_is_one_clear_message() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.env.insert("BUILDKITE_AGENT_NO_JOB_API".into(), "true".into());
        refused(&scene, 104, "error[job-api]: this job has no Job API");
    }
}

#[test]
fn a_variable_of_the_jobs_own_comes_back() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.env.insert("AWS_SECRET_ACCESS_KEY".into(), "static-key-of-the-host".into());
        let step = scene.run("test \"$AWS_SECRET_ACCESS_KEY\" != static-key-of-the-host");
        assert_eq!(step.status, Some(0), "{}", step.log);
        assert!(step.log.contains("`AWS_SECRET_ACCESS_KEY` was set already"), "{}", step.log);
        ended(&account(&scene).1, JobOutcome::Passed, SealedBy::PostCommand);
        assert_eq!(scene.environment("after")["AWS_SECRET_ACCESS_KEY"], "static-key-of-the-host");
    }
}

/// Why a competing variable is covered or reported, and never taken away: the agent puts each process on top of
/// the environment that it was started with itself.
#[test]
fn the_agent_hands_on_a_variable_of_the_jobs_own_that_was_removed() {
    for agent in Agent::all() {
        let mut scene = Scene::with_plugin(&agent);
        scene.env.insert("AWS_PROFILE".into(), "admin".into());
        let unset = format!("{} env unset AWS_PROFILE", agent.path().display());
        let step = scene.run(&unset);
        assert!(step.status == Some(0) && step.log.contains("AWS_PROFILE"), "{}", step.log);
        assert_eq!(scene.environment("after")["AWS_PROFILE"], "admin");
    }
}
