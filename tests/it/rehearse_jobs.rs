//! What a rehearsed job may do: be interrupted, fail softly, run several times, and ask the agent.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::components;

const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";

struct Ran {
    status: i32,
    text: String,
}

/// A folder with a pipeline, from which it is rehearsed.
struct Site {
    folder: tempfile::TempDir,
    path: String,
}

impl Site {
    fn new(pipeline: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("site").tempdir_in("/tmp").unwrap();
        std::fs::write(folder.path().join("pipeline.yml"), pipeline).unwrap();
        Self { folder, path: "/usr/local/bin:/usr/bin:/bin".to_owned() }
    }

    /// The same, with Buildkite's own agent on the search path.
    fn with_agent(mut self) -> Option<Self> {
        let agent = components::find("buildkite-agent-v3")?;
        let bin = self.folder.path().join("agents-bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(agent, bin.join("buildkite-agent")).unwrap();
        self.path = format!("{}:{}", bin.display(), self.path);
        Some(self)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"));
        command.current_dir(self.folder.path()).env_clear().env("PATH", &self.path).env("HOME", "/tmp");
        command.args(["rehearse", "pipeline.yml", "--records", "records"]);
        command
    }

    fn run(&self) -> Ran {
        let output = self.command().output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Ran { status: output.status.code().unwrap(), text: String::from_utf8(text).unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }
}

fn row(ran: &Ran, key: &str) -> String {
    ran.text.lines().rfind(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{}", ran.text)).to_owned()
}

/// A step that is lent a role, in block style, so that its command may be several lines.
fn step(key: &str, more: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().flat_map(|line| ["      ", line, "\n"]).collect();
    format!(
        "  - key: {key}\n    {more}\n    plugins:\n      - acme/dataflow#v1:\n          credentials: [{{aws: {{role: '{ROLE}'}}}}]\n    command: |\n{lines}"
    )
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    // Behind its name: one that has ended may still wait for whoever started it.
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Interrupts a rehearsal when its command has said `ready`, `times` times, and waits for its end.
fn interrupted(site: &Site, signals: &[&str]) -> Ran {
    let mut child = site.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        text.extend([line.as_str(), "\n"]);
        if line.ends_with("ready") {
            break;
        }
    }
    for signal in signals {
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
    for line in lines {
        text.extend([line.unwrap().as_str(), "\n"]);
    }
    Ran { status: child.wait().unwrap().code().unwrap(), text }
}

/// The temporary folder of a rehearsal, as its command told it.
fn stage(site: &Site) -> PathBuf {
    let told = std::fs::read_to_string(site.file("stage")).unwrap();
    PathBuf::from(told.trim()).parent().unwrap().to_owned()
}

#[track_caller]
fn everything_is_over(site: &Site, ran: &Ran) {
    for pid in std::fs::read_to_string(site.file("pids")).unwrap().lines() {
        assert!(!alive(pid), "process {pid} goes on: {}", ran.text);
    }
    assert!(!stage(site).exists(), "{} stays", stage(site).display());
    assert!(ran.text.contains("STEP") && row(ran, "deploy").contains("cancelled"), "{}", ran.text);
    assert!(row(ran, "after").contains("not run"), "{}", ran.text);
}

const READY: &[&str] = &[
    "echo $$BUILDKITE_BIN_PATH > stage",
    "sleep 1000 & echo $$! >> pids",
    "setsid sh -c 'echo $$$$ >> pids; exec sleep 1001' &",
    "until [ $$(wc -l < pids) = 2 ]; do sleep 0.01; done; echo $$$$ >> pids",
    "echo ready",
    "wait",
];

fn waiting(first: &str) -> Site {
    let lines: Vec<&str> = std::iter::once(first).chain(READY.iter().copied()).collect();
    Site::new(&format!(
        "steps:\n{}  - wait\n  - key: after\n    command: echo never\n",
        step("deploy", "timeout_in_minutes: 5", &lines)
    ))
}

#[test]
fn an_interrupted_rehearsal_gives_everything_back_and_tells_what_was_done() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129), ("-QUIT", 131)] {
        let site = waiting("true");
        let ran = interrupted(&site, &[signal]);
        assert_eq!(ran.status, code, "{}", ran.text);
        everything_is_over(&site, &ran);
        assert!(row(&ran, "deploy").contains("expires"), "{}", ran.text);
        assert!(ran.text.contains("post-command | dataflow: settled"), "{}", ran.text);
    }
}

#[test]
fn a_pipeline_in_which_nothing_would_run_is_said_to_be_one() {
    for steps in [
        "  - wait\n",
        "  - block: go on?\n",
        "  - trigger: other\n",
        "  - command: echo never\n    if: build.branch == 'other'\n",
        "  - command: echo never\n    skip: not today\n",
    ] {
        let site = Site::new(&format!("steps:\n{steps}"));
        let output = site.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(102), "{steps}{text}");
        assert!(text.contains("nothing was run"), "{steps}{text}");
    }
}

