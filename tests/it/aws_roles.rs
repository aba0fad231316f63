//! Roles narrowed, chained and handed over in every way, by the hooks against the sandbox's STS.

use std::path::Path;
use std::process::Command;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::record::parts::{Lent, Start};
use buildkite_dataflow::rehearse::sandbox::sts::{Issued, Role};
use buildkite_dataflow::rehearse::sandbox::{AUDIENCE, faults::Fault};
use buildkite_dataflow::settlement::Settlement;
use chrono::SubsecRound as _;
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::{ROLE, Stage, aws, trust};

const NEXT: &str = "arn:aws:iam::210987654321:role/next";
const LAST: &str = "arn:aws:iam::210987654321:role/last";

impl Stage {
    /// A step that asks for the usual role and more.
    fn role(more: &Value) -> Self {
        let mut stage = Self::new();
        stage.block = aws(more);
        stage
    }

    #[track_caller]
    fn takes(&mut self) -> (String, Start) {
        let ended = self.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        (ended.text, *self.records().remove(0).start.unwrap())
    }

    /// Ends the step; what became of its leases.
    #[track_caller]
    fn settles(&mut self) -> Vec<Settlement> {
        self.command_ended(0);
        let ended = self.hook("post-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        self.nothing_left();
        let end = self.records().remove(1).end.unwrap();
        end.settlements.into_iter().map(|one| one.settlement).collect()
    }

    fn last_issued(&self) -> Issued {
        self.sandbox.sts().issued().pop().unwrap()
    }

    /// A role that sessions of another may assume, with these actions and under this condition.
    fn chained(&self, role: &str, by: &str, condition: &Value) {
        let actions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
        let statement =
            json!({"Effect": "Allow", "Action": actions, "Principal": {"AWS": by}, "Condition": condition});
        let trust = json!({"Statement": [statement]});
        self.sandbox.sts().add(role, Role { trust, max_duration: 43200 });
    }
}

fn only(start: &Start) -> Lent {
    let [lease] = start.leases.clone().try_into().unwrap();
    lease
}

fn read_only() -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]})
}

#[test]
fn a_session_is_narrowed_by_policies_and_its_packed_size_is_recorded() {
    let managed = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let mut stage = Stage::role(&json!({"session-policy": read_only(), "policy-arns": [managed]}));
    let (_, start) = stage.takes();
    let issued = stage.last_issued();
    assert_eq!(serde_json::from_str::<Value>(&issued.policy.unwrap()).unwrap(), read_only());
    assert_eq!(issued.managed, [managed]);
    assert_eq!(only(&start).facts["packed-policy-percent"], issued.packed.to_string());
    assert_eq!(start.findings, []);
    assert!(matches!(stage.settles()[..], [Settlement::Expires { .. }]));
}

#[test]
fn a_session_has_the_name_and_the_life_that_were_asked_for() {
    let mut stage = Stage::role(&json!({"session-name": "nightly", "duration": "20m"}));
    let (_, start) = stage.takes();
    assert_eq!(only(&start).principal, "arn:aws:sts::123456789012:assumed-role/deploy/nightly");
    let life = (stage.last_issued().expires_at - chrono::Utc::now()).num_seconds();
    assert!((1190..=1200).contains(&life), "{life}");
}

#[test]
fn a_step_asks_an_sts_of_its_own_where_the_host_allows_it() {
    let mut stage = Stage::new();
    let origin = format!("https://localhost:{}", stage.tls());
    stage.block = aws(&json!({ "endpoint": origin }));
    stage.config["aws"]["sts-endpoint"] = json!("https://127.0.0.1:1");
    stage.config["network"] = json!({"ca-file": stage.folder.path().join("ca.pem")});
    stage.refuses(103, "denied");
    stage.config["endpoints"] = json!([origin]);
    stage.takes();
    assert_eq!(stage.sandbox.sts().issued().len(), 1);
}

#[test]
fn a_session_policy_that_is_nearly_full_is_told() {
    let resource = format!("arn:aws:s3:::{}", "x".repeat(1700));
    let statement = json!({"Effect": "Allow", "Action": "*", "Resource": resource});
    let mut stage = Stage::role(&json!({"session-policy": {"Statement": [statement]}}));
    let (text, start) = stage.takes();
    let percent = &only(&start).facts["packed-policy-percent"];
    assert_eq!(start.findings[0].ident, "policy-nearly-full");
    assert!(text.contains(&format!("take {percent} % of what STS packs")), "{text}");
}

