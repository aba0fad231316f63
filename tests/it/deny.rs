//! `buildkite-dataflow deny` against an IAM that nobody here wrote. Whether a denial denies, a Ceph gateway judges
//! (`aws.rs`): moto evaluates no condition.

use std::path::{Path, PathBuf};
use std::process::Command;

use buildkite_dataflow::record::{Kind, Link};
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::aws::{Server, serve, tools};
use crate::support::hooks::{Ended, JOB, Stage, aws};

const DENIED: &str = "buildkite-dataflow-deny.";

/// moto's STS tells the same id of every role: here the first role that its IAM makes has it.
const MOTO: &str = "import moto.iam.models as models, sys\n\
                    from moto.server import main\n\
                    random, told = models.random_role_id, ['ARO123EXAMPLE123']\n\
                    models.random_role_id = lambda *of: told.pop() if told else random(*of)\n\
                    main(sys.argv[1:])";

/// A job that was lent a role of moto's, and the operator's way to deny it.
struct Story {
    stage: Stage,
    tools: PathBuf,
    endpoint: String,
    _server: Server,
}

impl Story {
    /// The job is over, and its record complete.
    fn of(more: &Value) -> Option<Self> {
        let mut story = Self::running(more)?;
        story.stage.command_ended(0);
        let ended = story.stage.hook("post-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        Some(story)
    }

    /// Its command has not ended.
    fn running(more: &Value) -> Option<Self> {
        let tools = tools()?;
        let mut moto = Command::new(tools.join("python"));
        moto.args(["-c", MOTO]);
        let (server, port) = serve(moto);
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut stage = Stage::new();
        stage.config["aws"]["sts-endpoint"] = json!(endpoint);
        stage.block = aws(more);
        let mut story = Self { stage, tools, endpoint, _server: server };
        story.iam("iam.create_role(RoleName='deploy', AssumeRolePolicyDocument='{}')");
        let ended = story.stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        Some(story)
    }

    /// What a script in Python prints, which has the clients `iam` and `sts`.
    fn iam(&self, script: &str) -> String {
        let client = "boto3.client(NAME, endpoint_url=sys.argv[1], region_name='us-east-1', \
                      aws_access_key_id='operator', aws_secret_access_key='operator')";
        let (iam, sts) = (client.replace("NAME", "'iam'"), client.replace("NAME", "'sts'"));
        let script = format!("import boto3, json, sys\niam = {iam}\nsts = {sts}\n{script}");
        let mut python = Command::new(self.tools.join("python"));
        let output = python.args(["-c", &script, &self.endpoint]).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The names of the role's policies, sorted.
    fn policies(&self) -> Vec<String> {
        let list = "print(*sorted(iam.list_role_policies(RoleName='deploy')['PolicyNames']))";
        self.iam(list).split_whitespace().map(str::to_owned).collect()
    }

    fn deny(&mut self, more: &[&str]) -> Ended {
        self.deny_as(more, &["operator", "not-the-operators-secret"])
    }

    fn deny_as(&mut self, more: &[&str], keys: &[&str]) -> Ended {
        let records = self.stage.folder.path().join("records").display().to_string();
        let mut command = self.stage.program(&["deny", "--records", &records, "--endpoint", &self.endpoint]);
        command.env_clear().args(["--sts-endpoint", &self.endpoint]).args(more);
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        command.envs(names.iter().zip(keys));
        let output = command.output().unwrap();
        self.stage.ended(&output)
    }

    #[track_caller]
    fn denies(&mut self) -> String {
        let ended = self.deny(&["--job", JOB]);
        assert_eq!(ended.status, 0, "{}", ended.text);
        ended.text
    }

    #[track_caller]
    fn fails(&mut self, more: &[&str], status: i32, ident: &str) -> String {
        let ended = self.deny(more);
        assert!(ended.text.contains(&format!("error[{ident}]")), "{}", ended.text);
        assert_eq!(ended.status, status, "{}", ended.text);
        ended.text
    }

    fn late(&self) -> Vec<Link> {
        self.stage.records().into_iter().filter(|link| link.kind == Kind::Late).collect()
    }

    /// Rewrites the one link of this kind.
    fn rewrite(&self, kind: &str, change: impl FnOnce(&mut Value)) {
        let files = crate::support::hooks::files(&self.stage.folder.path().join("records"));
        let path = files.into_iter().find(|path| path.to_string_lossy().contains(kind)).unwrap();
        let mut link: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut link);
        std::fs::write(path, serde_json::to_vec(&link).unwrap()).unwrap();
    }
}

fn userid(story: &Story) -> String {
    let start = story.stage.records().remove(0).start.unwrap();
    start.leases[0].facts["userid"].clone()
}

#[test]
fn one_session_gets_one_policy_and_the_record_a_late_link() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let text = story.denies();
    let [name] = story.policies().try_into().unwrap();
    assert!(name.starts_with(DENIED) && text.contains(&format!("is denied, by `{name}`")), "{name} {text}");
    let document = story.iam(&format!(
        "print(json.dumps(iam.get_role_policy(RoleName='deploy', PolicyName='{name}')['PolicyDocument']))"
    ));
    let userid = userid(&story);
    assert_eq!(
        serde_json::from_str::<Value>(&document).unwrap(),
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:userid": userid}}}]})
    );
    let [link] = story.late().try_into().unwrap();
    let late = link.late.unwrap();
    assert!(matches!(late.settlements[0].settlement, Settlement::Denied { .. }), "{late:?}");
    let told = &late.findings[0];
    let by = format!(
        "`{name}` on `arn:aws:iam::123456789012:role/deploy`, by `arn:aws:sts::123456789012:user/moto`"
    );
    assert!(told.ident == "session-denied" && told.what.contains(&by), "{told:?}");
    story.stage.no_secret_anywhere();
}

