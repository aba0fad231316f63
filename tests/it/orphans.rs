//! Under the real agent: a process of the step that has the bootstrap as parent is no hook of the agent.

use std::fs;

use buildkite_dataflow::record::end::{JobOutcome, SealedBy};
use serde_json::json;

use crate::support::agent::{Agent, Running, Scene};
use crate::support::hooks::JOB;

/// Becomes the hook `$PHASE` as soon as this process's parent is the bootstrap.
const HOOK: &str = r#"
    until test "$(cut -d' ' -f4 "/proc/$$/stat")" = "$BOOTSTRAP"; do sleep 0.02; done
    echo $$ >"$AT/pid"
    exec "$PROGRAM" "/plugins/dataflow/hooks/$PHASE" >"$AT/printed" 2>&1
"#;

/// The rest of the step: it waits for the hook's end, and goes on until it is let go.
const STEP: &str = r#"
    until test -s "$AT/pid" && ! grep -qs '^State:.[RSDTt]' "/proc/$(cat "$AT/pid")/status"; do sleep 0.02; done
    touch "$AT/called"
    until test -e "$AT/go"; do sleep 0.02; done
    exit 3
"#;

/// Starts a process twice removed: its parent ends, and the first process of the namespace takes its place.
const ORPHAN: &str = r#"export BOOTSTRAP=1; (setsid sh -c "$HOOK" &); exec sh -c "$STEP""#;

/// Starts a process of the same parent by `clone(CLONE_PARENT)`, in any namespace.
const SIBLING: &str = r#"
    export BOOTSTRAP="$PPID"
    export CLONE="$(case "$(uname -m)" in x86_64) echo 56;; *) echo 220;; esac)"
    exec perl -e 'exec "sh", "-c", $ENV{syscall($ENV{CLONE} + 0, 0x8011, 0, 0, 0, 0) == 0 ? "HOOK" : "STEP"}'
"#;

/// A step that is to be ended early by its own process, which says that it has passed.
fn scene(agent: &Agent, phase: &str) -> Scene {
    let mut scene = Scene::guarded(agent);
    let variables = [
        ("HOOK", HOOK.to_owned()),
        ("STEP", STEP.to_owned()),
        ("AT", scene.folder.path().display().to_string()),
        ("PROGRAM", env!("CARGO_BIN_EXE_buildkite-dataflow").to_owned()),
        ("PHASE", phase.to_owned()),
        ("BUILDKITE_PLUGIN_CONFIGURATION", scene.plugins[0].1.to_string()),
        ("BUILDKITE_HOOK_SCOPE", "plugin".to_owned()),
        ("BUILDKITE_COMMAND_EXIT_STATUS", "0".to_owned()),
    ];
    scene.env.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    scene
}

/// The call changed nothing while the step goes on; then the step goes on to its end.
#[track_caller]
fn goes_on(scene: &Scene, step: &mut Running) {
    scene.wait_for(&scene.path("called"), step);
    let printed = fs::read_to_string(scene.path("printed")).unwrap();
    assert!(scene.given_and_living().1 > 0, "given back in the middle of the step: {printed}");
    assert!(
        scene.links().iter().all(|link| link.end.is_none()),
        "sealed in the middle of the step: {printed}"
    );
    assert!(printed.contains("[not-a-hook]"), "{printed}");
    fs::write(scene.path("go"), "").unwrap();
}

/// What the agent's own hook sealed says how the step really ended.
#[track_caller]
fn ended_as_it_did(scene: &Scene) {
    let [(_, end)] = scene.accounts().try_into().unwrap();
    assert_eq!((end.sealed_by, end.result.outcome), (SealedBy::PostCommand, JobOutcome::Failed));
    assert_eq!(end.result.exit_status.as_deref(), Some("3"));
    assert_eq!(scene.given_and_living().1, 0);
}

#[test]
fn an_orphan_of_the_step_whose_parent_became_the_bootstrap_ends_no_step() {
    for agent in Agent::all() {
        for phase in ["post-command", "pre-exit"] {
            let scene = scene(&agent, phase);
            let Some(mut containers) = scene.containers(&["0"], ORPHAN) else { return };
            let mut container = containers.pop().unwrap();
            goes_on(&scene, container.running());
            assert_eq!(scene.container_ended(container).status, Some(3));
            ended_as_it_did(&scene);
        }
    }
}

#[test]
fn an_orphan_of_the_step_ends_no_step_by_an_agent_hook_either() {
    for agent in Agent::all() {
        let mut scene = scene(&agent, "post-command");
        scene.install_agent_hooks();
        scene.env.insert("BUILDKITE_HOOK_SCOPE".into(), "agent".into());
        let Some(mut containers) = scene.containers(&["0"], ORPHAN) else { return };
        let mut container = containers.pop().unwrap();
        goes_on(&scene, container.running());
        assert_eq!(scene.container_ended(container).status, Some(3));
        ended_as_it_did(&scene);
    }
}

#[test]
fn a_sibling_that_the_command_gave_the_bootstrap_as_child_ends_no_step() {
    for agent in Agent::all() {
        for terminal in ["true", "false"] {
            let mut scene = scene(&agent, "post-command");
            scene.host.insert("BUILDKITE_PTY", terminal.to_owned());
            let mut step = scene.start(SIBLING, &["--acquire-job", JOB]);
            goes_on(&scene, &mut step);
            scene.finished(step);
            assert_eq!(scene.sandbox.agent().progress(JOB).unwrap().finish.unwrap()["exit_status"], "3");
            ended_as_it_did(&scene);
        }
    }
}

#[test]
fn the_agents_hooks_end_a_step_whatever_others_left_running_beside_them() {
    for agent in Agent::all() {
        for terminal in ["true", "false"] {
            let mut scene = Scene::guarded(&agent);
            scene.host.insert("BUILDKITE_PTY", terminal.to_owned());
            let daemons = "for n in 1 2 3; do setsid nohup sleep 50 </dev/null >/dev/null 2>&1 & done";
            for (place, name) in [(0, "first-buildkite-plugin"), (2, "last-buildkite-plugin")] {
                let other = scene.other_plugin(name, "pre-command", daemons);
                scene.plugins.insert(place, (other, json!(null)));
            }
            let command = format!("{daemons}; test -n \"$VAULT_TOKEN\"");
            let Some(mut containers) = scene.containers(&["0"], &command) else { return };
            let ended = scene.container_ended(containers.pop().unwrap());
            assert!(ended.status == Some(0) && !ended.log.contains("not-a-hook"), "{}", ended.log);
            let [(_, end)] = scene.all_is_given_back().try_into().unwrap();
            assert_eq!((end.sealed_by, end.result.outcome), (SealedBy::PostCommand, JobOutcome::Passed));
        }
    }
}
