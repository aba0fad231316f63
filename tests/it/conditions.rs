//! Conditions and claims in what a step asks for, with the real binary.

use buildkite_dataflow::condition::{self, Condition, Scope};
use buildkite_dataflow::record::Link;
use serde_json::{Value, json};

use crate::support::documents::read;
use crate::support::hooks::{JOB, ROLE, Stage, claims};

/// A role whose name ends with the pipeline's, written without it.
const WEB: &str = "arn:aws:iam::123456789012:role/${claims.pipeline_slug}";

fn stage(credentials: &Value) -> Stage {
    let mut stage = Stage::new();
    stage.block = json!({ "credentials": credentials });
    stage
}

fn role(arn: &str) -> Value {
    json!({"role": arn, "region": "eu-west-1"})
}

/// What was asked of STS: the role's name and the session.
fn asked(stage: &Stage) -> usize {
    stage.sandbox.sts().issued().len()
}

fn starts(stage: &Stage) -> Vec<Link> {
    stage.records().into_iter().filter(|link| link.start.is_some()).collect()
}

#[track_caller]
fn lends(stage: &mut Stage) -> String {
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    before.text
}

#[track_caller]
fn refuses(stage: &mut Stage, parts: &[&str]) {
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 102, "{}", before.text);
    for part in parts {
        assert!(before.text.contains(part), "no `{part}` in {}", before.text);
    }
    assert_eq!(asked(stage), 0);
    stage.nothing_left();
}

#[track_caller]
fn ends(stage: &mut Stage) {
    stage.command_ended(0);
    let after = stage.hook("post-command");
    assert_eq!(after.status, 0, "{}", after.text);
    stage.nothing_left();
}

#[test]
fn of_two_roles_the_one_whose_condition_holds_is_lent_and_the_record_tells_both() {
    let mut stage = stage(&json!([
        {"if": "build.branch != 'main'", "aws": role(&format!("{ROLE}-strict"))},
        {"if": "build.branch == 'main' && build.number == 7", "aws": role(ROLE)},
    ]));
    let text = lends(&mut stage);
    let told = "`credentials[0]` (aws) is not asked for: `build.branch != 'main'` is false";
    assert!(text.contains(told) && !text.contains("warning"), "{text}");
    ends(&mut stage);
    let start = starts(&stage).pop().unwrap().start.unwrap();
    assert_eq!(start.requests.iter().map(|one| one.place.as_str()).collect::<Vec<_>>(), ["credentials[1]"]);
    let findings: Vec<_> = start.findings.iter().map(|one| (one.ident.as_str(), one.what.as_str())).collect();
    assert_eq!(findings, [("not-asked-for", told)]);
    assert_eq!((asked(&stage), start.leases.len(), start.tokens.len()), (1, 1, 1));
}

#[test]
fn a_step_whose_conditions_are_all_false_runs_with_nothing_and_leaves_a_record() {
    let mut stage = stage(&json!([{"if": "build.branch =~ /^release\\//", "aws": role(ROLE)}]));
    lends(&mut stage);
    ends(&mut stage);
    let start = starts(&stage).pop().unwrap().start.unwrap();
    assert_eq!((asked(&stage), start.leases.len(), start.exported.len()), (0, 0, 0));
    assert_eq!(start.findings[0].ident, "not-asked-for");
}

#[test]
fn a_variable_that_a_claim_carries_cannot_be_forged() {
    let mut stage = stage(&json!([
        {"if": "build.branch == 'release' || env('BUILDKITE_BRANCH') == 'release'", "aws": role(ROLE)},
    ]));
    stage.set("BUILDKITE_BRANCH", "release");
    lends(&mut stage);
    ends(&mut stage);
    assert_eq!(asked(&stage), 0);
}

#[test]
fn what_no_claim_carries_is_as_the_environment_reports_it() {
    let mut stage = stage(&json!([{"if": "build.env('TARGET') == 'prod'", "aws": role(ROLE)}]));
    stage.set("TARGET", "prod");
    lends(&mut stage);
    ends(&mut stage);
    assert_eq!(asked(&stage), 1);
}

