//! Bad answers and bad hosts: each gives one clear error, exports nothing and leaves nothing unsettled.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::host::serve::{Handler, Request, Response, on_socket};
use buildkite_dataflow::record::end::JobOutcome;
use buildkite_dataflow::record::parts::Outcome;
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::secret::Secret;
use buildkite_dataflow::settlement::Settlement;
use serde_json::json;

use crate::support::hooks::{ROLE, Stage, aws};
use crate::support::provider::{html, silence, waited};

const OIDC: &str = "/oidc/tokens";
const DISCOVERY: &str = "/.well-known/openid-configuration";

pub(crate) fn sts_error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>req-1</RequestId></ErrorResponse>"
    );
    Response::new(status, "text/xml", body)
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_any_request() {
    let check = |block: serde_json::Value, problem: &str| {
        let mut stage = Stage::new();
        stage.block = block;
        let text = stage.refuses(102, "bad-configuration");
        assert!(text.contains(problem), "{text}");
        assert_eq!(stage.sandbox.faults().asked(OIDC), 0);
    };
    check(
        json!({"credentials": [{"aws": {"role": 7}}]}),
        "`credentials[0].aws.role`: saw integer `7`, expected a string",
    );
    check(aws(&json!({"role": null})), "`credentials[0].aws.role`: saw null, expected a value");
    check(aws(&json!({"role": "deploy"})), "`credentials[0].aws.role`: expected the ARN of a role");
    check(aws(&json!({"duration": "5m"})), "`credentials[0].aws.duration`: expected 15m to 12h, saw `5m`");
    check(aws(&json!({"rol": "x"})), "did you mean `role`?");
    let twice = json!({"credentials": [{"aws": {"role": ROLE}}, {"aws": {"role": ROLE}}]});
    check(twice, "would export `AWS_ACCESS_KEY_ID`, which `credentials[0].aws` exports too");
    check(json!({"credentials": [{"grant": "none"}]}), "this host has no grant `none`");
}

#[test]
fn a_token_endpoint_that_refuses_says_why() {
    let check = |answer: Response, told: &str| {
        let mut stage = Stage::new();
        stage.fault(OIDC, 999, answer);
        let text = stage.refuses(104, "no-token");
        assert!(text.contains(told), "{text}");
        assert_eq!(stage.sandbox.sts().issued().len(), 0);
        stage.sandbox.faults().asked(OIDC)
    };
    let message = |status| Response::json(status, &json!({"message": "No such luck"}));
    assert_eq!(check(message(401), "401 Unauthorized: No such luck"), 1);
    assert_eq!(check(message(422), "422 Unprocessable Entity: No such luck"), 1);
    // Until the deadline.
    assert!(check(message(429), "429 Too Many Requests: No such luck") > 5);
    assert!(check(message(500), "500 Internal Server Error: No such luck") > 5);
    assert!(check(html(502), "502 Bad Gateway") > 5);
    assert_eq!(check(html(200), "200 OK without a token"), 1);
    assert_eq!(check(Response::json(200, &json!({"token": ""})), "200 OK without a token"), 1);
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(302) };
    assert_eq!(check(redirect, "a redirect to `evil.test`, which is not followed"), 1);
    assert!(check(Response { cut: true, ..message(200) }, "gave no answer") > 5);
}

#[test]
fn a_token_endpoint_or_an_issuer_that_is_busy_for_a_moment_is_asked_again() {
    for path in [OIDC, DISCOVERY] {
        let mut stage = Stage::new();
        stage.fault(path, 2, html(503));
        let ended = stage.hook("pre-command");
        assert_eq!((ended.status, stage.sandbox.faults().asked(path)), (0, 3), "{path}: {}", ended.text);
    }
}

#[test]
fn a_token_endpoint_or_an_issuer_that_says_nothing_is_given_up_at_the_deadline() {
    for (path, ident) in [(OIDC, "no-token"), (DISCOVERY, "token-unverified")] {
        let mut stage = Stage::new();
        stage.config["deadlines"] = json!({"grant": "300ms", "retry": "1ms"});
        stage.fault(path, 999, silence());
        let text = stage.refuses(104, ident);
        assert!(waited(&text) <= 0.3, "{path}: {text}");
    }
}