#[test]
fn a_second_interruption_ends_what_does_not_end_by_itself() {
    let site = waiting("trap '' TERM INT HUP");
    let begun = Instant::now();
    let ran = interrupted(&site, &["-INT", "-INT"]);
    // Two signals that come at once count once: the grace of the first is what ends it then.
    assert!(begun.elapsed() < Duration::from_secs(20), "{}", ran.text);
    assert_eq!(ran.status, 130, "{}", ran.text);
    everything_is_over(&site, &ran);
}

#[test]
fn what_a_command_leaves_in_the_background_does_not_hold_a_rehearsal_up() {
    let site =
        Site::new(&format!("steps:\n{}", step("deploy", "priority: 1", &["sleep 1000 & echo $$! > pids"])));
    let begun = Instant::now();
    let ran = site.run();
    assert_eq!(ran.status, 0, "{}", ran.text);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(!alive(&std::fs::read_to_string(site.file("pids")).unwrap()));
}

#[test]
fn a_step_that_may_fail_does_not_fail_the_rehearsal() {
    for (soft_fail, status, passes) in [
        ("true", 7, true),
        ("[{exit_status: 7}]", 7, true),
        ("[{exit_status: '*'}]", 7, true),
        ("[{exit_status: 8}]", 7, false),
        ("false", 7, false),
    ] {
        let text = format!(
            "steps:\n{}  - wait\n  - key: after\n    command: 'true'\n",
            step("deploy", &format!("soft_fail: {soft_fail}"), &[&format!("exit {status}")])
        );
        let ran = Site::new(&text).run();
        assert_eq!(ran.status == 0, passes, "{soft_fail}: {}", ran.text);
        let word = if passes { format!("soft fail {status}") } else { format!("exit {status}") };
        assert!(row(&ran, "deploy").contains(&word), "{soft_fail}: {}", ran.text);
        assert_eq!(row(&ran, "after").contains("passed"), passes, "{soft_fail}: {}", ran.text);
    }
}

#[test]
fn a_step_runs_as_often_as_parallelism_says_and_each_job_knows_which_it_is() {
    let lines =
        ["echo job $$BUILDKITE_PARALLEL_JOB of $$BUILDKITE_PARALLEL_JOB_COUNT as $$BUILDKITE_JOB_ID >> jobs"];
    let site = Site::new(&format!("steps:\n{}", step("deploy", "parallelism: 3", &lines)));
    let ran = site.run();
    assert_eq!(ran.status, 0, "{}", ran.text);
    let jobs = std::fs::read_to_string(site.file("jobs")).unwrap();
    let told: Vec<&str> = jobs.lines().map(|line| line.split(" as ").next().unwrap()).collect();
    assert_eq!(told, ["job 0 of 3", "job 1 of 3", "job 2 of 3"]);
    assert!(ran.text.contains("deploy 3/3 (3 of 3)"), "{}", ran.text);
    assert_eq!(ran.text.matches("expires").count(), 6, "{}", ran.text);
}

