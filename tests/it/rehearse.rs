//! `rehearse` as a person runs it.

use std::path::Path;
use std::process::Command;

use buildkite_dataflow::record;

use crate::support::components;
use crate::support::hooks::files;

struct Rehearsed {
    status: i32,
    out: String,
    err: String,
    records: tempfile::TempDir,
}

fn rehearse(arguments: &[&str]) -> Rehearsed {
    rehearse_with(arguments, &[])
}

fn rehearse_with(arguments: &[&str], variables: &[(&str, &str)]) -> Rehearsed {
    let records = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs(variables.iter().copied())
        .arg("rehearse")
        .args(arguments)
        .arg("--records")
        .arg(records.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Rehearsed {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
        records,
    }
}

fn pipeline(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.yml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

const STEP: &str = "  - key: deploy\n    command: COMMAND\n    plugins:\n      - acme/dataflow#v1:\n          credentials:\n            \
                    - aws: {role: 'arn:aws:iam::123456789012:role/deploy'}\n";

#[test]
fn the_example_pipeline_passes_and_its_account_names_every_lease() {
    let run = rehearse(&["examples/pipeline.yml"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("my secret in the log is [REDACTED]"), "{}", run.out);
    assert!(run.out.contains("no secret was seen in any log or record"), "{}", run.out);
    let rows: Vec<&str> = run.out.lines().filter(|line| line.contains("  passed  ")).collect();
    assert_eq!(rows.len(), 3, "{}", run.out);
    assert!(
        rows[1].starts_with("train") && rows[1].contains("role/train") && rows[1].contains("expires"),
        "{}",
        rows[1]
    );
    assert_eq!(files(run.records.path()).len(), 4);
}

#[test]
fn the_projects_own_pipeline_borrows_the_role_that_releases() {
    let Some(aws) = components::find("venv/bin/aws") else { return };
    let path = format!("{}:{}", aws.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let run = rehearse_with(&[".buildkite/pipeline.yml", "--step", "release"], &[("PATH", &path)]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let said = ["assumed-role/dataflow-release/", "no tag: nothing is released"];
    assert!(said.iter().all(|said| run.out.contains(said)), "{}", run.out);
}

#[test]
fn one_block_lends_everything_at_once_and_every_lease_is_settled() {
    let run = rehearse(&["examples/everything.yml"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let printed = ["vault", "oauth", "github", "bitbucket", "buildkite", "parameter", "database"];
    for name in printed {
        assert!(run.out.contains(&format!("{name} [REDACTED]")), "{name}: {}", run.out);
    }
    assert!(run.out.contains("no secret was seen in any log or record"), "{}", run.out);
    let links = files(run.records.path()).into_iter();
    let links: Vec<_> = links.map(|path| record::read(&std::fs::read(path).unwrap()).unwrap()).collect();
    assert_eq!(links.len(), 2);
    let end = links.iter().find_map(|link| link.end.as_ref()).unwrap();
    let words: Vec<_> =
        end.settlements.iter().map(|one| (one.request.as_str(), one.settlement.word())).collect();
    assert_eq!(words.len(), 13, "{words:?}");
    assert!(words.iter().all(|(_, word)| ["expires", "revoked", "stored"].contains(word)), "{words:?}");
    let place = |request: &str| words.iter().position(|(one, _)| *one == request).unwrap();
    // What was made with another is settled before it.
    for (child, parent) in [("4", "3"), ("11", "9"), ("12", "10"), ("13", "9")] {
        assert!(place(child) < place(parent), "{child} and {parent}: {words:?}");
    }
}

#[test]
fn one_step_can_be_rehearsed_alone() {
    let run = rehearse(&["examples/pipeline.yml", "--step", "train"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("train (1 of 1)") && !run.out.contains("extract"), "{}", run.out);
}

#[test]
fn an_unknown_step_names_the_nearest() {
    let run = rehearse(&["examples/pipeline.yml", "--step", "trian"]);
    assert_eq!(run.status, 102, "{}{}", run.out, run.err);
    assert!(run.err.contains("did you mean `train`?"), "{}", run.err);
}

#[test]
fn a_trust_policy_that_says_no_fails_the_step_with_the_condition_that_failed() {
    let run = rehearse(&["examples/pipeline.yml", "--step", "train", "--branch", "fix"]);
    assert_eq!(run.status, 1, "{}{}", run.out, run.err);
    assert!(run.out.contains("error[token-rejected]") && run.out.contains("StringLike"), "{}", run.out);
    assert!(run.out.contains("refs/heads/fix"), "{}", run.out);
}

#[test]
fn what_waits_for_a_failed_step_does_not_run() {
    let steps = format!(
        "steps:\n{}  - wait\n  - key: after\n    command: echo never\n",
        STEP.replace("COMMAND", "exit 3")
    );
    let (_folder, path) = pipeline(&steps);
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 1, "{}{}", run.out, run.err);
    assert!(run.out.contains("deploy  exit 3") && run.out.contains("after   not run"), "{}", run.out);
    assert!(run.out.contains("expires"), "{}", run.out);
}

#[test]
fn a_wrong_block_is_told_with_its_place() {
    let (_folder, path) = pipeline(&format!("steps:\n{}", STEP.replace("role:", "rol:")));
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 1);
    assert!(
        run.out.contains("`credentials[0].aws`: unknown key `rol`")
            && run.out.contains("did you mean `role`?"),
        "{}",
        run.out
    );
}

#[test]
fn every_error_of_a_block_is_reported_with_its_line_and_column_in_the_pipeline() {
    let steps = STEP.replace("role:", "duration: 60,\n                zebra: 1,\n                role_arn:");
    let (_folder, path) = pipeline(&format!("# a comment\nsteps:\n{steps}"));
    let text = std::fs::read_to_string(&path).unwrap();
    let run = rehearse(&[&path]);
    for (key, problem) in
        [("duration:", "saw `1m`"), ("zebra:", "unknown key `zebra`"), ("role_arn:", "did you mean `role`?")]
    {
        let line = text.lines().position(|line| line.contains(key)).unwrap() + 1;
        let shown =
            run.out.lines().find(|said| said.contains(&format!("{path}:{line}:")) && said.contains(problem));
        assert!(shown.is_some(), "{key}: {}", run.out);
    }
}

#[test]
fn a_name_and_a_tag_that_are_made_to_fit_pass_in_a_rehearsal_as_they_do_at_aws() {
    let role = "aws: {role: 'arn:aws:iam::123456789012:role/deploy', session-name: 'bk-$${claims.build_branch}', \
                chain: [{role: 'arn:aws:iam::123456789012:role/last', session-name: 'to-$${claims.build_branch}', \
                session-tags: {branch: '$${claims.build_branch}'}}]}";
    let step = STEP.replace("aws: {role: 'arn:aws:iam::123456789012:role/deploy'}", role);
    let step = step.replace("COMMAND", "test -n \"$$AWS_SESSION_TOKEN\"");
    let (_folder, path) = pipeline(&format!("steps:\n{step}"));
    let long = format!("feature/{}", "x".repeat(300));
    for branch in ["feature/JIRA-1", "#2-bit-ref-r", "\u{e4}\u{1f600}", &long] {
        let run = rehearse(&[&path, "--branch", branch]);
        assert_eq!(run.status, 0, "{branch}: {}{}", run.out, run.err);
    }
    // What is not made to fit is refused, as AWS would.
    let plain = STEP.replace("role/deploy'", "role/deploy', session-tags: [build_branch]");
    let (_folder, path) = pipeline(&format!("steps:\n{}", plain.replace("COMMAND", "true")));
    let run = rehearse(&[&path, "--branch", "#2-bit-ref-r"]);
    assert!(run.status == 1 && run.out.contains("#2-bit-ref-r"), "{}{}", run.out, run.err);
}

#[test]
fn what_is_no_pipeline_is_told_with_line_and_column() {
    let (_folder, path) = pipeline("steps:\n  - command: [\n");
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 102);
    assert!(run.err.contains("error[rehearsal-impossible]"), "{}", run.err);
    let missing = rehearse(&["/nonexistent.yml"]);
    assert!(missing.status == 102 && missing.err.contains("/nonexistent.yml"), "{}", missing.err);
}

#[test]
fn a_secret_that_a_step_prints_is_hidden_in_the_rehearsals_log_too() {
    let (_folder, path) =
        pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "echo $$AWS_SECRET_ACCESS_KEY | base64")));
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 0, "{}", run.out);
    assert!(run.out.contains("[REDACTED]"), "{}", run.out);
}

#[test]
fn the_example_fixtures_are_as_expected() {
    let run = rehearse(&["examples/fixtures"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fixtures")).len();
    assert!(run.out.contains(&format!("{all} fixtures as expected, 0 not")), "{}", run.out);
}

#[test]
fn a_fixture_that_is_not_as_expected_says_what_was_seen() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fixtures/grants-only.yml"),
    )
    .unwrap();
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/host/grants-only.yml");
    let text = text
        .replace("exit-status: 103", "exit-status: 0")
        .replace("../host/grants-only.yml", host.to_str().unwrap())
        .replace("../trust", host.parent().unwrap().with_file_name("trust").to_str().unwrap());
    let (_folder, path) = pipeline(&text);
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 1, "{}{}", run.out, run.err);
    assert!(run.out.contains("exit-status: expected 0, saw 103"), "{}", run.out);
}