#[test]
fn a_session_policy_can_be_a_file_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    let asked = json!({"session-policy": format!("file:{}", file.display())});
    let refused = |said: &str| {
        let mut stage = Stage::role(&asked);
        let text = stage.refuses(102, "bad-configuration");
        assert!(text.contains("the session policy in") && text.contains(said), "{text}");
        assert_eq!(stage.sandbox.faults().asked("/"), 0);
        text
    };
    refused("policy.json");
    std::fs::write(&file, "{").unwrap();
    refused("EOF while parsing");
    std::fs::write(&file, "\"what-another-file-holds\"").unwrap();
    assert!(!refused("expected a policy with a `Statement`").contains("another"));
    std::fs::write(&file, "{}").unwrap();
    refused("expected a policy with a `Statement`");
    std::fs::write(&file, read_only().to_string()).unwrap();
    let mut stage = Stage::role(&asked);
    stage.takes();
    let issued = stage.last_issued();
    assert_eq!(serde_json::from_str::<Value>(&issued.policy.unwrap()).unwrap(), read_only());
}

#[test]
fn policies_and_tags_that_sts_cannot_pack_are_told_with_what_to_do() {
    let mut stage = Stage::new();
    let mut trust = trust(AUDIENCE);
    trust["Statement"][0]["Action"] = json!("sts:*");
    stage.sandbox.sts().add(ROLE, Role { trust, max_duration: 7200 });
    let policy = json!({"Statement": [], "Id": "x".repeat(2010)});
    stage.block = aws(&json!({"session-policy": policy, "session-tags": ["pipeline_slug", "build_branch"]}));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("`PackedPolicyTooLarge`") && text.contains("leave out tags"), "{text}");
}

#[test]
fn claims_become_session_tags() {
    let mut stage = Stage::role(&json!({"session-tags": ["pipeline_slug"]}));
    assert!(stage.refuses(105, "token-rejected").contains("must allow `sts:TagSession`"));
    let mut trust = trust(AUDIENCE);
    trust["Statement"][0]["Action"] = json!("sts:*");
    stage.sandbox.sts().add(ROLE, Role { trust, max_duration: 7200 });
    stage.hook("pre-command");
    assert_eq!(stage.last_issued().tags["pipeline_slug"], "web");
}