/// The same calls, answered by the stand-in and by Buildkite's own agent.
fn both(pipeline: &str, prepare: impl Fn(&Site), check: impl Fn(&Site, &Ran)) {
    let sites = [Some(Site::new(pipeline)), Site::new(pipeline).with_agent()];
    for site in sites.iter().flatten() {
        prepare(site);
        let ran = site.run();
        check(site, &ran);
    }
}

#[test]
fn meta_data_is_shared_by_the_jobs_of_a_build() {
    let pipeline = "
steps:
  - key: first
    command: |
      buildkite-agent meta-data set release 1.2.3
      printf piped | buildkite-agent meta-data set other
      buildkite-agent meta-data exists nothing || echo status $$?
      buildkite-agent meta-data get nothing --default fallback
      buildkite-agent meta-data get nothing || echo refused
  - wait
  - key: second
    command: |
      echo got $$(buildkite-agent meta-data get release) $$(buildkite-agent meta-data get other)
      buildkite-agent meta-data exists release && echo there
      buildkite-agent meta-data keys
";
    both(
        pipeline,
        |_| {},
        |_, ran| {
            assert_eq!(ran.status, 0, "{}", ran.text);
            for part in ["status 100", "fallback", "refused", "got 1.2.3 piped", "there", "| release"] {
                assert!(ran.text.contains(part), "no `{part}` in {}", ran.text);
            }
        },
    );
}

#[test]
fn artifacts_go_from_one_job_to_another() {
    let pipeline = "
steps:
  - key: first
    command: |
      mkdir -p out/deep; echo one > out/a.txt; echo two > out/deep/b.txt; echo three > out/c.log
      buildkite-agent artifact upload 'out/**/*.txt;out/*.log'
      buildkite-agent artifact upload 'nothing/*'; echo went on
  - wait
  - key: second
    command: |
      mkdir got
      buildkite-agent artifact download 'out/*' got
      cat got/out/a.txt got/out/c.log
      buildkite-agent artifact download 'nothing/*' got || echo none
  - key: third
    depends_on: second
    command: buildkite-agent annotate 'done' --style info --context c --append
";
    both(
        pipeline,
        |_| {},
        |site, ran| {
            assert_eq!(ran.status, 0, "{}", ran.text);
            for part in ["went on", "| one", "| three", "none"] {
                assert!(ran.text.contains(part), "no `{part}` in {}", ran.text);
            }
            assert_eq!(std::fs::read_to_string(site.file("got/out/deep/b.txt")).unwrap(), "two\n");
            let mode = std::fs::metadata(site.file("got/out/a.txt")).unwrap().permissions().mode();
            assert_eq!(mode & 0o400, 0o400);
        },
    );
}