#[test]
fn keys_that_are_there_already_are_left_alone_where_the_condition_says_so() {
    let aws = json!([{"if": "env('AWS_ACCESS_KEY_ID') == ''", "aws": role(ROLE)}]);
    let mut with = stage(&aws);
    with.set("AWS_ACCESS_KEY_ID", "AKIA-of-the-host");
    lends(&mut with);
    assert_eq!(with.variable("AWS_ACCESS_KEY_ID").unwrap(), "AKIA-of-the-host");
    let mut without = stage(&aws);
    lends(&mut without);
    ends(&mut without);
    assert_eq!((asked(&with), asked(&without)), (0, 1));
}

#[test]
fn a_condition_that_cannot_be_read_names_its_place_and_column() {
    refuses(
        &mut stage(&json!([{"if": "build.brnch == 'main'", "aws": role(ROLE)}])),
        &["`credentials[0].if`", "column 1: `build.brnch` is no variable; did you mean `build.branch`?"],
    );
    refuses(
        &mut stage(&json!([{"if": "build.state == 'passed'", "aws": role(ROLE)}])),
        &["`credentials[0].if`", "`build.state` is known to Buildkite and not to a job"],
    );
}

#[test]
fn a_condition_that_cannot_be_answered_is_no_yes() {
    refuses(
        &mut stage(&json!([{"if": "${NONE:?} == 'x'", "aws": role(ROLE)}])),
        &["`credentials[0].if`", "`NONE` is not set"],
    );
}

#[test]
fn a_claim_is_put_into_a_value_and_the_policy_sees_it_there() {
    let session = "${claims.pipeline_slug}-${claims.build_number}";
    let aws = json!({"role": ROLE, "session-name": session});
    let mut stage = stage(&json!([{"aws": aws}]));
    lends(&mut stage);
    ends(&mut stage);
    let start = starts(&stage).pop().unwrap().start.unwrap();
    assert_eq!(start.leases[0].session, "web-7");
    assert!(start.leases[0].principal.ends_with("/web-7"), "{:?}", start.leases[0]);
}

#[test]
fn a_claim_in_an_endpoint_is_judged_as_the_host_it_makes() {
    let mut stage =
        stage(&json!([{"aws": {"role": ROLE, "endpoint": "https://sts-${claims.pipeline_slug}.test"}}]));
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 103, "{}", before.text);
    assert!(before.text.contains("does not allow `https://sts-web.test`"), "{}", before.text);
    stage.nothing_left();
}

#[test]
fn a_claim_that_is_not_there_or_does_not_fit_is_refused_with_its_place() {
    let with = |role: &str| json!([{"aws": {"role": format!("arn:aws:iam::123456789012:role/{role}")}}]);
    refuses(
        &mut stage(&with("${claims.pipeline_slog}")),
        &["`credentials[0].aws.role`", "no claim `pipeline_slog`", "did you mean `pipeline_slug`?"],
    );
    refuses(&mut stage(&with("${claims.build_tag}")), &["no claim `build_tag`", "`build_branch`"]);
    refuses(&mut stage(&with("${claims.aud")), &["`credentials[0].aws.role`", "expected a claim's name"]);
    refuses(&mut stage(&with("$${claims.aud}")), &["`credentials[0].aws.role`", "role/${claims.aud}`"]);
    let token = json!({"role": ROLE, "token": {"audience": "${claims.pipeline_slug}"}});
    refuses(
        &mut stage(&json!([{"aws": token}])),
        &["`credentials[0].aws.token.audience`", "the token that has the claims is made from this"],
    );
}