#[test]
fn the_late_link_carries_the_digest_of_the_end() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    story.denies();
    let files = crate::support::hooks::files(&story.stage.folder.path().join("records"));
    let end = files.iter().find(|path| path.to_string_lossy().ends_with(".1-end.json")).unwrap();
    let digest = buildkite_dataflow::secret::Fingerprint::of(&std::fs::read(end).unwrap());
    let [late] = story.late().try_into().unwrap();
    assert_eq!((late.sequence, late.previous), (2, Some(digest)));
    assert!(files.iter().any(|path| path.to_string_lossy().ends_with(".2-late.json")), "{files:?}");
}

#[test]
fn denying_twice_is_denying_once() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    story.denies();
    assert!(story.denies().contains("was denied before"));
    assert_eq!((story.policies().len(), story.late().len()), (1, 1));
}

#[test]
fn a_dry_run_prints_the_policies_and_needs_no_keys() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let ended = story.deny_as(&["--job", JOB, "--dry-run"], &[]);
    let policy = format!("{{\"StringEquals\":{{\"aws:userid\":\"{}\"}}}}", userid(&story));
    assert!(ended.status == 0 && ended.text.contains(&policy), "{}", ended.text);
    assert_eq!((story.policies().len(), story.late().len()), (0, 0));
}

#[test]
fn a_job_that_still_runs_is_denied_and_its_record_waits_for_the_end() {
    let Some(mut story) = Story::running(&json!({})) else { return };
    let text = story.denies();
    assert!(text.contains("is not closed yet: run this again"), "{text}");
    assert_eq!((story.policies().len(), story.late().len()), (1, 0));
    story.stage.command_ended(0);
    story.stage.hook("post-command");
    story.stage.nothing_left();
    story.denies();
    assert_eq!(story.late().len(), 1);
}

#[test]
fn a_session_that_ends_soon_is_left_alone() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let ended = story.deny(&["--job", JOB, "--least", "2h"]);
    assert!(
        ended.status == 0 && ended.text.contains("before a policy would be sure to work"),
        "{}",
        ended.text
    );
    assert_eq!((story.policies().len(), story.late().len()), (0, 0));
}