#[test]
fn a_short_deadline_is_a_denial_in_the_session_policy_and_the_lease_is_bounded() {
    let mut stage = Stage::role(&json!({"deadline": "90s"}));
    let before = chrono::Utc::now();
    let (_, start) = stage.takes();
    let issued = stage.last_issued();
    let policy: Value = serde_json::from_str(&issued.policy.unwrap()).unwrap();
    let deadline =
        policy["Statement"][1]["Condition"]["DateGreaterThan"]["aws:CurrentTime"].as_str().unwrap();
    let lease = only(&start);
    assert_eq!(lease.facts["deadline"], deadline);
    assert_eq!(lease.expires_at, deadline.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    let seconds = (lease.expires_at - before).num_seconds();
    assert!((85..=95).contains(&seconds), "{seconds}");
    assert!((issued.expires_at - before).num_seconds() > 800, "STS was asked for 15 minutes");
    assert_eq!(stage.settles(), [Settlement::Bounded { at: lease.expires_at }]);
}

#[test]
fn a_long_deadline_is_the_duration() {
    let mut stage = Stage::role(&json!({"deadline": "20m"}));
    let (_, start) = stage.takes();
    let issued = stage.last_issued();
    assert_eq!((issued.policy, only(&start).expires_at), (None, issued.expires_at.trunc_subsecs(0)));
    let seconds = (issued.expires_at - chrono::Utc::now()).num_seconds();
    assert!((1190..=1200).contains(&seconds), "{seconds}");
    assert!(matches!(stage.settles()[..], [Settlement::Expires { .. }]));
}

#[test]
fn a_chain_lends_the_last_roles_session_and_records_those_before_it() {
    let last =
        json!({"role": LAST, "duration": "20m", "session-policy": read_only(), "session-name": "publish"});
    let next = json!({"role": NEXT, "external-id": "shared", "session-tags": {"team": "data", "kept": "no"},
        "transitive-tag-keys": ["team"], "source-identity": "build-7"});
    let mut stage = Stage::role(&json!({"chain": [next, last]}));
    stage.chained(NEXT, ROLE, &json!({"StringEquals": {"sts:ExternalId": "shared"}}));
    stage.chained(LAST, NEXT, &json!({}));
    let (_, start) = stage.takes();
    let [first, next, last] = stage.sandbox.sts().issued().try_into().unwrap();
    let lease = only(&start);
    assert_eq!(lease.principal, "arn:aws:sts::210987654321:assumed-role/last/publish");
    assert_eq!(lease.facts["through"], format!("{} {}", first.arn, next.arn));
    assert_eq!(stage.variable("AWS_SECRET_ACCESS_KEY").unwrap(), last.secret_access_key.expose());
    let (first_ends, next_ends) = (first.expires_at, next.expires_at);
    assert_eq!((first.policy, next.policy, last.policy.is_some()), (None, None, true));
    let life = |issued: &Issued| (issued.expires_at - chrono::Utc::now()).num_seconds();
    assert!(last.expires_at.trunc_subsecs(0) == lease.expires_at && (1190..=1200).contains(&life(&last)));
    assert!(
        [&first_ends, &next_ends]
            .iter()
            .all(|ends| (890..=900).contains(&(**ends - chrono::Utc::now()).num_seconds()))
    );
    assert_eq!(last.tags, [("team".to_owned(), "data".to_owned())].into());
    assert_eq!(last.source_identity.as_deref(), Some("build-7"));
    assert_eq!(start.requests[0].target, LAST);
    assert!(matches!(stage.settles()[..], [Settlement::Expires { .. }]));
}

#[test]
fn a_deadline_bounds_the_last_session_of_a_chain() {
    let mut stage = Stage::role(&json!({"deadline": "2m", "chain": [{"role": NEXT}]}));
    stage.chained(NEXT, ROLE, &json!({}));
    stage.takes();
    let [first, next] = stage.sandbox.sts().issued().try_into().unwrap();
    assert_eq!(first.policy, None);
    assert!(next.policy.unwrap().contains("aws:CurrentTime"));
    assert!(matches!(stage.settles()[..], [Settlement::Bounded { .. }]));
}

#[test]
fn a_refusal_on_a_chain_says_which_role_and_that_the_one_before_expires() {
    let mut stage = Stage::role(&json!({"chain": [{"role": NEXT, "external-id": "wrong"}, {"role": LAST}]}));
    stage.chained(NEXT, ROLE, &json!({"StringEquals": {"sts:ExternalId": "shared"}}));
    let text = stage.refuses(105, "provider-refused");
    let [first] = stage.sandbox.sts().issued().try_into().unwrap();
    for said in [
        format!("AWS refused to lend `{NEXT}`"),
        format!("`chain[0]` was not assumed by `{}`", first.arn),
        "saw `wrong`".to_owned(),
        "with this `external-id`".to_owned(),
    ] {
        assert!(text.contains(&said), "{said}: {text}");
    }
    let end = stage.records()[1].end.clone().unwrap();
    let at = first.expires_at.trunc_subsecs(0);
    assert_eq!(end.settlements[0].settlement, Settlement::Expires { at });
    assert_eq!(end.findings, []);
}

#[test]
fn an_answer_that_was_lost_on_a_chain_is_unknown_as_long_as_any_session_of_it_could_live() {
    let mut stage = Stage::role(&json!({"deadline": "10s", "chain": [{"role": NEXT}]}));
    let answer = Response { cut: true, ..Response::new(502, "text/html", "<html>") };
    stage.sandbox.faults().order(Fault { path: "/".into(), times: 1, answer, after_acting: true });
    // No such role: the first session was given twice, and no other.
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("the answer to an earlier try was lost"), "{text}");
    let end = stage.records()[1].end.clone().unwrap();
    let Settlement::Unknown { until } = end.settlements[0].settlement else { panic!("{end:?}") };
    let issued = stage.sandbox.sts().issued();
    assert!(issued.len() == 2 && issued.iter().all(|one| one.expires_at <= until), "{until} {issued:?}");
}

#[test]
fn a_role_of_another_account_is_denied_by_the_host_before_any_exchange() {
    let mut stage = Stage::role(&json!({"chain": [{"role": NEXT}]}));
    stage.config["aws"]["allowed-accounts"] = json!(["123456789012"]);
    let text = stage.refuses(103, "denied");
    assert!(text.contains("rule `aws.allowed-accounts`") && text.contains("210987654321"), "{text}");
    assert_eq!(stage.sandbox.faults().asked("/"), 0);
}

#[test]
fn a_session_of_another_account_than_was_asked_for_is_not_lent() {
    let mut stage = Stage::role(&json!({"allowed-accounts": ["123456789012"]}));
    let body = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE000000000</AccessKeyId>\
                <SecretAccessKey>not-a-secret</SecretAccessKey><SessionToken>not-a-token</SessionToken>\
                <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>\
                <Arn>arn:aws:sts::999999999999:assumed-role/deploy/x</Arn><AssumedRoleId>x</AssumedRoleId>\
                </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    stage.fault("/", 1, Response::new(200, "text/xml", body));
    let text = stage.refuses(105, "provider-malformed");
    assert!(text.contains("a session of account `999999999999`"), "{text}");
}