#[test]
fn a_host_config_is_met_with_its_grants() {
    let step = STEP.replace("COMMAND", "test -n \"$$AWS_SESSION_TOKEN\"");
    let step = step.replace("aws: {role: 'arn:aws:iam::123456789012:role/deploy'}", "grant: deploy");
    let (_folder, path) = pipeline(&format!("steps:\n{step}"));
    let with = |branch: &str| {
        rehearse(&[
            &path,
            "--host-config",
            "examples/host/grants-only.yml",
            "--pipeline",
            "web",
            "--branch",
            branch,
        ])
    };
    let main = with("main");
    assert_eq!(main.status, 0, "{}{}", main.out, main.err);
    let other = with("fix");
    assert!(
        other.status == 1 && other.out.contains("claim `build_branch`: expected `main`, saw `fix`"),
        "{}",
        other.out
    );
}

#[test]
fn a_step_whose_if_is_false_is_skipped_and_what_waits_for_it_runs() {
    let text = "steps:\n  - key: release\n    command: 'false'\n    if: build.branch =~ /^release/\n  - key: odd\n    \
                command: 'true'\n    if: build.state == 'passed'\n  - key: after\n    depends_on: release\n    \
                command: 'true'\n    if: build.branch == 'main' && build.env('STAGE') == 'test'\nenv: {STAGE: test}\n";
    let (_folder, path) = pipeline(text);
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let row = |key: &str| run.out.lines().rfind(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(row("release").contains("skipped") && row("after").contains("passed"), "{}", run.out);
    assert!(run.out.contains("`if: build.branch =~ /^release/` is false"), "{}", run.out);
    assert!(run.out.contains("is not evaluated: `build.state` is known to Buildkite"), "{}", run.out);
    let run = rehearse(&[&path, "--branch", "release-1"]);
    assert_ne!(run.status, 0, "{}", run.out);
}

#[track_caller]
fn impossible(arguments: &[&str], parts: &[&str]) -> Rehearsed {
    let run = rehearse(arguments);
    assert_eq!(run.status, 102, "{}{}", run.out, run.err);
    for part in parts {
        assert!(run.err.contains(part), "no `{part}` in {}", run.err);
    }
    assert!(!run.out.contains("(1 of"), "nothing runs before: {}", run.out);
    run
}

fn beside(pipeline: &str, name: &str, text: &str) -> String {
    let path = Path::new(pipeline).with_file_name(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn fifo(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_host_configs_accounts_hold_in_a_rehearsal() {
    let (_folder, path) = pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "'true'")));
    let with = |accounts: &str| {
        let host = beside(&path, "host.yml", &format!("aws: {{allowed-accounts: ['{accounts}']}}\n"));
        rehearse(&[&path, "--host-config", &host])
    };
    assert_eq!(with("123456789012").status, 0);
    let run = with("210987654321");
    assert_eq!(run.status, 1, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("error[denied]") && run.out.contains("rule `aws.allowed-accounts`"),
        "{}",
        run.out
    );
}

#[test]
fn what_a_rehearsal_is_given_must_be_there_and_be_what_it_should_be() {
    let (folder, path) = pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "'true'")));
    let file = beside(&path, "a-file", "x\n");
    let latin = folder.path().join("latin.yml");
    std::fs::write(&latin, b"steps: [\xff]\n").unwrap();
    let latin = latin.to_str().unwrap().to_owned();
    let empty = beside(&path, "empty.yml", " \n");
    let fifo = fifo(folder.path(), "fifo.yml");
    let folder = folder.path().to_str().unwrap().to_owned();
    for (input, problem) in [
        ("/nowhere/x.yml", "No such file or directory"),
        (&folder, "is a folder"),
        (&latin, "is not UTF-8 text"),
        (&empty, "is empty"),
        (&fifo, "is no regular file"),
    ] {
        impossible(&[&path, "--host-config", input], &[input, problem]);
        if input != folder {
            impossible(&[input], &[input, problem]);
        }
    }
    impossible(&[&path, "--trust", "/nowhere/trust"], &["`/nowhere/trust`", "No such file or directory"]);
    impossible(&[&path, "--trust", &file], &[&file, "is no folder"]);
    let run = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"))
        .args(["rehearse", &path, "--records", &file])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        run.status.code() == Some(102) && told.contains(&file) && told.contains("is no folder"),
        "{told}"
    );
}