#[test]
fn a_second_try_has_what_the_first_has_left_of_the_deadline() {
    let mut stage = Stage::new();
    stage.config["deadlines"] = json!({"grant": "2s", "retry": "1s"});
    stage.fault("/", 1, html(503));
    stage.fault("/", 999, silence());
    // The wait before it is half a second or more.
    let text = stage.refuses(106, "provider-unreachable");
    assert!(waited(&text) <= 1.5, "{text}");
}

#[test]
fn an_endpoint_that_refuses_the_shape_is_answered_by_the_agents_own_command() {
    let mut stage = Stage::new();
    let asked = json!({"audience": "sts.amazonaws.com"});
    let claims = crate::support::hooks::claims();
    let token = stage.sandbox.issuer().mint(&claims, asked.as_object().unwrap(), chrono::Utc::now()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let program = outside.path().join("buildkite-agent");
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $4 $5\" = 'oidc request-token --audience sts.amazonaws.com' ] && echo {token}\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    stage.set("BUILDKITE_BIN_PATH", outside.path().to_str().unwrap());
    stage.fault(OIDC, 999, Response::json(404, &json!({"message": "Not found"})));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    // Without it, both are told.
    let mut stage = Stage::new();
    stage.fault(OIDC, 999, Response::json(404, &json!({"message": "Not found"})));
    let text = stage.refuses(104, "no-token");
    assert!(text.contains("404 Not Found") && text.contains("bin/buildkite-agent"), "{text}");
}

#[test]
fn each_code_of_sts_is_told_with_what_to_do() {
    let check = |status, code: &str, message: &str, exit, ident, told: &str| {
        let mut stage = Stage::new();
        stage.fault("/", 999, sts_error(status, code, message));
        let text = stage.refuses(exit, ident);
        assert!(text.contains(&format!("answered {status} `{code}`")) && text.contains(told), "{text}");
        assert_eq!(stage.records()[0].start.as_ref().unwrap().outcome, Outcome::Failed);
        let end = stage.records()[1].end.clone().unwrap();
        assert_eq!(end.settlements[0].settlement, Settlement::NotIssued { reason: code.into() });
        stage.sandbox.faults().asked("/")
    };
    let sub = "sub `organization:acme:pipeline:web:ref:refs/heads/main:commit:4f1c:step:deploy`";
    assert_eq!(check(403, "AccessDenied", "Not authorized", 105, "token-rejected", sub), 1);
    assert_eq!(check(400, "InvalidIdentityToken", "No provider", 105, "token-rejected", "OIDC provider"), 1);
    assert_eq!(check(400, "IDPRejectedClaim", "no", 105, "token-rejected", "the issuer refused"), 1);
    assert_eq!(check(400, "MalformedPolicyDocument", "no", 105, "provider-refused", "as STS wants"), 1);
    assert_eq!(check(400, "PackedPolicyTooLarge", "no", 105, "provider-refused", "shorten the policy"), 1);
    assert!(check(400, "ExpiredTokenException", "no", 106, "provider-busy", "`token.lifetime`") > 5);
    assert_eq!(check(403, "RegionDisabledException", "no", 105, "provider-refused", "another `region`"), 1);
    assert_eq!(
        check(400, "ValidationError", "duration", 105, "provider-refused", "maximum session duration"),
        1
    );
    assert!(check(400, "IDPCommunicationError", "no", 106, "provider-busy", "no") > 5);
    assert!(check(400, "Throttling", "Rate exceeded", 106, "provider-busy", "Rate exceeded") > 5);
    assert!(check(500, "InternalFailure", "no", 106, "provider-busy", "no") > 5);
}

#[test]
fn a_busy_answer_that_is_not_in_the_words_of_aws_says_nothing_of_what_was_made() {
    let check = |answer: Response| {
        let status = answer.status;
        let mut stage = Stage::new();
        stage.fault("/", 999, answer);
        let text = stage.refuses(106, "provider-busy");
        assert!(text.contains(&format!("answered {status} and no code of AWS")), "{text}");
        assert!(stage.sandbox.faults().asked("/") > 5);
        let end = stage.records()[1].end.clone().unwrap();
        assert!(matches!(end.settlements[0].settlement, Settlement::Unknown { .. }), "{end:?}");
    };
    for status in [429, 500, 502, 503, 504] {
        check(html(status));
    }
}

#[test]
fn half_a_secret_is_not_told_where_a_servers_words_are_cut() {
    let mut stage = Stage::new();
    let secret = stage.variable("BUILDKITE_AGENT_ACCESS_TOKEN").unwrap();
    // The 300 characters that are told end within it.
    let said = format!("{}{secret}", "x".repeat(300 - secret.len() / 2));
    stage.fault("/", 999, sts_error(400, "ValidationError", &said));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("xxx[REDACTED]") && !text.contains(&secret[..8]), "{text}");
    let told = stage.records()[0].start.clone().unwrap().failure.unwrap();
    assert!(!told.what.contains(&secret[..8]), "{}", told.what);
}