#[test]
fn several_roles_share_two_private_files_and_leave_none() {
    let profile =
        |name: &str| json!({"aws": {"role": ROLE, "region": format!("eu-{name}-1"), "profile": name}});
    let mut stage = Stage::new();
    let plain = json!({"aws": {"role": ROLE}});
    stage.block = json!({"credentials": [profile("west"), plain, profile("north")]});
    let (_, start) = stage.takes();
    let file = |name: &str| std::fs::read_to_string(stage.variable(name).unwrap()).unwrap();
    let config = file("AWS_CONFIG_FILE");
    assert_eq!(config, "[profile west]\nregion = eu-west-1\n[profile north]\nregion = eu-north-1\n");
    let keys = file("AWS_SHARED_CREDENTIALS_FILE");
    assert_eq!(keys.lines().filter(|line| line.starts_with('[')).collect::<Vec<_>>(), ["[west]", "[north]"]);
    let plain = stage.variable("AWS_SECRET_ACCESS_KEY").unwrap();
    for one in stage.sandbox.sts().issued() {
        let line = format!("aws_secret_access_key = {}\n", one.secret_access_key.expose());
        assert!(keys.contains(&line) || plain == one.secret_access_key.expose());
    }
    assert!(stage.variable("AWS_ACCESS_KEY_ID").is_some() && stage.variable("AWS_REGION").is_none());
    let digests: std::collections::BTreeSet<_> =
        start.leases.iter().map(|lease| &lease.fingerprint).collect();
    assert_eq!((start.leases.len(), digests.len()), (3, 3));
    // The log hides what stands only in a file.
    for issued in stage.sandbox.sts().issued() {
        let printed =
            format!("key {} token {}", issued.secret_access_key.expose(), issued.session_token.expose());
        assert_eq!(stage.api.redacted(&printed), "key [REDACTED] token [REDACTED]");
    }
    assert_eq!(stage.settles().len(), 3);
    assert_eq!(stage.variable("AWS_CONFIG_FILE"), None);
}

/// A step with a profile that may be renewed and one that may not, both in the same two files.
fn renewed() -> Stage {
    let mut stage = Stage::new();
    let live = json!({"name": "live-role", "refresh": true, "aws": {"role": ROLE, "region": "eu-west-1", "profile": "live"}});
    let once = json!({"aws": {"role": ROLE, "profile": "once"}});
    stage.block = json!({"credentials": [live, once]});
    stage.takes();
    stage
}

/// As if what was lent first ended soon.
fn forget(stage: &Stage) {
    let kept = stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap();
    std::fs::remove_file(Path::new(&kept).join("live-role.kept")).unwrap();
}

#[test]
fn a_profile_that_may_be_renewed_calls_back_and_holds_no_keys() {
    let mut stage = renewed();
    let file = |name: &str| std::fs::read_to_string(stage.variable(name).unwrap()).unwrap();
    let config = file("AWS_CONFIG_FILE");
    let process = config.lines().find(|line| line.starts_with("credential_process")).unwrap();
    let folder = stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap();
    assert!(process.starts_with("credential_process = '/"), "{process}");
    assert!(process.ends_with(&format!("' credential-process --block '{folder}' live-role")), "{process}");
    let keys = file("AWS_SHARED_CREDENTIALS_FILE");
    assert!(keys.starts_with("[once]\n") && !keys.contains("live"), "{keys}");
    stage.settles();
}

