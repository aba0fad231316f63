//! Google Cloud: what a step is lent works in Google's own library, and what goes wrong is told by its leg.

use std::process::Command;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::provider::html;

const PROVIDER: &str = "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite";
const ACCOUNT: &str = "train@proj.iam.gserviceaccount.com";
const STS: &str = "/v1/token";
const ACCESS: &str = ":generateAccessToken";
const ID: &str = ":generateIdToken";

fn stage(more: &Value) -> Stage {
    let mut block = json!({ "provider": PROVIDER });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Stage::asking("gcp", &block)
}

fn whole() -> Value {
    json!({"service-account": ACCOUNT, "access-token": true, "project": "proj", "lifetime": "30m",
        "id-token": {"audience": "https://run.example.test", "include-email": true, "env": "ID_TOKEN"}})
}

/// What google-auth gets from the environment that the step has.
fn google(stage: &Stage) -> Option<Value> {
    let mut python = Command::new(components::find("venv/bin/python")?);
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/google_client.py")).env_clear();
    stage.step(python, "[null]").as_array().unwrap().first().cloned()
}

#[test]
fn google_auth_becomes_the_service_account_that_was_lent() {
    let mut stage = stage(&whole());
    stage.lends();
    for name in
        ["CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT", "GOOGLE_CLOUD_PROJECT"]
    {
        assert_eq!(stage.variable(name).unwrap(), "proj", "{name}");
    }
    let access = stage.variable("CLOUDSDK_AUTH_ACCESS_TOKEN").unwrap();
    assert_eq!(stage.variable("GOOGLE_OAUTH_ACCESS_TOKEN").unwrap(), access);
    let id = stage.variable("ID_TOKEN").unwrap();
    assert_eq!(stage.sandbox.issuer().verify(&id).unwrap().text("email").unwrap(), ACCOUNT);
    if let Some(answer) = google(&stage) {
        assert_eq!((&answer["account"], &answer["project"]), (&json!(ACCOUNT), &json!("proj")), "{answer}");
        let issued = stage.issued("gcp");
        let mine =
            issued.iter().find(|one| one.secret.expose() == answer["token"].as_str().unwrap()).unwrap();
        assert_eq!(mine.what, format!("an access token of {ACCOUNT}"));
    }
    assert!(matches!(stage.gives_back(), Settlement::Expires { .. }));
    assert_eq!(stage.variable("ID_TOKEN").or(stage.variable("GOOGLE_APPLICATION_CREDENTIALS")), None);
}

#[test]
fn google_auth_becomes_the_pools_own_identity_where_no_service_account_is_named() {
    let scopes = ["https://www.googleapis.com/auth/devstorage.read_only"];
    let mut stage = stage(&json!({"scopes": scopes, "project": "proj"}));
    stage.lends();
    assert_eq!(stage.variable("CLOUDSDK_AUTH_ACCESS_TOKEN"), None);
    let file = stage.variable("GOOGLE_APPLICATION_CREDENTIALS").unwrap();
    assert_eq!(stage.variable("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE").unwrap(), file);
    assert!(file.starts_with(&stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap()));
    if let Some(answer) = google(&stage) {
        assert_eq!((&answer["account"], stage.sandbox.faults().asked(ACCESS)), (&json!(null), 0), "{answer}");
        assert!(
            stage.issued("gcp").iter().any(|one| one.secret.expose() == answer["token"].as_str().unwrap())
        );
    }
    assert!(matches!(stage.gives_back(), Settlement::Expires { .. }));
}

#[test]
fn google_auth_calls_back_for_the_jobs_token_and_each_is_a_lease() {
    let mut stage =
        stage(&json!({"service-account": ACCOUNT, "credential-source": "executable", "project": "proj"}));
    let credential = stage.block["credentials"][0].as_object_mut().unwrap();
    credential.extend([("name".to_owned(), json!("train")), ("refresh".to_owned(), json!(true))]);
    stage.lends();
    assert_eq!(stage.variable("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES").unwrap(), "1");
    let folder = stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap();
    assert!(!std::path::Path::new(&folder).join("gcp-subject-token").exists());
    let asked = google(&stage).map(|answer| {
        assert_eq!(answer["account"], json!(ACCOUNT), "{answer}");
        assert!(stage.issued("gcp").iter().any(|one| answer["token"] == json!(one.secret.expose())));
    });
    // The hook's own went to nobody but Google.
    let handed = stage.sandbox.agent().tokens().pop().unwrap();
    assert!(asked.is_none() || stage.api.redacted(handed.expose()).contains("[REDACTED]"));
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
    let end = stage.records()[1].end.clone().unwrap();
    if asked.is_some() {
        let [renewal] = end.renewals.as_slice() else { panic!("{:?}", end.renewals) };
        assert_eq!((renewal.request.as_str(), renewal.principal.as_str()), ("1+1", ACCOUNT));
        let Settlement::Expires { at } = end.settlements[1].settlement else { panic!() };
        let left = (at - chrono::Utc::now()).num_seconds();
        assert!((3840..=3900).contains(&left), "{left}");
    }
}