#[test]
fn a_key_that_sts_could_not_fetch_is_answered_with_a_fresh_token() {
    let mut stage = Stage::new();
    let message = "Couldn't retrieve verification key from your identity provider";
    stage.fault("/", 1, sts_error(400, "InvalidIdentityToken", message));
    let ended = stage.hook("pre-command");
    assert_eq!((ended.status, stage.sandbox.faults().asked(OIDC)), (0, 2), "{}", ended.text);
    let mut stage = Stage::new();
    stage.fault("/", 1, sts_error(400, "ExpiredTokenException", "expired"));
    assert_eq!((stage.hook("pre-command").status, stage.sandbox.faults().asked(OIDC)), (0, 2));
}

#[test]
fn an_sts_that_is_no_sts_is_not_believed() {
    let check = |answer: Response, ident| {
        let mut stage = Stage::new();
        stage.fault("/", 999, answer);
        stage.refuses(105, ident)
    };
    check(html(200), "provider-malformed");
    check(html(404), "provider-malformed");
    let empty = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult/></AssumeRoleWithWebIdentityResponse>";
    check(Response::new(200, "text/xml", empty), "provider-malformed");
    let past = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId>\
                <SecretAccessKey>not-a-secret</SecretAccessKey><SessionToken>not-a-token</SessionToken>\
                <Expiration>2020-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                </AssumeRoleWithWebIdentityResponse>";
    let text = check(Response::new(200, "text/xml", past), "provider-malformed");
    assert!(text.contains("credentials that ended at 2020-01-01"), "{text}");
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(307) };
    assert!(check(redirect, "provider-malformed").contains("a redirect to `evil.test`"));
}

#[test]
fn an_answer_that_was_lost_is_known_to_exist_until_a_time_that_is_known() {
    let mut stage = Stage::new();
    stage.config["deadlines"] = json!({"grant": "2s", "retry": "1ms"});
    for _ in 0..99 {
        let answer = Response { cut: true, ..html(200) };
        stage.sandbox.faults().order(Fault { path: "/".into(), times: 1, answer, after_acting: true });
    }
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 106, "{}", ended.text);
    assert!(!stage.sandbox.sts().issued().is_empty());
    let Settlement::Unknown { until } = stage.records()[1].end.clone().unwrap().settlements[0].settlement
    else {
        panic!()
    };
    assert!(stage.sandbox.sts().issued().iter().all(|issued| issued.expires_at <= until));
    stage.nothing_left();
}

#[test]
fn a_refusal_after_a_lost_answer_does_not_prove_that_nothing_was_made() {
    let mut stage = Stage::new();
    let lost =
        Fault { path: "/".into(), times: 1, answer: Response { cut: true, ..html(200) }, after_acting: true };
    stage.sandbox.faults().order(lost);
    stage.fault("/", 999, sts_error(403, "AccessDenied", "Not authorized"));
    let text = stage.refuses(105, "token-rejected");
    assert!(text.contains("the answer to an earlier try was lost"), "{text}");
    let end = stage.records()[1].end.clone().unwrap();
    assert!(matches!(end.settlements[0].settlement, Settlement::Unknown { .. }), "{end:?}");
}

