//! The life of a step: lent before the command, given back after it, told in a record.

use buildkite_dataflow::host::process::ProcessId;
use buildkite_dataflow::lease::journal::{Entry, Intent, Journal, Opened, VERSION};
use buildkite_dataflow::record::Kind;
use buildkite_dataflow::record::end::{JobOutcome, SealedBy};
use buildkite_dataflow::record::parts::{IdentityTrust, Outcome};
use buildkite_dataflow::settlement::Settlement;
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::hooks::{JOB, ROLE, Stage, aws};

/// A whole step whose command ends with `status`.
fn step(stage: &mut Stage, status: i32) {
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    stage.command_ended(status);
    for phase in ["post-command", "pre-exit"] {
        let after = stage.hook(phase);
        assert_eq!(after.status, 0, "{}", after.text);
    }
    stage.nothing_left();
}

#[test]
fn a_role_is_exported_for_the_command_and_gone_after_it() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let [issued] = stage.sandbox.sts().issued().try_into().unwrap();
    assert_eq!(stage.variable("AWS_ACCESS_KEY_ID").unwrap(), issued.access_key_id);
    assert_eq!(stage.variable("AWS_SECRET_ACCESS_KEY").unwrap(), issued.secret_access_key.expose());
    assert_eq!(stage.variable("AWS_SESSION_TOKEN").unwrap(), issued.session_token.expose());
    assert_eq!(stage.variable("AWS_REGION").unwrap(), "eu-west-1");
    let names = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION";
    assert_eq!(stage.variable("DATAFLOW_ENV_NAMES").unwrap(), names);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    assert_eq!(stage.variable("AWS_REGION"), None);
    stage.nothing_left();
}

#[test]
fn the_record_tells_who_asked_what_was_lent_and_what_became_of_it() {
    let mut stage = Stage::new();
    stage.block["inputs"] = json!(["s3://raw/"]);
    step(&mut stage, 0);
    let links = stage.records();
    let [first, last] = links.as_slice() else { panic!("{links:?}") };
    assert_eq!((first.kind, last.kind), (Kind::Start, Kind::End));
    assert_eq!((first.run.job.as_str(), first.run.install.as_str()), (JOB, "plugin"));
    let start = first.start.as_ref().unwrap();
    let identity = start.identity.as_ref().unwrap();
    assert_eq!(identity.trust, IdentityTrust::Verified);
    assert_eq!(identity.claims["pipeline_slug"], "web");
    assert_eq!((start.requests[0].target.as_str(), start.outcome), (ROLE, Outcome::Granted));
    assert!(start.leases[0].session.starts_with(&format!("buildkite-job-{JOB}-")));
    assert_eq!(start.inputs[0].uri, "s3://raw/");
    let end = last.end.as_ref().unwrap();
    assert_eq!((end.result.outcome, end.sealed_by), (JobOutcome::Passed, SealedBy::PostCommand));
    assert_eq!(end.settlements[0].settlement, Settlement::Expires { at: start.leases[0].expires_at });
    assert!(end.variables.iter().all(|variable| variable.outcome == "removed"), "{:?}", end.variables);
}

#[test]
fn each_link_carries_the_digest_of_the_bytes_before_it() {
    let mut stage = Stage::new();
    step(&mut stage, 0);
    let mut files = crate::support::hooks::files(&stage.folder.path().join("records"));
    files.sort();
    let digest = buildkite_dataflow::secret::Fingerprint::of(&std::fs::read(&files[0]).unwrap());
    let end = buildkite_dataflow::record::read(&std::fs::read(&files[1]).unwrap()).unwrap();
    assert_eq!((end.kind, end.previous), (Kind::End, Some(digest)));
    assert!(files[0].ends_with(format!(
        "v=1/org=acme/date={}/pipeline=web/build=7/{}",
        end.sealed_at.format("%Y-%m-%d"),
        files[0].file_name().unwrap().to_str().unwrap()
    )));
}

#[test]
fn links_are_what_the_published_schema_says() {
    let mut stage = Stage::new();
    step(&mut stage, 3);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/record.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in crate::support::hooks::files(&stage.folder.path().join("records")) {
        let link = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&link).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    assert!(!validator.is_valid(&json!({"schema": "x"})));
}