#[test]
fn a_credential_file_that_calls_back_needs_a_callback_that_is_allowed() {
    let mut stage = stage(&json!({"credential-source": "executable"}));
    stage.block["credentials"][0]["name"] = json!("train");
    let text = stage.refuses(102, "bad-configuration");
    assert!(text.contains("credentials[0].refresh") && text.contains("`refresh: true`"), "{text}");
}

#[test]
fn a_command_that_no_credential_file_can_name_is_told_before_anything_is_asked_for() {
    let mut stage = stage(&json!({"credential-source": "executable"}));
    let credential = stage.block["credentials"][0].as_object_mut().unwrap();
    credential.extend([("name".to_owned(), json!("train")), ("refresh".to_owned(), json!(true))]);
    let folder = stage.folder.path().join("its folder");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("buildkite-dataflow");
    // By another process: a file that this one writes is busy in each child that another thread starts meanwhile.
    let copied =
        std::process::Command::new("/bin/cp").arg(crate::support::hooks::binary()).arg(&program).status();
    assert!(copied.unwrap().success());
    stage.write_config();
    let hook = stage.command("pre-command");
    let mut same = std::process::Command::new(&program);
    same.args(hook.get_args()).env_clear();
    same.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = same.output().unwrap();
    let text = stage.ended(&output).text;
    assert!(output.status.code() == Some(102) && text.contains("error[bad-configuration]"), "{text}");
    assert!(text.contains("its folder") && text.contains("has a blank or a quote in it"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(STS), 0);
}

#[test]
fn a_lease_with_a_credential_file_ends_when_the_last_token_that_could_be_had_ends() {
    let check = |file: bool, seconds: i64| {
        let mut stage =
            stage(&json!({"service-account": ACCOUNT, "credential-file": file, "access-token": true}));
        stage.lends();
        let Settlement::Expires { at } = stage.gives_back() else { panic!() };
        let left = (at - chrono::Utc::now()).num_seconds();
        assert!((seconds - 60..=seconds).contains(&left), "{left}");
    };
    check(false, 3600);
    check(true, 3600 + 300);
}

#[test]
fn a_token_that_has_ended_by_itself_is_told_so() {
    let mut stage = stage(&json!({"credential-file": false, "access-token": true}));
    stage.fault(STS, 1, Response::json(200, &json!({"access_token": "ya29.soon-over", "expires_in": 1})));
    stage.lends();
    let end = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1100);
    while chrono::Utc::now() < end {
        std::thread::yield_now();
    }
    assert!(matches!(stage.gives_back(), Settlement::AlreadyExpired { .. }));
}

#[test]
fn delegates_and_a_reason_reach_google() {
    let mut stage =
        stage(&json!({"service-account": ACCOUNT, "credential-file": false, "access-token": true,
        "delegates": ["between@proj.iam.gserviceaccount.com"], "request-reason": "nightly load"}));
    stage.lends();
    let start = stage.records()[0].start.clone().unwrap();
    assert_eq!(
        (start.leases[0].principal.as_str(), start.leases[0].session.as_str()),
        (ACCOUNT, "nightly load")
    );
    assert_eq!(stage.variable("GOOGLE_APPLICATION_CREDENTIALS"), None);
    stage.gives_back();
}

fn oauth(status: u16, error: &str, description: &str) -> Response {
    Response::json(status, &json!({"error": error, "error_description": description}))
}

fn api(code: u16, status: &str, message: &str) -> Response {
    Response::json(code, &json!({"error": {"code": code, "status": status, "message": message}}))
}

#[test]
fn an_access_token_lives_as_long_and_is_for_the_scopes_that_were_asked_for() {
    let asked = |scope: &str| {
        stage(&json!({"service-account": ACCOUNT, "credential-file": false, "access-token": true,
            "lifetime": "30m", "scopes": ["https://www.googleapis.com/auth/devstorage.read_only", scope]}))
    };
    let mut stage = asked("https://www.googleapis.com/auth/pubsub");
    stage.lends();
    let lease = stage.records()[0].start.as_ref().unwrap().leases[0].clone();
    let life = (lease.expires_at - chrono::Utc::now()).num_seconds();
    assert!((1780..=1800).contains(&life), "{life}");
    let text = asked("no-scope").refuses(105, "provider-refused");
    assert!(text.contains("Invalid scope."), "{text}");
}