#[test]
fn policies_of_sessions_that_have_ended_are_pruned_and_no_others() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let over = format!("{DENIED}20200101T000000Z.0123456789abcdef");
    let later = format!("{DENIED}21000101T000000Z.0123456789abcdef");
    let put = |name: &str| {
        format!(
            "iam.put_role_policy(RoleName='deploy', PolicyName='{name}', PolicyDocument=json.dumps({{'Version': '2012-10-17', 'Statement': [{{'Effect': 'Deny', 'Action': '*', 'Resource': '*'}}]}}))"
        )
    };
    for name in [over.as_str(), &later, "grant"] {
        story.iam(&put(name));
    }
    assert!(story.denies().contains(&format!("removed `{over}`")));
    let policies = story.policies();
    assert!(
        policies.len() == 3 && policies.contains(&later) && policies.contains(&"grant".to_owned()),
        "{policies:?}"
    );
    // Later, with no job named: the record says where.
    story.iam(&put(&over));
    let ended = story.deny(&["--prune"]);
    assert!(ended.status == 0 && ended.text.contains(&format!("removed `{over}`")), "{}", ended.text);
    assert_eq!((story.policies(), story.late().len()), (policies, 1));
}

#[test]
fn a_role_without_room_gets_no_policy() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    // White space is not counted.
    story.iam(
        "big = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': 's3:*', 'Resource': 'arn:aws:s3:::' + 'x' * 9950}]}\n\
         iam.put_role_policy(RoleName='deploy', PolicyName='grant', PolicyDocument=json.dumps(big, indent=8))",
    );
    let text = story.fails(&["--job", JOB], 108, "session-not-denied");
    assert!(text.contains("has no room for it: its inline policies take 100"), "{text}");
    assert_eq!((story.policies(), story.late().len()), (vec!["grant".to_owned()], 0));
}

#[test]
fn the_keys_that_a_job_was_lent_deny_nothing() {
    let Some(mut story) = Story::running(&json!({})) else { return };
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let keys = names.map(|name| story.stage.variable(name).unwrap());
    let ended = story.deny_as(&["--job", JOB], &keys.each_ref().map(String::as_str));
    assert!(ended.status == 103 && ended.text.contains("error[operator-unfit]"), "{}", ended.text);
    assert!(ended.text.contains("are those that were lent as"), "{}", ended.text);
    assert_eq!(story.policies(), [] as [&str; 0]);
}

#[test]
fn the_role_of_a_job_denies_nothing_under_whatever_session() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let keys = story.iam(
        "lent = sts.assume_role(RoleArn='arn:aws:iam::123456789012:role/deploy', RoleSessionName='other')['Credentials']\n\
         print(lent['AccessKeyId'], lent['SecretAccessKey'], lent['SessionToken'])",
    );
    let ended = story.deny_as(&["--job", JOB], &keys.split(' ').collect::<Vec<_>>());
    assert!(ended.status == 103 && ended.text.contains("is a role of the jobs themselves"), "{}", ended.text);
    let named = ["--job", JOB, "--operator", "arn:aws:iam::123456789012:role/path/deploy"];
    story.fails(&named, 103, "operator-unfit");
    assert_eq!((story.policies().len(), story.late().len()), (0, 0));
}

#[test]
fn a_role_that_was_made_anew_has_no_session_to_deny() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    story.iam("iam.delete_role(RoleName='deploy'); iam.create_role(RoleName='deploy', AssumeRolePolicyDocument='{}')");
    let text = story.fails(&["--job", JOB], 108, "session-not-denied");
    assert!(text.contains("the role was made anew"), "{text}");
    assert_eq!((story.policies().len(), story.late().len()), (0, 0));
    story.iam("iam.delete_role(RoleName='deploy')");
    let text = story.fails(&["--job", JOB], 105, "provider-refused");
    assert!(text.contains("`NoSuchEntity`") && text.contains("hint: the role is gone"), "{text}");
}

#[test]
fn a_record_that_was_changed_denies_nothing() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    story.rewrite("0-start", |link| {
        link["start"]["leases"][0]["facts"]["userid"] = json!("${aws:userid}");
    });
    let text = story.fails(&["--job", JOB], 108, "session-not-denied");
    assert!(text.contains("does not follow the link before it"), "{text}");
    std::fs::remove_file(end_of(&story)).unwrap();
    // Alone, a link has nothing that says it was changed: what it names is looked at.
    let text = story.fails(&["--job", JOB], 108, "session-not-denied");
    assert!(text.contains("does not tell of a session of a role"), "{text}");
    assert_eq!(story.policies(), [] as [&str; 0]);
}

type Put = fn(&Path);