#[test]
fn how_the_command_ended_is_told_as_reported() {
    let outcome = |prepare: &dyn Fn(&Stage)| {
        let mut stage = Stage::new();
        assert_eq!(stage.hook("pre-command").status, 0);
        prepare(&stage);
        assert_eq!(stage.hook("pre-exit").status, 0);
        stage.nothing_left();
        stage.records()[1].end.clone().unwrap().result.outcome
    };
    assert_eq!(outcome(&|stage| stage.command_ended(3)), JobOutcome::Failed);
    assert_eq!(outcome(&|_| {}), JobOutcome::NotRun);
    let cancelled = |stage: &Stage| {
        stage.command_ended(-1);
        stage.set("BUILDKITE_JOB_CANCELLED", "true");
    };
    assert_eq!(outcome(&cancelled), JobOutcome::Cancelled);
}

#[test]
fn a_variable_that_was_there_comes_back_and_one_that_somebody_changed_stays() {
    let mut stage = Stage::new();
    stage.set("AWS_SECRET_ACCESS_KEY", "static-key-of-the-host");
    let before = stage.hook("pre-command");
    assert!(before.text.contains("`AWS_SECRET_ACCESS_KEY` was set already"), "{}", before.text);
    stage.set("AWS_REGION", "changed-by-the-step");
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    assert_eq!(stage.variable("AWS_SECRET_ACCESS_KEY").unwrap(), "static-key-of-the-host");
    assert_eq!(stage.variable("AWS_REGION").unwrap(), "changed-by-the-step");
    let outcomes = &stage.records()[1].end.clone().unwrap().variables;
    let outcome = |name: &str| outcomes.iter().find(|one| one.name == name).unwrap().outcome.clone();
    assert_eq!(
        (outcome("AWS_SECRET_ACCESS_KEY").as_str(), outcome("AWS_REGION").as_str()),
        ("restored", "left-changed")
    );
    stage.no_secret_anywhere();
}

#[test]
fn a_profile_beside_the_lent_keys_is_reported() {
    let mut stage = Stage::new();
    stage.set("AWS_PROFILE", "admin");
    let before = stage.hook("pre-command");
    assert!(before.text.contains("`AWS_PROFILE` is set too"), "{}", before.text);
}

#[test]
fn release_at_pre_exit_keeps_credentials_until_then() {
    let mut stage = Stage::new();
    stage.block["release"] = json!("pre-exit");
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").said(), "");
    assert!(stage.variable("AWS_SESSION_TOKEN").is_some());
    assert_eq!(stage.hook("pre-exit").status, 0);
    stage.nothing_left();
}

#[test]
fn a_block_for_the_environment_hook_is_lent_there_and_not_again() {
    let mut stage = Stage::new();
    stage.block["hook"] = json!("environment");
    assert_eq!(stage.hook("environment").status, 0);
    assert!(stage.variable("AWS_SESSION_TOKEN").is_some());
    assert_eq!(stage.hook("pre-command").said(), "");
    assert_eq!(stage.sandbox.sts().issued().len(), 1);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
}

#[test]
fn an_equal_block_is_served_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let second = stage.hook("pre-command");
    assert_eq!((second.status, stage.sandbox.sts().issued().len()), (0, 1), "{}", second.text);
    assert!(second.text.contains("has lent this already"), "{}", second.text);
}

#[test]
fn blocks_that_cover_each_other_leave_nothing_in_either_order() {
    for first_ends_first in [true, false] {
        let mut stage = Stage::new();
        stage.set("AWS_REGION", "as-before");
        let (one, other) = (stage.block.clone(), aws(&json!({"region": "us-east-1", "duration": "15m"})));
        for block in [&one, &other] {
            stage.block = block.clone();
            assert_eq!(stage.hook("pre-command").status, 0);
        }
        stage.command_ended(0);
        let order = if first_ends_first { [&one, &other] } else { [&other, &one] };
        for phase in ["post-command", "pre-exit"] {
            for block in order {
                stage.block = block.clone();
                assert_eq!(stage.hook(phase).status, 0);
            }
        }
        assert_eq!(stage.variable("AWS_REGION").unwrap(), "as-before");
        stage.nothing_left();
        assert_eq!(stage.records().iter().filter(|link| link.kind == Kind::End).count(), 2);
    }
}