#[test]
fn a_trust_policy_that_iam_would_refuse_is_told_with_its_file_and_place() {
    let (_folder, path) = pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "'true'")));
    for (policy, parts) in [
        ("{\"Statement\": [", vec!["is not a trust policy in JSON", "line 1 column 15"]),
        ("{\"Statement\": []}", vec!["at `Statement`: expected a statement"]),
        (
            "{\"Statement\": {\"Effect\": \"Allow\", \"Principal\": \"*\", \"Action\": \"sts:*\", \"Condition\": {\"StringLik\": {}}}}",
            vec!["at `Statement.Condition.StringLik`", "is no condition operator"],
        ),
        ("", vec!["is empty"]),
    ] {
        let file = beside(&path, "trust/deploy.json", policy);
        impossible(&[&path], &[&[file.as_str()], parts.as_slice()].concat());
    }
    std::fs::remove_file(Path::new(&path).with_file_name("trust").join("deploy.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", Path::new(&path).with_file_name("trust").join("deploy.json"))
        .unwrap();
    impossible(&[&path], &["trust/deploy.json", "No such file or directory"]);
}

#[test]
fn a_role_without_a_policy_is_told_with_the_policy_that_may_have_been_meant() {
    let (_folder, path) = pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "'true'")));
    beside(&path, "trust/deplyo.json", "{}");
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("no trust policy is there for `arn:aws:iam::123456789012:role/deploy`")
            && run.out.contains("trust/deplyo.json` is for no role that is asked for: did you mean it?"),
        "{}",
        run.out
    );
}