#[test]
fn a_second_session_that_may_live_is_told_beside_the_one_that_was_lent() {
    let mut stage = Stage::new();
    let lost =
        Fault { path: "/".into(), times: 1, answer: Response { cut: true, ..html(200) }, after_acting: true };
    stage.sandbox.faults().order(lost);
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.sandbox.sts().issued().len(), 2);
    assert_eq!(stage.records()[0].start.clone().unwrap().findings[0].ident, "answer-lost");
}

#[test]
fn a_roll_out_that_only_observes_sends_no_token_to_strangers() {
    let mut stage = Stage::new();
    stage.config["mode"] = json!("observe");
    stage.block = aws(&json!({"endpoint": "https://sts.evil.test"}));
    assert!(stage.refuses(103, "denied").contains("rule `endpoints`"));
    stage.block = aws(&json!({"endpoint": "http://sts.evil.test"}));
    assert!(stage.refuses(102, "bad-configuration").contains("expected an https URL"));
}

#[test]
fn an_sts_that_nobody_answers_for_is_worth_a_retry_of_the_step() {
    let mut stage = Stage::new();
    stage.config["aws"] = json!({"sts-endpoint": "http://127.0.0.1:1"});
    let text = stage.refuses(106, "provider-unreachable");
    assert!(text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_trust_policy_that_says_no_is_told_with_the_claims_that_were_presented() {
    let mut stage = Stage::new();
    stage.block = aws(&json!({"role": format!("{ROLE}-strict")}));
    let text = stage.refuses(105, "token-rejected");
    assert!(text.contains("expected `nobody`, saw `sts.amazonaws.com`"), "{text}");
    assert!(text.contains("presented: iss `http://127.0.0.1"), "{text}");
}

#[test]
fn a_duration_over_the_roles_own_is_told() {
    let mut stage = Stage::new();
    stage.block = aws(&json!({"duration": "3h"}));
    assert!(stage.refuses(105, "provider-refused").contains("maximum session duration"));
}

#[test]
fn a_job_api_that_refuses_one_name_gets_none() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_AGENT_JOB_API_TOKEN", "wrong-token-for-the-api");
    let text = stage.refuses(107, "export-failed");
    assert!(text.contains("401 Unauthorized"), "{text}");
    assert!(text.contains("settled `arn:aws:sts::123456789012:assumed-role/deploy/"), "{text}");
    let end = stage.records()[1].end.clone().unwrap();
    assert_eq!((end.result.outcome, end.findings[0].ident.as_str()), (JobOutcome::Refused, "export-failed"));
}

/// A Job API that does what it is told and breaks off when it should say so, once.
struct BreaksOff {
    api: Arc<JobApi>,
    done: AtomicBool,
}

impl Handler for BreaksOff {
    fn answer(&self, request: Request) -> Response {
        let sets = request.method == "PATCH";
        let answer = self.api.answer(request);
        Response { cut: sets && !self.done.swap(sets, Ordering::Relaxed), ..answer }
    }
}

#[test]
fn what_was_set_without_an_answer_is_taken_back() {
    let mut stage = Stage::new();
    stage.set("AWS_SECRET_ACCESS_KEY", "static-key-of-the-host");
    let before = stage.api.env();
    let socket = stage.folder.path().join("breaks-off.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let api = Arc::new(BreaksOff { api: Arc::clone(&stage.api), done: AtomicBool::new(false) });
    let _server = runtime.block_on(async { on_socket(&socket, Arc::clone(&api)) }).unwrap();
    stage.set("BUILDKITE_AGENT_JOB_API_SOCKET", socket.to_str().unwrap());
    let ended = stage.hook("pre-command");
    assert!(ended.status == 107 && api.done.load(Ordering::Relaxed), "{}", ended.text);
    let names = |env: &BTreeMap<String, Secret>| env.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stage.api.env()), names(&before));
    assert_eq!(stage.variable("AWS_SECRET_ACCESS_KEY").unwrap(), "static-key-of-the-host");
    assert_eq!(stage.open_journals(), [] as [std::path::PathBuf; 0]);
    stage.no_secret_anywhere();
}