#[test]
fn what_a_dead_job_left_is_swept_by_the_next() {
    let mut stage = Stage::new();
    // The hook's parent is a shell that dies at once: so does the job.
    stage.write_config();
    let hook = stage.command("pre-command");
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "\"$@\"; exit $?", "sh"]).arg(hook.get_program()).args(hook.get_args()).env_clear();
    shell.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    assert_eq!(stage.ended(&output).status, 0);
    assert_eq!(stage.open_journals().len(), 1);
    stage.block = aws(&json!({"duration": "15m"}));
    let next = stage.hook("pre-command");
    assert!(next.text.contains(&format!("swept job {JOB}")), "{}", next.text);
    let ends: Vec<_> = stage.records().into_iter().filter_map(|link| link.end).collect();
    assert_eq!(
        (ends.len(), ends[0].result.outcome, ends[0].sealed_by),
        (1, JobOutcome::Abort, SealedBy::Sweep)
    );
}

/// A journal of a job of which nothing can be told from here, opened `age` days ago; what was lent then ended
/// `ended` days ago.
fn unknown_job(stage: &Stage, age: i64, ended: i64) {
    let opened = Opened {
        version: VERSION,
        job: "elsewhere".into(),
        instance: "abc".into(),
        container: Some("c1".into()),
        bootstrap: ProcessId { boot: None, namespace: Some("pid:[1]".into()), pid: 7, started: Some(1) },
        socket: Some(stage.folder.path().join("gone.sock")),
        release_at_pre_exit: false,
        install: "plugin".into(),
        mode: "enforce".into(),
        host_config: None,
        records: "v=1".into(),
        at: Utc::now() - TimeDelta::days(age),
    };
    let mut journal = Journal::create(&stage.folder.path().join("state/jobs/elsewhere"), opened).unwrap();
    let latest = Utc::now() - TimeDelta::days(ended);
    let intent = Intent { id: "1".into(), provider: "aws".into(), session: "s".into(), latest };
    journal.append(vec![Entry::Intent(intent)]).unwrap();
}

#[test]
fn a_job_of_which_nothing_can_be_told_waits_until_long_after_its_last_lease() {
    for (age, ended, swept) in [(6, 5, false), (8, 0, false), (8, 2, true)] {
        let mut stage = Stage::new();
        assert_eq!(stage.hook("pre-command").status, 0);
        assert_eq!(stage.hook("pre-exit").status, 0);
        unknown_job(&stage, age, ended);
        let next = stage.hook("pre-command");
        assert_eq!(next.text.contains("swept job elsewhere"), swept, "{age} {ended}: {}", next.text);
    }
}

#[test]
fn a_record_that_could_not_be_stored_waits_and_is_delivered_later() {
    let mut stage = Stage::new();
    let records = stage.folder.path().join("records");
    std::fs::write(&records, "a file where a folder should be").unwrap();
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    let after = stage.hook("post-command");
    assert!(after.status == 0 && after.text.contains("it waits in the outbox"), "{}", after.text);
    assert_eq!(stage.variable("AWS_SESSION_TOKEN"), None);
    std::fs::remove_file(&records).unwrap();
    assert_eq!(stage.hook("pre-exit").status, 0);
    assert_eq!(stage.records().len(), 2);
    stage.nothing_left();
}

#[test]
fn a_required_record_that_cannot_be_stored_stops_the_step() {
    let mut stage = Stage::new();
    stage.config["required"] = json!({"record": true});
    std::fs::write(stage.folder.path().join("records"), "").unwrap();
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 109, "{}", ended.text);
    assert_eq!(stage.variable("AWS_SESSION_TOKEN"), None);
}

#[test]
fn a_host_that_is_switched_off_does_nothing() {
    let mut stage = Stage::new();
    stage.config["mode"] = json!("off");
    let ended = stage.hook("pre-command");
    assert_eq!((ended.status, ended.said().as_str()), (0, "dataflow: switched off by the host config\n"));
    stage.nothing_left();
}