#[test]
fn a_role_with_a_claim_in_it_is_rehearsed_as_the_job_is_lent_it() {
    let step = STEP.replace("COMMAND", "'true'").replace("role/deploy", "role/ci-${claims.pipeline_slug}");
    // The agent replaces variables when it uploads; a claim is written with two dollars for it.
    let (_folder, path) = pipeline(&format!("steps:\n{}", step.replace("${", "$${")));
    let run = rehearse(&[&path, "--pipeline", "web"]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("arn:aws:iam::123456789012:role/ci-web"), "{}", run.out);
    beside(
        &path,
        "trust/ci-web.json",
        "{\"Statement\": {\"Effect\": \"Deny\", \"Principal\": \"*\", \"Action\": \"sts:*\"}}",
    );
    let run = rehearse(&[&path, "--pipeline", "web"]);
    assert!(run.status == 1 && run.out.contains("denies it"), "{}", run.out);
}

#[test]
fn a_key_of_the_block_that_is_not_indented_is_another_plugin_and_refused() {
    let (_folder, path) = pipeline(
        "steps:\n  - key: deploy\n    command: x\n    plugins:\n      - acme/dataflow#v1:\n        credentials:\n          \
         - aws: {role: 'arn:aws:iam::123456789012:role/deploy'}\n",
    );
    impossible(
        &[&path],
        &[
            "`credentials` of step `deploy`",
            "github.com/buildkite-plugins/credentials-buildkite-plugin",
            "indent",
        ],
    );
}