#[test]
fn without_a_job_api_nobody_is_asked_for_anything() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_AGENT_JOB_API_SOCKET", "");
    let text = stage.refuses(104, "job-api");
    assert!(text.contains("without `--no-job-api`"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(OIDC), 0);
}

#[test]
fn a_socket_that_nobody_serves_is_told_and_what_was_lent_is_settled() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_AGENT_JOB_API_SOCKET", "/nonexistent/job.sock");
    assert!(stage.refuses(107, "export-failed").contains("settled `arn:aws:sts"));
    assert_eq!(stage.records().len(), 2);
}

#[test]
fn a_state_directory_that_cannot_be_used_stops_before_any_request() {
    let check = |prepare: &dyn Fn(&std::path::Path), told: &str| {
        let mut stage = Stage::new();
        prepare(&stage.folder.path().join("state"));
        let text = stage.refuses(102, "state-unusable");
        assert!(text.contains(told), "{text}");
        assert_eq!(stage.sandbox.faults().asked(OIDC), 0);
    };
    check(&|state| std::fs::write(state, "").unwrap(), "cannot read");
    let open_to_all = |state: &std::path::Path| {
        std::fs::create_dir(state).unwrap();
        std::fs::set_permissions(state, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    check(&open_to_all, "can be written by others");
}

#[test]
fn a_full_disk_stops_the_step_before_any_exchange() {
    let mut stage = Stage::new();
    stage.write_config();
    // The size limit of files stands in for a full disk: every write past it fails.
    let hook = stage.command("pre-command");
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(hook.get_program())
        .args(hook.get_args());
    shell.env_clear().envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    let ended = stage.ended(&output);
    assert_eq!(ended.status, 102, "{}", ended.text);
    assert!(
        ended.text.contains("error[state-unusable]") && ended.text.contains("cannot be written durably"),
        "{}",
        ended.text
    );
    assert_eq!(stage.sandbox.faults().asked("/"), 0);
    assert_eq!(stage.variable("AWS_SESSION_TOKEN"), None);
}

#[test]
fn a_disk_that_fills_before_the_start_is_sealed_leaves_one_start_that_says_so() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    let start = crate::support::hooks::files(&stage.folder.path().join("records")).remove(0);
    let length = std::fs::metadata(&start).unwrap().len();
    assert_eq!(stage.hook("pre-exit").status, 0);
    std::fs::remove_dir_all(stage.folder.path().join("records")).unwrap();
    // A link fits, and the journal that holds it does not.
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", length / 512 + 2);
    let hook = stage.command("pre-command");
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &limit, "sh"]).arg(hook.get_program()).args(hook.get_args());
    shell.env_clear().envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    let ended = stage.ended(&output);
    assert_eq!((ended.status, stage.sandbox.sts().issued().len()), (102, 2), "{}", ended.text);
    let links = stage.records();
    let [start, end] = links.as_slice() else { panic!("{links:?}") };
    let start_says = start.start.as_ref().unwrap();
    assert_eq!((start_says.outcome, start_says.exported.len(), end.sequence), (Outcome::Failed, 0, 1));
    assert_eq!(end.end.as_ref().unwrap().settlements.len(), 1);
    stage.nothing_left();
}

#[test]
fn a_token_that_a_server_repeats_is_not_in_the_record() {
    let mut stage = Stage::new();
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("token");
    let token = "opaque-token-of-another-issuer";
    std::fs::write(&path, token).unwrap();
    stage.block = aws(&json!({"token": {"from": {"file": path}}}));
    stage.fault("/", 1, sts_error(400, token, &format!("what is {token}?")));
    let told = stage.refuses(105, "provider-refused");
    assert!(told.contains("what is [REDACTED]?") && !told.contains(token), "{told}");
    for path in crate::support::hooks::files(&stage.folder.path().join("records")) {
        assert!(!std::fs::read_to_string(&path).unwrap().contains(token), "{}", path.display());
    }
}