#[test]
fn a_grant_of_the_host_may_use_both() {
    let mut stage = stage(&json!([{"grant": "site", "if": "build.number == 7"}]));
    let sure = |name: &str| json!({"name": name, "export": name == "a", "aws": role(WEB)});
    let mut other = sure("b");
    other["if"] = json!("build.branch != 'main'");
    stage.config["step-requests"] = json!("grants-only");
    stage.config["grants"] =
        json!([{"name": "site", "claims": {"pipeline_slug": "web"}, "credentials": [sure("a"), other]}]);
    let before = stage.hook("pre-command");
    // There is no such role: what was asked for is what matters here.
    assert!(before.text.contains("role/web"), "{}", before.text);
    let start = starts(&stage).pop().unwrap().start.unwrap();
    let requests: Vec<_> =
        start.requests.iter().map(|one| (one.place.as_str(), one.target.as_str())).collect();
    assert_eq!(requests, [("credentials[0].site[0]", "arn:aws:iam::123456789012:role/web")]);
    stage.nothing_left();
}

#[test]
fn a_callback_asks_again_for_what_was_asked_for_whatever_its_condition_would_say_then() {
    let session = json!({"role": ROLE, "session-name": "s-${claims.pipeline_slug}"});
    let mut stage = stage(&json!([
        {"if": "build.env('PHASE') == 'other'", "name": "other", "refresh": true, "aws": session.clone()},
        {"if": "build.env('PHASE') == 'first'", "name": "main", "refresh": true, "aws": session},
    ]));
    stage.set("PHASE", "first");
    lends(&mut stage);
    stage.set("PHASE", "other");
    forget(&stage, "main");
    let renewed = stage.program(&["credential-process", "main"]).output().unwrap();
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    let other = stage.program(&["credential-process", "other"]).output().unwrap();
    assert_eq!(other.status.code(), Some(102));
    assert_eq!(asked(&stage), 2);
    ends(&mut stage);
    let end = stage.records().pop().unwrap().end.unwrap();
    let renewals: Vec<_> =
        end.renewals.iter().map(|one| (one.request.as_str(), one.session.as_str())).collect();
    assert_eq!(renewals, [("1+1", "s-web")]);
}

#[test]
fn a_callback_of_a_grant_knows_which_of_its_credentials_was_asked_for() {
    let mut stage = stage(&json!([{"grant": "site"}]));
    let entry = |name: &str, condition: &str| {
        let aws = json!({"role": ROLE, "session-name": "g-${claims.pipeline_slug}"});
        json!({"name": name, "refresh": true, "if": condition, "aws": aws})
    };
    let credentials =
        [entry("fix", "build.branch != 'main'"), entry("main", "build.env('PHASE') == 'first'")];
    stage.config["grants"] =
        json!([{"name": "site", "claims": {"pipeline_slug": "web"}, "credentials": credentials}]);
    stage.set("PHASE", "first");
    lends(&mut stage);
    stage.set("PHASE", "later");
    forget(&stage, "main");
    let renewed = stage.program(&["credential-process", "main"]).output().unwrap();
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    assert_eq!(stage.program(&["credential-process", "fix"]).output().unwrap().status.code(), Some(102));
    ends(&mut stage);
    let end = stage.records().pop().unwrap().end.unwrap();
    assert_eq!((end.renewals[0].request.as_str(), end.renewals[0].session.as_str()), ("1+1", "g-web"));
}

/// As if what was lent first ended soon.
fn forget(stage: &Stage, name: &str) {
    let kept = stage.private_files();
    let kept = kept.iter().find(|path| path.ends_with(format!("{name}.kept"))).unwrap();
    std::fs::remove_file(kept).unwrap();
}

/// A build of the table.
struct Build<'a>(&'a Value);

impl Scope for Build<'_> {
    fn variable(&self, name: &str) -> condition::Value {
        self.0.pointer(&format!("/variables/{name}")).map_or(condition::Value::Null, value)
    }

    fn env(&self, name: &str) -> Option<String> {
        Some(self.0.pointer(&format!("/env/{name}"))?.as_str()?.to_owned())
    }
}

fn value(written: &Value) -> condition::Value {
    match written {
        Value::Bool(value) => condition::Value::Bool(*value),
        Value::Number(value) => condition::Value::Number(value.as_i64().unwrap()),
        Value::Array(values) => condition::Value::List(values.iter().map(value).collect()),
        other => condition::Value::of(other.as_str()),
    }
}