#[test]
fn a_rehearsal_without_a_credential_says_so() {
    let (_folder, path) = pipeline("steps: [{command: 'true'}]\n");
    let run = rehearse(&[&path]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("no credential was rehearsed: no step that ran uses this plugin"),
        "{}",
        run.out
    );
    let (_folder, path) =
        pipeline(&format!("steps:\n{}", STEP.replace("COMMAND", "'true'").replace("dataflow", "datafow")));
    let run = rehearse(&[&path]);
    assert!(
        run.out.contains("`acme/datafow#v1` is not this plugin: did you mean `dataflow`?"),
        "{}",
        run.out
    );
}

#[test]
fn a_pipeline_without_steps_is_refused_with_what_may_have_been_meant() {
    for (text, parts) in [
        ("foo: bar\n", vec!["there are no steps", "line 1"]),
        (
            "env: {A: b}\nstep:\n  - command: x\n",
            vec!["there are no steps at step (line 3", "did you mean `steps`?"],
        ),
        ("steps: []\n", vec!["there are no steps at steps (line 1"]),
        ("[]\n", vec!["there are no steps"]),
        ("steps: [{group: g, steps: []}]\n", vec!["there are no steps"]),
        ("# nothing\n", vec!["expected a map with `steps`"]),
        ("", vec!["is empty"]),
    ] {
        let (_folder, path) = pipeline(text);
        impossible(&[&path], &[&[path.as_str()], parts.as_slice()].concat());
    }
}

#[test]
fn a_step_that_is_not_there_is_told_with_those_that_are() {
    let run = impossible(
        &["examples/pipeline.yml", "--step", "nope"],
        &["has no step with the key `nope`", "its keys: `"],
    );
    assert!(!run.err.contains("is not a pipeline"), "{}", run.err);
}

#[test]
fn every_fixture_of_a_folder_runs_and_every_problem_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let good = "fixture: it passes\nplugin: {credentials: []}\nexpect: {exit-status: 0}\n";
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    write("a-broken.yml", b"fixture: broken\nexpekt: {}\n");
    write("b-trust.yml", format!("{good}trust: ../nowhere\n").as_bytes());
    write("c-latin.yml", b"fixture: \xff\n");
    write("d-other.yml", b"nothing: here\n");
    write("e-good.yml", good.as_bytes());
    fifo(folder.path(), "f-fifo.yml");
    let run = rehearse(&[folder.path().to_str().unwrap()]);
    assert_eq!(run.status, 102, "{}{}", run.out, run.err);
    assert!(run.out.contains("1 fixtures as expected, 0 not, 4 could not be run"), "{}{}", run.out, run.err);
    assert!(run.out.contains("ok: it passes") && run.out.contains("d-other.yml` has no line"), "{}", run.out);
    for part in
        ["a-broken.yml", "../nowhere", "c-latin.yml` is not UTF-8 text", "f-fifo.yml` is no regular file"]
    {
        assert!(run.err.contains(part), "no `{part}` in {}", run.err);
    }
    let empty = tempfile::tempdir().unwrap();
    impossible(&[empty.path().to_str().unwrap()], &["holds no fixture"]);
}

#[test]
fn a_hosts_automatic_grants_are_lent_as_its_agent_hooks_would() {
    let (_folder, path) = pipeline("steps: [{key: plain, command: 'test -n \"$$AWS_SESSION_TOKEN\"'}]\n");
    let host = "grants: [{name: g, automatic: true, claims: {build_branch: main}, credentials: [{aws: {role: \
                'arn:aws:iam::123456789012:role/auto'}}]}]\n";
    let host = beside(&path, "host.yml", host);
    let run = rehearse(&[&path, "--host-config", &host]);
    assert_eq!(run.status, 0, "{}{}", run.out, run.err);
    let row = run.out.lines().rfind(|line| line.starts_with("plain")).unwrap();
    assert!(row.contains("role/auto") && row.contains("expires"), "{row}");
    let run = rehearse(&[&path, "--host-config", &host, "--branch", "fix"]);
    assert!(run.status == 1 && run.out.contains("plain  exit 1  -"), "{}", run.out);
}