/// What a tool prints that reads the profile `live`.
fn prints(stage: &Stage, tool: &str, arguments: &[&str]) -> Option<String> {
    let tool = components::find(&format!("venv/bin/{tool}"))?;
    let mut command = Command::new(tool);
    command.args(arguments).env_clear();
    for (name, value) in stage.api.env() {
        command.env(name, value.expose());
    }
    let home = stage.folder.path();
    let output = command.env("AWS_ENDPOINT_URL", stage.sandbox.url()).env("HOME", home).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_aws_command_line_reads_a_profile_that_calls_back() {
    let mut stage = renewed();
    let arguments = ["sts", "get-caller-identity", "--profile", "live", "--query", "Arn", "--output", "text"];
    let Some(first) = prints(&stage, "aws", &arguments) else { return };
    let arns = || stage.sandbox.sts().issued().into_iter().map(|issued| issued.arn).collect::<Vec<_>>();
    assert!(arns().len() == 2 && arns().contains(&first.trim().to_owned()), "{first}: {:?}", arns());
    forget(&stage);
    let again = prints(&stage, "aws", &arguments).unwrap();
    assert_eq!((arns().len(), arns().pop().unwrap()), (3, again.trim().to_owned()));
    assert_eq!(stage.settles().len(), 3);
}

#[test]
fn boto3_renews_a_profile_while_the_step_runs() {
    let mut stage = renewed();
    // botocore asks anew once it takes what it has for old; here it is told that it is.
    let script = "import boto3, datetime, os\n\
                  session = boto3.Session(profile_name='live')\n\
                  arn = lambda: session.client('sts').get_caller_identity()['Arn']\n\
                  print(arn())\n\
                  os.remove(os.environ['BUILDKITE_OIDC_TMPDIR'] + '/live-role.kept')\n\
                  session.get_credentials()._expiry_time = datetime.datetime.now(datetime.timezone.utc)\n\
                  print(arn())";
    let Some(printed) = prints(&stage, "python", &["-c", script]) else { return };
    let arns: Vec<String> = stage.sandbox.sts().issued().into_iter().map(|issued| issued.arn).collect();
    let printed: Vec<&str> = printed.lines().collect();
    assert!(printed.len() == 2 && printed[0] != printed[1] && arns.len() == 3, "{printed:?} {arns:?}");
    assert!(printed.iter().all(|arn| arns.iter().any(|issued| issued == arn)), "{printed:?} {arns:?}");
    assert_eq!(stage.settles().len(), 3);
}

#[test]
fn one_profile_and_one_prefix_are_for_one_role() {
    let twice = |more: &Value| {
        let mut aws = json!({"role": ROLE});
        aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut stage = Stage::new();
        stage.block = json!({"credentials": [{"aws": aws}, {"aws": aws}]});
        stage.refuses(102, "bad-configuration")
    };
    let text = twice(&json!({"profile": "live"}));
    assert!(text.contains("would make the profile `live`, which `credentials[0].aws` makes too"), "{text}");
    let text = twice(&json!({"prefix": "A_"}));
    assert!(
        text.contains("would export `A_AWS_ACCESS_KEY_ID`, which `credentials[0].aws` exports too"),
        "{text}"
    );
}

#[test]
fn a_prefix_stands_before_every_variable() {
    let mut stage = Stage::role(&json!({"prefix": "STAGING_"}));
    stage.takes();
    let issued = stage.last_issued();
    assert_eq!(stage.variable("STAGING_AWS_ACCESS_KEY_ID").unwrap(), issued.access_key_id);
    assert_eq!(stage.variable("STAGING_AWS_REGION").unwrap(), "eu-west-1");
    assert_eq!(stage.variable("AWS_REGION"), None);
    stage.settles();
    assert_eq!(stage.variable("STAGING_AWS_SESSION_TOKEN"), None);
}

#[test]
fn a_role_in_china_is_asked_for_with_chinas_audience() {
    let role = ROLE.replace("arn:aws:", "arn:aws-cn:");
    let mut stage = Stage::role(&json!({"role": role, "region": "cn-north-1"}));
    stage.sandbox.sts().add(&role, Role { trust: trust("sts.amazonaws.com.cn"), max_duration: 7200 });
    let (_, start) = stage.takes();
    assert!(only(&start).principal.starts_with("arn:aws-cn:sts::"), "{start:?}");
    assert_eq!(start.tokens[0].audience, "sts.amazonaws.com.cn");
}

#[test]
fn account_numbers_are_hidden_in_the_log_where_that_is_asked_for_and_only_there() {
    for (more, shown) in [(json!({"mask-account-id": true}), "[REDACTED]"), (json!({}), "123456789012")] {
        let mut stage = Stage::new();
        stage.block = aws(&more);
        assert_eq!(stage.hook("pre-command").status, 0);
        let told = stage.api.redacted("arn:aws:iam::123456789012:role/deploy");
        assert_eq!(told, format!("arn:aws:iam::{shown}:role/deploy"));
    }
}

#[test]
fn a_duration_that_the_role_does_not_allow_is_refused_by_the_name_of_its_bound() {
    let mut stage = Stage::role(&json!({"duration": "3h"}));
    stage.config["limits"] = json!({"duration": "12h"});
    let text = stage.refuses(105, "provider-refused");
    for word in ["`MaxSessionDuration`", "update-role --max-session-duration", "duration"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(stage.sandbox.sts().issued().len(), 0);
}