/// What stands in the table is what Buildkite's own evaluator says: tests/conditions/go asks it, and `.ci/run` runs that.
#[test]
fn every_condition_of_the_table_is_worth_what_it_says() {
    let table: Value = serde_yaml::from_str(&read("tests/scenarios/conditions/table.yml")).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for group in table.as_array().unwrap() {
        for case in group["cases"].as_array().unwrap() {
            let text = case["if"].as_str().unwrap();
            let answer = match Condition::parse(text).and_then(|read| read.holds(&Build(&group["build"]))) {
                Ok(true) => "yes",
                Ok(false) => "no",
                Err(_) => "refused",
            };
            let expected = case.get("ours").unwrap_or(&case["worth"]);
            if expected != answer {
                wrong.push(format!("{text}: {answer}, expected {expected}"));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty() && seen > 60, "{seen}: {wrong:#?}");
}

/// The job's branch is another.
fn of_branch(stage: Stage, branch: &str) -> Stage {
    let mut claims = claims();
    claims.claims.insert("build_branch".into(), json!(branch));
    stage.sandbox.agent().add(buildkite_dataflow::rehearse::sandbox::agent_api::Job {
        id: JOB.into(),
        token: stage.api.env()["BUILDKITE_AGENT_ACCESS_TOKEN"].clone(),
        claims,
        env: [].into(),
    });
    stage.write_config();
    stage
}

#[test]
fn a_branch_is_made_to_fit_a_sessions_name() {
    let aws = json!({"role": ROLE, "session-name": "bk-${claims.build_branch}"});
    let mut stage = of_branch(stage(&json!([{"aws": aws}])), "feature/JIRA-1");
    lends(&mut stage);
    ends(&mut stage);
    let start = starts(&stage).pop().unwrap().start.unwrap();
    assert_eq!(start.leases[0].session, "bk-feature-JIRA-1--7bb1971284c8bf1c9fc9");
}

#[test]
fn a_claim_that_no_session_tag_can_be_is_refused_before_sts_is_asked() {
    let aws = json!({"role": ROLE, "session-tags": ["pipeline_slug", "build_branch"]});
    let mut stage = of_branch(stage(&json!([{"aws": aws}])), "#2-bit-ref-r");
    refuses(
        &mut stage,
        &["`credentials[0].aws.session-tags[1]`", "the claim `build_branch` is `#2-bit-ref-r`", "`chain`"],
    );
}

#[test]
fn a_claim_changes_no_path_and_no_breadth_at_any_provider() {
    let oauth = |endpoint: &str| json!({"oauth": {"grant": "token-exchange", "token-endpoint": endpoint, "env": "T"}});
    let vault = json!({"vault": {"address": "https://vault.test", "role": "r",
        "secrets": [{"path": "kv/data/${claims.build_branch}", "env": "V"}]}});
    let policy = json!({"aws": {"role": ROLE, "session-policy": {"Version": "2012-10-17", "Statement":
        [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/${claims.build_branch}/x"}]}}});
    let role = json!({"aws": {"role": "arn:aws:iam::123456789012:role/ci/${claims.build_branch}"}});
    let tenant = oauth("https://login.test/tenants/ci-${claims.build_branch}/token");
    for (entry, place, branch) in [
        (&tenant, "oauth.token-endpoint", "%2e%2e/%2e%2e/admin"),
        (&tenant, "oauth.token-endpoint", "x/../../admin"),
        (&vault, "vault.secrets[0].path", "main/db"),
        (&vault, "vault.secrets[0].path", "%2e%2e"),
        (&policy, "aws.session-policy.Statement[0].Resource", "*"),
        (&policy, "aws.session-policy.Statement[0].Resource", "${aws:username}"),
        (&role, "aws.role", "main/admin"),
    ] {
        let mut stage = of_branch(stage(&json!([entry])), branch);
        refuses(&mut stage, &[&format!("`credentials[0].{place}`"), "the claim `build_branch` is"]);
    }
}