#[test]
fn a_failure_says_which_leg_failed_and_what_to_do() {
    let check = |path: &str, answer: Response, exit, ident: &str, told: [&str; 2]| {
        let refused = stage(&whole()).refused(path, answer, exit, ident);
        for told in told {
            assert!(refused.text.contains(told), "{told}: {}", refused.text);
        }
        (refused.asked, refused.settlement)
    };
    let sts = "it was the exchange at STS that failed";
    let access = "it was the impersonation for an access token that failed";
    let id = "it was the impersonation for an ID token that failed";
    let rejected = "token-rejected";
    let condition =
        oauth(400, "unauthorized_client", "The given credential is rejected by the attribute condition.");
    let not_issued = |reason: &str| Settlement::NotIssued { reason: reason.into() };
    let seen = check(STS, condition, 105, rejected, [sts, "attribute condition must accept"]);
    assert_eq!(seen, (1, not_issued("unauthorized_client")));
    let audience =
        oauth(400, "invalid_grant", "The audience in ID Token [x] does not match the expected audience.");
    check(STS, audience, 105, rejected, [sts, "allowed audiences"]);
    check(STS, oauth(400, "invalid_target", "disabled"), 105, "provider-refused", [sts, "full name"]);
    let busy = api(429, "RESOURCE_EXHAUSTED", "Quota exceeded");
    assert!(check(STS, busy, 106, "provider-busy", [sts, "Quota exceeded"]).0 > 1);
    let denied =
        api(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource");
    let seen = check(ACCESS, denied, 105, "provider-refused", [access, "roles/iam.workloadIdentityUser"]);
    // No access token was made; the federated one was, and nobody holds it.
    assert!(seen.0 == 1 && matches!(seen.1, Settlement::Expires { .. }), "{seen:?}");
    let denied =
        api(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource");
    let (_, settled) = check(ID, denied, 105, "provider-refused", [id, "serviceAccountOpenIdTokenCreator"]);
    // The access token was made, and nobody holds it.
    assert!(matches!(settled, Settlement::Unknown { .. }), "{settled:?}");
}

#[test]
fn what_is_no_answer_of_google_is_not_believed() {
    let check = |path: &str, answer: Response, exit, ident: &str, told: &str| {
        let refused = stage(&whole()).refused(path, answer, exit, ident);
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    };
    let malformed = "provider-malformed";
    let past = json!({"accessToken": "not-a-token", "expireTime": "2020-01-01T00:00:00Z"});
    for path in [STS, ACCESS, ID] {
        check(path, html(200), 105, malformed, "no JSON");
        check(path, Response::json(200, &json!({})), 105, malformed, "lacks what was asked for");
        check(path, html(502), 106, "provider-busy", "502");
        let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(302) };
        check(path, redirect, 105, "provider-malformed", "a redirect to `evil.test`, which is not followed");
        check(path, Response { cut: true, ..html(200) }, 106, "provider-unreachable", "cannot reach");
    }
    check(ACCESS, Response::json(200, &past), 105, malformed, "ended at 2020");
    check(
        STS,
        Response::json(200, &json!({"access_token": "x", "expires_in": -1})),
        105,
        malformed,
        "ended at",
    );
    check(
        STS,
        Response::json(200, &json!({"access_token": "", "expires_in": 60})),
        105,
        malformed,
        "empty token",
    );
    check(ID, Response::json(200, &json!({"token": "none"})), 105, malformed, "an ID token that is none");
}

#[test]
fn a_user_of_a_workspace_is_lent_through_the_service_account() {
    let block = json!({"service-account": ACCOUNT, "credential-file": false, "access-token": true,
        "subject": "ada@example.test", "scopes": ["https://www.googleapis.com/auth/calendar"]});
    let mut lent = stage(&block);
    lent.lends();
    let token = lent.variable("GOOGLE_OAUTH_ACCESS_TOKEN").unwrap();
    let issued = lent.issued("gcp");
    let mine = issued.iter().find(|one| one.secret.expose() == token).unwrap();
    assert_eq!(mine.what, "an access token of ada@example.test");
    let start = lent.records()[0].start.clone().unwrap();
    assert_eq!(start.leases[0].principal, format!("ada@example.test by {ACCOUNT}"));
    assert!(matches!(lent.gives_back(), Settlement::Expires { .. }));
    let check = |path: &str, answer: Response, told: [&str; 2]| {
        let refused = stage(&block).refused(path, answer, 105, "provider-refused");
        for told in told {
            assert!(refused.text.contains(told), "{told}: {}", refused.text);
        }
        assert!(matches!(refused.settlement, Settlement::Expires { .. }), "{:?}", refused.settlement);
    };
    let denied = api(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.signJwt' denied on resource");
    check(":signJwt", denied, ["it was the signature of an assertion", "iam.workloadIdentityUser"]);
    let denied = oauth(401, "unauthorized_client", "Client is unauthorized to retrieve access tokens.");
    check("/gcp/token", denied, ["it was the exchange of an assertion", "domain-wide delegation"]);
}

#[test]
fn a_stale_token_is_answered_with_a_fresh_one() {
    let mut stage = stage(&json!({}));
    stage.fault(STS, 1, oauth(400, "invalid_grant", "ID Token issued at 1 is stale to sign-in."));
    stage.lends();
    assert_eq!(stage.sandbox.faults().asked("/oidc/tokens"), 2);
    let kept =
        std::path::Path::new(&stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap()).join("gcp-subject-token");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert_eq!(stage.sandbox.agent().tokens().last().unwrap().expose(), kept);
    stage.gives_back();
}

#[test]
fn a_subject_that_does_not_fit_is_told_with_a_mapping_that_does() {
    let mut stage = stage(&json!({}));
    let long = format!("refs/{}", "x".repeat(90));
    let mut job = crate::support::hooks::claims();
    job.claims.insert("build_branch".into(), json!(long));
    stage.sandbox.agent().add(buildkite_dataflow::rehearse::sandbox::agent_api::Job {
        id: crate::support::hooks::JOB.into(),
        token: stage.api.env()["BUILDKITE_AGENT_ACCESS_TOKEN"].clone(),
        claims: job,
        env: [].into(),
    });
    let text = stage.refuses(105, "token-rejected");
    assert!(text.contains("127 bytes") && text.contains("assertion.pipeline_slug"), "{text}");
    stage.block["credentials"][0]["gcp"]["token"] = json!({"subject-claim": "pipeline_id"});
    stage.lends();
    stage.gives_back();
}

#[test]
fn another_universe_is_asked_only_where_the_host_allows_it() {
    let mut stage = stage(&json!({"universe": "apis.example.test"}));
    let text = stage.refuses(103, "denied");
    assert!(text.contains("does not allow `https://sts.apis.example.test`"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(STS), 0);
    // Allowing one of the two is not enough.
    let mut stage = self::stage(&json!({"universe": "apis.example.test"}));
    stage.config["endpoints"] = json!(["https://sts.apis.example.test"]);
    let text = stage.refuses(103, "denied");
    assert!(text.contains("does not allow `https://iamcredentials.apis.example.test`"), "{text}");
    let origins = ["https://sts.apis.example.test", "https://iamcredentials.apis.example.test"];
    let mut stage = self::stage(&json!({"universe": "apis.example.test", "service-account": ACCOUNT}));
    let to = stage.sandbox.provider_url("gcp");
    stage.config["endpoints"] = json!(origins);
    stage.config["network"] = json!({"routes": origins.map(|from| json!({"from": from, "to": to}))});
    stage.lends();
    assert_eq!(stage.variable("GOOGLE_CLOUD_UNIVERSE_DOMAIN").unwrap(), "apis.example.test");
    stage.gives_back();
}

#[test]
fn a_pools_own_identity_is_denied_where_an_hour_is_too_long() {
    let mut stage = stage(&json!({}));
    stage.config["limits"] = json!({"duration": "30m"});
    assert!(stage.refuses(103, "denied").contains("1h was asked for, and this host allows 30m"));
    let mut stage = self::stage(&json!({}));
    stage.config["limits"] = json!({"duration": "30m"});
    stage.block["credentials"][0]["gcp"]["service-account"] = json!(ACCOUNT);
    stage.lends();
    stage.gives_back();
}

#[test]
fn a_google_that_nobody_answers_for_is_worth_a_retry_of_the_step() {
    let mut stage = stage(&json!({}));
    stage.config["network"] =
        json!({"routes": [{"from": "https://sts.googleapis.com", "to": "http://127.0.0.1:1"}]});
    let text = stage.refuses(106, "provider-unreachable");
    assert!(text.contains("sts.googleapis.com"), "{text}");
}