#[test]
fn a_denial_is_recorded_and_stops_the_step_unless_it_is_only_observed() {
    let mut stage = Stage::new();
    stage.config["step-requests"] = json!("grants-only");
    let text = stage.refuses(103, "denied");
    assert!(text.contains("rule `step-requests`") && text.contains("nothing was exported"), "{text}");
    assert_eq!(stage.sandbox.sts().issued().len(), 0);
    let links = stage.records();
    assert_eq!(links[0].start.as_ref().unwrap().outcome, Outcome::Denied);
    assert_eq!(links[1].end.as_ref().unwrap().result.outcome, JobOutcome::Refused);
    let mut stage = Stage::new();
    stage.config["step-requests"] = json!("grants-only");
    stage.config["mode"] = json!("observe");
    assert_eq!(stage.hook("pre-command").status, 0);
    let start = stage.records()[0].start.clone().unwrap();
    assert_eq!((start.outcome, start.findings[0].ident.as_str()), (Outcome::Granted, "would-be-denied"));
    assert!(start.findings[0].what.contains("rule `step-requests`: "), "{}", start.findings[0].what);
}

#[test]
fn a_denial_that_is_only_observed_names_rule_claim_and_what_was_seen() {
    let mut stage = Stage::new();
    stage.config["mode"] = json!("observe");
    stage.config["grants"] = json!([{ "name": "deploy", "claims": {"build_branch": "release/*"},
        "credentials": aws(&json!({}))["credentials"] }]);
    stage.block = json!({"credentials": [{"grant": "deploy"}]});
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let start = stage.records()[0].start.clone().unwrap();
    for text in [&ended.text, &start.findings[0].what] {
        for part in ["rule `grant:deploy`", "claim `build_branch`: expected `release/*`, saw `main`"] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }
}

#[test]
fn each_token_of_a_block_is_told_once_also_where_the_block_failed() {
    let role = |name: &str, profile: &str| json!({"aws": {"role": format!("{ROLE}{name}"), "region": "eu-west-1", "profile": profile}});
    let mut stage = Stage::new();
    stage.block = json!({"credentials": [role("", "a"), role("", "b")]});
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.records()[0].start.as_ref().unwrap().tokens.len(), 1);
    let mut stage = Stage::new();
    stage.block = json!({"credentials": [role("", "a"), role("-strict", "b")]});
    assert_ne!(stage.hook("pre-command").status, 0);
    let start = stage.records()[0].start.clone().unwrap();
    assert_eq!((start.outcome, start.tokens.len()), (Outcome::Failed, 1));
    let mut stage = Stage::new();
    stage.config["step-requests"] = json!("grants-only");
    stage.refuses(103, "denied");
    assert_eq!(stage.records()[0].start.as_ref().unwrap().tokens.len(), 1);
}

#[test]
fn a_grant_lends_by_name_to_jobs_whose_claims_match() {
    let grant = |branch: &str| {
        json!([{"name": "deploy", "claims": {"pipeline_slug": "web", "build_branch": branch},
            "credentials": [{"aws": {"role": ROLE}}]}])
    };
    let mut stage = Stage::new();
    stage.block = json!({"credentials": [{"grant": "deploy"}]});
    stage.config["step-requests"] = json!("grants-only");
    stage.config["grants"] = grant("main");
    step(&mut stage, 0);
    let mut stage = Stage::new();
    stage.block = json!({"credentials": [{"grant": "deploy"}]});
    stage.config["grants"] = grant("release/*");
    let text = stage.refuses(103, "denied");
    assert!(text.contains("claim `build_branch`: expected `release/*`, saw `main`"), "{text}");
}

#[test]
fn a_token_can_come_from_a_file_or_a_command_while_the_job_is_who_the_agent_says() {
    let mut stage = Stage::new();
    let asked = json!({"audience": "sts.amazonaws.com"});
    let token = stage.sandbox.issuer().mint(
        &crate::support::hooks::claims(),
        asked.as_object().unwrap(),
        chrono::Utc::now(),
    );
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("token");
    std::fs::write(&path, token.unwrap()).unwrap();
    for from in [json!({"file": path}), json!({"command": ["/bin/cat", path]})] {
        stage.block = aws(&json!({"token": {"from": from}}));
        step(&mut stage, 0);
    }
    let tokens: Vec<String> = stage
        .records()
        .into_iter()
        .filter_map(|link| link.start)
        .map(|start| start.tokens[0].source.clone())
        .collect();
    assert_eq!(tokens.len(), 2);
}