#[test]
fn a_job_adds_steps_to_its_build_and_others_may_wait_for_them() {
    let pipeline = "
steps:
  - key: plan
    command: WHO=world buildkite-agent pipeline upload more.yml
  - key: early
    command: echo early
  - key: last
    depends_on: [plan, dynamic]
    command: echo last
  - wait
  - key: end
    command: echo end
";
    let more = "
env: {A: b}
steps:
  - key: dynamic
    command: echo hello $WHO $$A; test -n \"$$AWS_SESSION_TOKEN\"
    plugins: [{acme/dataflow#v1: {credentials: [{aws: {role: 'arn:aws:iam::123456789012:role/added'}}]}}]
  - key: child
    depends_on: dynamic
    command: echo child
";
    both(
        pipeline,
        |site| site.write("more.yml", more),
        |_, ran| {
            assert_eq!(ran.status, 0, "{}", ran.text);
            assert!(
                ran.text.contains("hello world b") && row(ran, "dynamic").contains("role/added"),
                "{}",
                ran.text
            );
            let at = |text: &str| {
                ran.text.find(&format!("| {text}")).unwrap_or_else(|| panic!("{text}: {}", ran.text))
            };
            assert!(
                at("hello") < at("child") && at("child") < at("last") && at("last") < at("end"),
                "{}",
                ran.text
            );
        },
    );
}

#[test]
fn steps_that_were_uploaded_by_a_job_that_failed_do_not_run() {
    let pipeline = "
steps:
  - key: plan
    command: |
      buildkite-agent pipeline upload more.yml
      exit 4
  - key: other
    depends_on: missing
    command: echo other
";
    both(
        pipeline,
        |site| site.write("more.yml", "[{key: added, command: echo added}]"),
        |_, ran| {
            assert_eq!(ran.status, 1, "{}", ran.text);
            assert!(
                row(ran, "added").contains("not run") && row(ran, "other").contains("not run"),
                "{}",
                ran.text
            );
            assert!(
                ran.text.contains("`other` waits for `missing`, which no step is called"),
                "{}",
                ran.text
            );
        },
    );
}

#[test]
fn an_upload_that_buildkite_would_refuse_fails_its_job() {
    let pipeline = "
steps:
  - key: plan
    command: buildkite-agent pipeline upload more.yml
";
    for more in ["[{key: plan, command: x}]", "[{label: no kind}]"] {
        both(
            pipeline,
            |site| site.write("more.yml", more),
            |_, ran| {
                assert_eq!(ran.status, 1, "{more}: {}", ran.text);
                assert!(row(ran, "plan").contains("exit 1"), "{more}: {}", ran.text);
            },
        );
    }
}

#[test]
fn a_command_asks_for_tokens_hides_texts_and_keeps_attributes_of_its_step() {
    let pipeline = "
steps:
  - key: ask
    command: |
      token=$$(buildkite-agent oidc request-token --audience https://example.test)
      test $$(echo $$token | tr . '\\n' | wc -l) = 3
      echo token $$token
      echo hunter2 | buildkite-agent redactor add
      echo it is hunter2
      buildkite-agent step update note one --append
      buildkite-agent step update note two --append
      buildkite-agent step get note
";
    both(
        pipeline,
        |_| {},
        |_, ran| {
            assert_eq!(ran.status, 0, "{}", ran.text);
            for part in ["token [REDACTED]", "it is [REDACTED]", "onetwo"] {
                assert!(ran.text.contains(part), "no `{part}` in {}", ran.text);
            }
        },
    );
}

#[test]
fn what_has_no_stand_in_is_told_and_so_does_the_result() {
    let site = Site::new(
        "steps:\n  - {key: a, command: buildkite-agent lock acquire x}\n  - {key: b, command: 'buildkite-agent tool keygen || true'}\n",
    );
    let ran = site.run();
    assert_eq!(ran.status, 1, "{}", ran.text);
    assert!(ran.text.contains("not rehearsed: `lock` has no stand-in in a rehearsal"), "{}", ran.text);
    assert!(row(&ran, "a").contains("exit 1, not rehearsed in full"), "{}", ran.text);
    assert!(row(&ran, "b").contains("passed, not rehearsed in full"), "{}", ran.text);
}

#[test]
fn gcloud_prints_an_access_token_inside_of_a_rehearsed_command() {
    if !["/usr/bin/gcloud", "/usr/local/bin/gcloud"].iter().any(|path| Path::new(path).exists()) {
        return components::told("there is no gcloud to print a token");
    }
    let provider = "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/buildkite";
    for more in ["", ", service-account: deploy@acme-ci.iam.gserviceaccount.com"] {
        let site = Site::new(&format!(
            "steps:\n  - key: deploy\n    command: |\n      export CLOUDSDK_CONFIG=$$PWD/gcloud\n      \
             gcloud auth print-access-token | grep -c ya29 && gcloud auth login --cred-file=$$GOOGLE_APPLICATION_CREDENTIALS -q && \
             gcloud auth print-access-token | grep -c ya29\n    \
             plugins: [{{acme/dataflow#v1: {{credentials: [{{gcp: {{provider: {provider}{more}}}}}]}}}}]\n"
        ));
        let ran = site.run();
        assert_eq!(ran.status, 0, "{}", ran.text);
        assert!(!ran.text.contains("Invalid scope"), "{}", ran.text);
    }
}
