//! What somebody put in the place of a file: no hook, sweep or command waits for it, reads without end, or writes
//! through it.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::journals::forged;
use crate::support::hooks::{JOB, Stage, aws, files};
use crate::support::odd::{ALL, Odd, soon};

#[test]
fn no_hook_waits_for_what_stands_where_a_link_of_the_record_will_be() {
    for odd in ALL {
        let mut stage = Stage::new();
        stage.hook("pre-command");
        stage.hook("post-command");
        let links = files(&stage.folder.path().join("records"));
        assert_eq!(links.len(), 2);
        for link in &links {
            odd.put(link);
        }
        let mut text = String::new();
        for phase in ["pre-command", "post-command", "pre-exit"] {
            let (status, told) = soon(stage.command(phase));
            assert_eq!(status, Some(0), "{odd:?} {phase}: {told}");
            text += &told;
        }
        assert!(text.contains("waits in the outbox"), "{odd:?}: {text}");
        let (status, text) = soon(stage.sweeping());
        assert_eq!(status, Some(0), "{odd:?}: {text}");
        assert_eq!(stage.open_journals().len(), 1, "{odd:?}");
    }
}

#[test]
fn no_hook_follows_or_waits_for_what_stands_where_a_folder_of_the_record_will_be() {
    for odd in ALL {
        let mut stage = Stage::new();
        let records = stage.folder.path().join("records");
        fs::create_dir(&records).unwrap();
        odd.put(&records.join("v=1"));
        stage.write_config();
        for phase in ["pre-command", "post-command"] {
            let (status, told) = soon(stage.command(phase));
            assert_eq!(status, Some(0), "{odd:?} {phase}: {told}");
        }
        // A folder of one's own is as good as one that was made.
        assert_eq!(stage.open_journals().len(), usize::from(!matches!(odd, Odd::Folder)), "{odd:?}");
        stage.hook("pre-exit");
    }
}

#[test]
fn a_session_policy_or_a_token_that_is_no_file_is_refused_at_once() {
    for odd in ALL {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("x");
        odd.put(&path);
        let policy = json!({"session-policy": format!("file:{}", path.display())});
        for asked in [policy, json!({"token": {"from": {"file": path}}})] {
            let mut stage = Stage::new();
            stage.block = aws(&asked);
            stage.write_config();
            let (status, text) = soon(stage.command("pre-command"));
            assert!(matches!(status, Some(102 | 104)), "{odd:?} {asked}: {status:?} {text}");
            assert!(text.contains(path.to_str().unwrap()), "{odd:?}: {text}");
            stage.nothing_left();
        }
    }
}

#[test]
fn a_certificate_or_a_host_config_that_is_no_file_is_refused_at_once() {
    for odd in ALL {
        let mut stage = Stage::new();
        let path = stage.folder.path().join("ca.pem");
        odd.put(&path);
        stage.config["network"] = json!({"ca-file": path});
        stage.write_config();
        let (status, text) = soon(stage.command("pre-command"));
        assert!(status.is_some_and(|status| status > 100), "{odd:?}: {text}");
        odd.put(&stage.folder.path().join("agent/buildkite-dataflow.yml"));
        let (status, text) = soon(stage.command("pre-command"));
        let skipped = matches!(odd, Odd::LinkToNothing);
        assert!(status == Some(102) || skipped, "{odd:?}: {status:?} {text}");
    }
}

#[test]
fn no_command_of_an_operator_waits_for_what_lies_among_records() {
    for odd in ALL {
        let stage = Stage::new();
        let records = stage.folder.path().join("records");
        let folder = records.join("v=1/org=acme/date=2026-01-01/pipeline=web/build=7");
        fs::create_dir_all(&folder).unwrap();
        let link = folder.join(format!("job-{JOB}.abc.0-start.json"));
        odd.put(&link);
        std::os::unix::fs::symlink(&records, folder.join("circle")).unwrap();
        for command in ["deny", "revoke"] {
            let mut program = stage.program(&[command, "--job", JOB, "--records"]);
            program.arg(&records).env_clear();
            program.envs([("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")]);
            program.envs([("VAULT_ADDR", "http://127.0.0.1:9"), ("VAULT_TOKEN", "t")]);
            let (status, text) = soon(program);
            assert!(
                status.is_some_and(|status| status != 0 || odd_is_a_folder(odd)),
                "{odd:?} {command}: {text}"
            );
        }
    }
}

fn odd_is_a_folder(odd: Odd) -> bool {
    matches!(odd, Odd::Folder)
}

#[test]
fn no_sweep_waits_for_what_lies_in_a_state_directory() {
    for odd in ALL {
        let stage = Stage::new();
        let folder = forged(&stage, Vec::new());
        let root = stage.folder.path().join("state");
        odd.put(&folder.join("journal"));
        odd.put(&root.join("jobs/odd.block"));
        fs::create_dir_all(root.join("cache")).unwrap();
        odd.put(&root.join("cache/tidied"));
        let (status, text) = soon(stage.sweeping());
        assert_eq!(status, Some(0), "{odd:?}: {text}");
        let (status, text) = soon(stage.command("pre-command"));
        assert_eq!(status, Some(0), "{odd:?}: {text}");
        assert!(stage.variable("AWS_ACCESS_KEY_ID").is_some(), "{odd:?}");
    }
}

#[test]
fn a_state_directory_that_is_no_folder_is_refused_at_once() {
    for odd in ALL {
        let stage = Stage::new();
        let root = stage.folder.path().join("state");
        for place in [root.clone(), root.join("jobs"), root.join("cache")] {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            odd.put(&place);
            stage.write_config();
            let (status, text) = soon(stage.command("pre-command"));
            let fine = matches!(odd, Odd::Folder);
            assert_eq!(status, Some(if fine { 0 } else { 102 }), "{odd:?} {}: {text}", place.display());
            assert!(fine || text.contains("error[state-unusable]"), "{odd:?}: {text}");
            remove(&root);
        }
    }
}

fn remove(path: &Path) {
    drop(fs::remove_file(path));
    drop(fs::remove_dir_all(path));
}

#[test]
fn a_state_directory_that_is_another_programs_stays_as_it_is() {
    for names in [&["jobs/nightly", "cache"][..], &["jobs/nightly/deep"], &[".git/objects"], &["data"]] {
        let mut stage = Stage::new();
        let root = stage.folder.path().join("state");
        for name in names {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let before = crate::support::users::everything(&root);
        let text = stage.refuses(102, "state-unusable");
        assert!(text.contains("another program's") && text.contains("name a folder of its own"), "{text}");
        let (status, text) = soon(stage.sweeping());
        assert_eq!(status, Some(102), "{text}");
        assert_eq!(crate::support::users::everything(&root), before, "{names:?}");
    }
}

#[test]
fn a_sweep_makes_no_state_directory() {
    let mut stage = Stage::new();
    stage.sweep();
    assert!(!stage.folder.path().join("state").exists());
}