#[test]
fn a_clock_two_minutes_off_is_noted_and_one_far_off_is_named() {
    for seconds in [-120, 120] {
        let mut stage = Stage::at(Clock::Skewed(seconds));
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        let start = stage.records()[0].start.clone().unwrap();
        let skew = start.identity.unwrap().clock_skew_seconds.unwrap();
        assert!((skew + seconds).abs() <= 5, "{skew}");
        assert_eq!(start.findings[0].ident, "clock-skew");
    }
    let mut stage = Stage::at(Clock::Skewed(-7200));
    let text = stage.refuses(104, "token-invalid");
    assert!(text.contains("the host's clock is 720") && text.contains("NTP"), "{text}");
}

#[test]
fn a_signature_of_another_key_is_refused_even_where_verification_may_wait() {
    let mut stage = Stage::new();
    stage.config["verify"] = json!("when-available");
    let other = Issuer::new(stage.sandbox.issuer_url()).unwrap();
    let asked = json!({"audience": "sts.amazonaws.com"});
    let token =
        other.mint(&crate::support::hooks::claims(), asked.as_object().unwrap(), chrono::Utc::now()).unwrap();
    stage.fault(OIDC, 1, Response::json(200, &json!({"token": token})));
    let text = stage.refuses(104, "token-invalid");
    assert!(text.contains("its signature is wrong"), "{text}");
}

#[test]
fn keys_out_of_reach_are_no_wrong_signature() {
    let mut stage = Stage::new();
    stage.fault(DISCOVERY, 999, html(503));
    let text = stage.refuses(104, "token-unverified");
    assert!(text.contains("503 Service Unavailable instead of a discovery document"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(DISCOVERY), 5);
    let mut stage = Stage::new();
    stage.config["verify"] = json!("when-available");
    stage.fault(DISCOVERY, 999, html(503));
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.sandbox.faults().asked(DISCOVERY), 1);
    let identity = stage.records()[0].start.clone().unwrap().identity.unwrap();
    assert_eq!(identity.trust, buildkite_dataflow::record::parts::IdentityTrust::Reported);
    assert!(identity.unverified_because.unwrap().contains("503"));
}

#[test]
fn nobody_waits_for_the_issuers_keys_without_a_token_of_that_issuer() {
    let check = |answer: Response, status, ident| {
        let mut stage = Stage::new();
        stage.fault(DISCOVERY, 999, silence());
        stage.fault(OIDC, 999, answer);
        let began = Instant::now();
        stage.refuses(status, ident);
        assert!(began.elapsed() < Duration::from_secs(10), "{ident}: the longest that keys are waited for");
    };
    check(html(401), 104, "no-token");
    let other = Issuer::new("https://issuer.example.test").unwrap();
    let asked = json!({"audience": "sts.amazonaws.com"});
    let claims = crate::support::hooks::claims();
    let token = other.mint(&claims, asked.as_object().unwrap(), chrono::Utc::now()).unwrap();
    check(Response::json(200, &json!({"token": token})), 103, "issuer-not-allowed");
}

#[test]
fn keys_are_kept_for_the_next_job_and_fetched_anew_for_a_key_they_lack() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    stage.hook("post-command");
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.sandbox.faults().asked("/.well-known/jwks"), 1);
}

#[test]
fn an_issuer_that_the_host_does_not_name_is_refused() {
    let mut stage = Stage::new();
    stage.config["issuers"] = json!(["https://agent.buildkite.com"]);
    // The usual issuer's keys are out of reach here; it is the token's own issuer that is refused.
    let text = stage.refuses(103, "issuer-not-allowed");
    assert!(text.contains("expected https://agent.buildkite.com"), "{text}");
}

#[test]
fn a_host_config_that_others_can_write_stops_the_step() {
    let mut stage = Stage::new();
    stage.config["deadlines"]["grant"] = json!("2s");
    stage.write_config();
    let path = stage.folder.path().join("agent/buildkite-dataflow.yml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let text = stage.refuses(102, "untrusted-configuration");
    assert!(text.contains("can be written by others"), "{text}");
}