/// What a process of the agent's user can put beside the links of a record, with a word of what is reported then.
const BESIDE: [(&str, Put); 6] = [
    ("is no regular file", |start| {
        nix::unistd::mkfifo(&renamed(start, ".2-late"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("cannot be read", |start| {
        std::os::unix::fs::symlink(start, renamed(start, ".2-late")).unwrap();
    }),
    ("cannot be read", |start| {
        let file = std::fs::File::create(renamed(start, ".7-settled")).unwrap();
        file.set_len(1 << 40).unwrap();
    }),
    ("is no link", |start| std::fs::write(renamed(start, ".3-late"), "{").unwrap()),
    ("is not the only START", |start| {
        let text = std::fs::read_to_string(start).unwrap();
        std::fs::write(renamed(start, ".9-start"), format!("{text} ")).unwrap();
    }),
    ("is a link of job `another`", |start| {
        let text = std::fs::read_to_string(start).unwrap();
        std::fs::write(renamed(start, ".9-start"), text.replace(JOB, "another")).unwrap();
    }),
];

fn renamed(start: &Path, end: &str) -> PathBuf {
    let name = start.file_name().unwrap().to_string_lossy().replace(".0-start", end);
    start.with_file_name(name)
}

fn start_of(stage: &Stage) -> PathBuf {
    let files = crate::support::hooks::files(&stage.folder.path().join("records"));
    files.into_iter().find(|path| path.to_string_lossy().ends_with("0-start.json")).unwrap()
}

/// A job that was lent a role of the sandbox's, and is over.
fn over() -> Stage {
    let mut stage = Stage::new();
    stage.block = aws(&json!({}));
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage
}

fn dry_run(stage: &mut Stage, more: &[&str]) -> Ended {
    let records = stage.folder.path().join("records").display().to_string();
    let output = stage.program(&["deny", "--dry-run", "--records", &records]).args(more).output().unwrap();
    stage.ended(&output)
}

#[test]
fn what_lies_beside_a_record_stops_no_denial() {
    for (warning, put) in BESIDE {
        let mut stage = over();
        put(&start_of(&stage));
        let ended = dry_run(&mut stage, &["--job", JOB]);
        assert_eq!(ended.status, 108, "{warning}: {}", ended.text);
        assert!(ended.text.contains("would put `buildkite-dataflow-deny."), "{warning}: {}", ended.text);
        assert!(ended.text.contains(warning) && !ended.text.contains("no session of AWS"), "{}", ended.text);
    }
    // A copy says nothing new.
    let mut stage = over();
    let start = start_of(&stage);
    std::fs::copy(&start, renamed(&start, ".9-start")).unwrap();
    let ended = dry_run(&mut stage, &["--job", JOB]);
    assert!(ended.status == 0 && ended.text.contains("would put"), "{}", ended.text);
}

#[test]
fn what_cannot_be_read_is_never_called_nothing_and_a_session_can_be_named() {
    let mut stage = over();
    let start = start_of(&stage);
    let principal = stage.records()[0].start.as_ref().unwrap().leases[0].principal.clone();
    std::fs::remove_file(&start).unwrap();
    nix::unistd::mkfifo(&start, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = dry_run(&mut stage, &["--job", JOB]);
    assert_eq!(ended.status, 108, "{}", ended.text);
    assert!(!ended.text.contains("was lent there"), "{}", ended.text);
    assert!(ended.text.contains("what could be read there names no session of AWS"), "{}", ended.text);
    let ended = dry_run(&mut stage, &["--job", JOB, "--session", &principal]);
    let name = principal.rsplit('/').next().unwrap();
    let denies = "would put `buildkite-dataflow-deny.";
    assert!(ended.text.contains(denies) && ended.text.contains(&format!(":{name}\"")), "{}", ended.text);
    // Without any record.
    let mut command = stage.program(&["deny", "--dry-run", "--session", &principal]);
    let output = command.output().unwrap();
    let ended = stage.ended(&output);
    assert!(ended.status == 0 && ended.text.contains(denies), "{}", ended.text);
    let mut command = stage.program(&["deny", "--dry-run", "--session", "arn:aws:iam::123456789012:role/x"]);
    let output = command.output().unwrap();
    let ended = stage.ended(&output);
    assert!(ended.status == 102 && ended.text.contains("assumed-role/ROLE/SESSION"), "{}", ended.text);
}

#[test]
fn a_link_that_follows_none_is_reported_with_the_session_that_it_names() {
    let mut stage = over();
    let start = start_of(&stage);
    let text = std::fs::read_to_string(&start).unwrap();
    let later = text.replacen("\"sequence\":0", "\"sequence\":5", 1);
    std::fs::write(renamed(&start, ".5-start"), later).unwrap();
    let ended = dry_run(&mut stage, &["--job", JOB]);
    assert!(ended.text.contains("does not follow the link before it"), "{}", ended.text);
    assert!(ended.text.contains("`--session arn:aws:sts::"), "{}", ended.text);
}

#[test]
fn a_dry_run_tells_an_operator_who_may_not() {
    let mut stage = over();
    let principal = stage.records()[0].start.as_ref().unwrap().leases[0].principal.clone();
    let role = principal.rsplit_once('/').unwrap().0;
    let ended = dry_run(&mut stage, &["--job", JOB, "--operator", &format!("{role}/me")]);
    assert!(ended.status == 103 && ended.text.contains("error[operator-unfit]"), "{}", ended.text);
}

#[test]
fn a_session_is_denied_whatever_lies_beside_its_record_and_the_record_is_left_alone() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let start = start_of(&story.stage);
    nix::unistd::mkfifo(&renamed(&start, ".2-late"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = story.fails(&["--job", JOB], 108, "session-not-denied");
    assert!(text.contains("is denied, by"), "{text}");
    assert!(text.contains("something beside it cannot be believed"), "{text}");
    assert_eq!(story.policies().len(), 1);
    std::fs::remove_file(renamed(&start, ".2-late")).unwrap();
    story.denies();
    assert_eq!((story.policies().len(), story.late().len()), (1, 1));
}

fn end_of(story: &Story) -> PathBuf {
    let files = crate::support::hooks::files(&story.stage.folder.path().join("records"));
    files.into_iter().find(|path| path.to_string_lossy().ends_with("-end.json")).unwrap()
}

#[test]
fn what_is_missing_is_named_and_nothing_is_asked() {
    let Some(mut story) = Story::of(&json!({})) else { return };
    let text = story.fails(&["--job", "0194"], 102, "denial-impossible");
    assert!(
        text.contains("no record of job `0194` is below") && text.contains("nothing was denied"),
        "{text}"
    );
    let ended = story.deny_as(&["--job", JOB], &["operator"]);
    assert!(ended.text.contains("`AWS_SECRET_ACCESS_KEY` is not set"), "{}", ended.text);
    let text = story.fails(&["--job", JOB, "--least", "0", "--operator", "me"], 102, "denial-impossible");
    assert!(text.contains("saw `me`"), "{text}");
    let outside = Path::new("/").join("nowhere").display().to_string();
    let ended = Command::new(env!("CARGO_BIN_EXE_buildkite-dataflow"))
        .args(["deny", "--records", &outside, "--job", JOB, "--endpoint", "http://iam.example.test"])
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(text.contains("expected an https URL, saw `http://iam.example.test`"), "{text}");
}

#[test]
fn a_folder_of_records_that_is_not_there_is_refused_and_one_without_a_denial_says_so() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    let folder = stage.folder.path().to_owned();
    let file = folder.join("a-file");
    std::fs::write(&file, "x").unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    let mut denied = |records: &Path, more: &[&str]| {
        let words = ["deny", "--records", records.to_str().unwrap()];
        let output = stage.program(&[&words[..], more].concat()).output().unwrap();
        stage.ended(&output)
    };
    for (records, told) in [
        ("nowhere", "nowhere` cannot be read"),
        ("a-file", "a-file` cannot be read"),
        ("empty", "no record is"),
    ] {
        for more in [&["--prune"][..], &["--prune", "--dry-run"], &["--job", JOB]] {
            let ended = denied(&folder.join(records), more);
            assert_eq!(ended.status, 102, "{}", ended.text);
            assert!(
                ended.text.contains("error[denial-impossible]") && ended.text.contains(told),
                "{}",
                ended.text
            );
        }
    }
    let ended = denied(&folder.join("records"), &["--prune"]);
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(ended.text.contains("no session of AWS was denied there"), "{}", ended.text);
}