#[test]
fn the_jobs_token_is_asked_for_in_the_shape_that_the_block_names() {
    let mut stage = Stage::new();
    let token = json!({"audience": "urn:ours", "lifetime": "10m", "claims": ["pipeline_id"], "subject-claim": "pipeline_id"});
    let vault = json!({"address": stage.sandbox.provider_url("vault"), "role": "train", "token": token});
    stage.block = json!({"credentials": [{ "vault": vault }]});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.prepare();
    step(&mut stage, 0);
    let token = stage.sandbox.agent().tokens().pop().unwrap();
    let claims = buildkite_dataflow::claims::SubjectToken::new(token).unverified_claims().unwrap();
    let life = claims.seconds("exp").unwrap() - claims.seconds("iat").unwrap();
    assert_eq!((claims.audiences(), life), (vec!["urn:ours".to_owned()], 600));
    assert_eq!((claims.text("sub"), claims.text("pipeline_id")), (Some("p-1".into()), Some("p-1".into())));
}

/// Makes every link of the default folder as old as this, in a folder of such a day.
fn aged(stage: &Stage, days: u64) {
    let at = |days: u64| std::time::SystemTime::now() - std::time::Duration::from_hours(24 * days);
    let organization = stage.folder.path().join("state/records/v=1/org=acme");
    for day in std::fs::read_dir(&organization).unwrap().map(|day| day.unwrap().path()) {
        let date = |days| chrono::DateTime::<chrono::Utc>::from(at(days)).format("date=%Y-%m-%d").to_string();
        let free = (days..days + 9).map(|days| organization.join(date(days))).find(|folder| !folder.exists());
        std::fs::rename(day, free.unwrap()).unwrap();
    }
    for path in crate::support::hooks::files(&organization) {
        std::fs::File::open(path).unwrap().set_modified(at(days)).unwrap();
    }
}

#[test]
fn records_go_when_they_were_kept_long_enough_and_no_sooner() {
    let mut stage = Stage::new();
    let records =
        |stage: &Stage| crate::support::hooks::files(&stage.folder.path().join("state/records")).len();
    stage.config["sinks"] = json!([]);
    step(&mut stage, 0);
    aged(&stage, 91);
    stage.sweep();
    assert_eq!(records(&stage), 2, "kept for ever");
    stage.config["retention"] = json!({"records": "90d"});
    aged(&stage, 89);
    stage.sweep();
    assert_eq!(records(&stage), 2, "too young");
    aged(&stage, 91);
    stage.config["sinks"] = json!([{"file": {"directory": stage.folder.path().join("state/records")}}]);
    stage.sweep();
    assert_eq!(records(&stage), 2, "in a sink that has a name");
    stage.config["sinks"] = json!([]);
    let told = stage.sweep().said();
    assert_eq!(
        (records(&stage), told.as_str()),
        (0, "dataflow: removed 2 links of records older than 90d\n")
    );
}

#[test]
fn a_step_looks_for_old_records_once_a_day() {
    let mut stage = Stage::new();
    stage.config["sinks"] = json!([]);
    stage.config["retention"] = json!({"records": "90d"});
    for _ in 0..2 {
        let before = stage.hook("pre-command");
        assert!(before.status == 0 && !before.text.contains("removed"), "{}", before.text);
        assert_eq!(stage.hook("pre-exit").status, 0);
        aged(&stage, 91);
    }
    let stamp = stage.folder.path().join("state/cache/tidied");
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(24 * 3600 + 1);
    std::fs::File::open(&stamp).unwrap().set_modified(yesterday).unwrap();
    let before = stage.hook("pre-command");
    assert!(before.text.contains("removed 4 links"), "{}", before.text);
    assert_eq!(stage.hook("pre-exit").status, 0);
    stage.nothing_left();
}
