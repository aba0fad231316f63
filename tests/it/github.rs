//! The `github` provider: an app's key, an octo-sts and a chinmina-bridge, and how a token is given back.

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::child::{command, output, run};
use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::lent::{Bad, held, is_revoked, lends, no_answers, of_held, refuses_each, settles, stage};

const VARIABLE: &str = "GITHUB_TOKEN";
const MINT: &str = "/access_tokens";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/github_client.py");

/// An app whose key another credential holds.
fn app(more: &Value) -> Stage {
    let mut stage = stage("github");
    let mut github = json!({"app-id": 7, "private-key": of_held(), "repositories": ["acme/web"]});
    github.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [held(&stage, true), {"github": github}]});
    stage
}

fn broker(more: &Value) -> Stage {
    let mut stage = stage("github");
    stage.block = json!({"credentials": [{ "github": more }]});
    stage
}

fn octo_sts() -> Stage {
    broker(&json!({"via": "octo-sts", "scope": "acme/web", "identity": "ci"}))
}

fn chinmina() -> Stage {
    let mut stage = stage("github");
    let url = stage.sandbox.provider_url("github");
    stage.block =
        json!({"credentials": [{"github": {"via": "chinmina", "url": url, "profile": "org:read"}}]});
    stage
}

fn api_error(status: u16, message: &str) -> Response {
    Response::json(status, &json!({"message": message, "documentation_url": "https://docs.github.com/rest"}))
}

#[test]
fn an_apps_key_mints_a_token_that_is_deleted_at_the_end() {
    for more in [
        json!({}),
        json!({"permissions": {"contents": "read"}, "env": [VARIABLE, "GH_TOKEN"]}),
        json!({"owner": "acme", "repositories": ["web", "api"], "app-id": "Iv23liabc"}),
    ] {
        let mut stage = app(&more);
        assert!(lends(&mut stage, VARIABLE).starts_with("ghs_"));
        assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
        assert!(is_revoked(&stage, "github"));
    }
}

#[test]
fn an_owner_without_repositories_is_an_organization_or_else_a_user() {
    let mut stage = app(&json!({"owner": "someone"}));
    stage.block["credentials"][1]["github"].as_object_mut().unwrap().remove("repositories");
    stage.fault("/orgs/someone/installation", 1, api_error(404, "Not Found"));
    lends(&mut stage, VARIABLE);
    assert_eq!(stage.sandbox.faults().asked("/users/someone/installation"), 1);
    settles(&mut stage, VARIABLE);
}

#[test]
fn an_enterprise_is_asked_below_its_own_address_and_only_where_the_host_allows_it() {
    let mut stage = app(&json!({}));
    let url = format!("{}/api/v3", stage.sandbox.provider_url("github"));
    stage.block["credentials"][1]["github"]["api-url"] = json!(url);
    lends(&mut stage, VARIABLE);
    assert_eq!(stage.sandbox.faults().asked("/api/v3/repos/acme/web/installation"), 1);
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
    assert_eq!(stage.sandbox.faults().asked("/api/v3/installation/token"), 1);
    let mut stage = app(&json!({"api-url": "https://github.evil.test/api/v3"}));
    let text = stage.refuses(103, "denied");
    assert!(text.contains("https://github.evil.test"), "{text}");
    assert_eq!(stage.sandbox.faults().asked("/token"), 0);
}

#[test]
fn an_octo_sts_lends_by_its_policy_and_its_token_is_deleted_too() {
    let mut stage = octo_sts();
    assert!(lends(&mut stage, VARIABLE).starts_with("ghs_"));
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
    assert!(is_revoked(&stage, "github"));
}

#[test]
fn an_octo_sts_of_ones_own_is_asked_as_itself() {
    let own = json!({"via": "octo-sts", "scope": "acme", "identity": "ci", "domain": "octo.example.test"});
    let text = broker(&own).refuses(103, "denied");
    assert!(text.contains("https://octo.example.test"), "{text}");
    let mut stage = broker(&own);
    let to = format!("{}/at/octo.example.test", stage.sandbox.provider_url("github"));
    let route = json!({"from": "https://octo.example.test", "to": to});
    stage.config["network"]["routes"].as_array_mut().unwrap().push(route);
    stage.config["endpoints"] = json!(["https://octo.example.test"]);
    lends(&mut stage, VARIABLE);
    settles(&mut stage, VARIABLE);
}

#[test]
fn a_bridges_token_may_be_lent_to_others_too_and_is_left_to_expire() {
    let mut stage = chinmina();
    lends(&mut stage, VARIABLE);
    assert_eq!(stage.sandbox.faults().asked("/organization/token/read"), 1);
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Expires { .. }));
    assert!(!is_revoked(&stage, "github"));
}

#[test]
fn each_refusal_of_the_api_is_told_with_what_to_do() {
    let refused =
        |status, message, told| -> Bad { (api_error(status, message), 105, "provider-refused", told) };
    let table = vec![
        refused(
            401,
            "A JSON web token could not be decoded",
            "`app-id` and `private-key` must belong together",
        ),
        refused(403, "This installation has been suspended", "the installation is suspended"),
        refused(404, "Not Found", "the app is not installed there"),
        refused(
            422,
            "There is at least one repository that does not exist",
            "not all of these `repositories`",
        ),
        (api_error(403, "API rate limit exceeded"), 106, "provider-busy", "API rate limit exceeded"),
        (
            api_error(429, "You have exceeded a secondary rate limit"),
            106,
            "provider-busy",
            "secondary rate limit",
        ),
        (api_error(500, "Server Error"), 106, "provider-busy", "500"),
        (
            Response::json(201, &json!({"token": "", "expires_at": "2099-01-01T00:00:00Z"})),
            105,
            "provider-malformed",
            "an empty token",
        ),
        (
            Response::json(201, &json!({"token": "ghs_not-a-token", "expires_at": "2001-01-01T00:00:00Z"})),
            105,
            "provider-malformed",
            "that ended",
        ),
        (
            Response::json(201, &json!({"token": "ghs_not-a-token", "expires_at": "soon"})),
            105,
            "provider-malformed",
            "an end that is no time",
        ),
    ];
    refuses_each(MINT, || app(&json!({})), table.into_iter().chain(no_answers()).collect());
}

#[test]
fn an_app_that_is_not_installed_is_told_before_a_token_is_asked_for() {
    let mut stage = app(&json!({}));
    stage.fault("/repos/acme/web/installation", 999, api_error(404, "Not Found"));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("the app is not installed there"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(MINT), 0);
}

#[test]
fn each_refusal_of_a_broker_is_told_with_what_to_do() {
    let told = |status, message: &str| {
        Response::json(status, &json!({"code": 7, "message": message, "details": []}))
    };
    let octo: Vec<Bad> = vec![
        (told(401, "unable to verify token"), 105, "token-rejected", ".github/chainguard/IDENTITY.sts.yaml"),
        (told(403, "token does not match trust policy"), 105, "token-rejected", "sub `organization:acme"),
        (told(404, "unable to find trust policy"), 105, "provider-refused", "there is no such policy"),
        (told(500, "failed to get token"), 106, "provider-busy", "failed to get token"),
    ];
    refuses_each("/sts/exchange", octo_sts, octo.into_iter().chain(no_answers()).collect());
    let told = |status, message: &str| Response::json(status, &json!({ "error": message }));
    let bridge: Vec<Bad> = vec![
        (told(401, "Unauthorized"), 105, "token-rejected", "the bridge must know this issuer"),
        (told(403, "Forbidden"), 105, "token-rejected", "the profile match these claims"),
        (told(404, "Not Found"), 105, "provider-refused", "no such policy or profile"),
        (
            Response::new(200, "text/plain", ""),
            105,
            "provider-refused",
            "does not cover the pipeline's repository",
        ),
    ];
    refuses_each("/organization/token/read", chinmina, bridge.into_iter().chain(no_answers()).collect());
}

#[test]
fn a_token_whose_time_was_wrong_is_asked_for_again_with_a_fresh_one() {
    let mut stage = octo_sts();
    let late = json!({"code": 16, "message": "token is expired", "details": []});
    stage.fault("/sts/exchange", 1, Response::json(401, &late));
    lends(&mut stage, VARIABLE);
    assert_eq!(stage.sandbox.agent().tokens().len(), 2);
    settles(&mut stage, VARIABLE);
}

#[test]
fn what_becomes_of_a_token_is_told_as_github_tells_it() {
    let check = |times, answer| {
        let mut stage = octo_sts();
        lends(&mut stage, VARIABLE);
        stage.fault("/installation/token", times, answer);
        settles(&mut stage, VARIABLE)
    };
    assert!(matches!(check(9, api_error(401, "Bad credentials")), Settlement::AlreadyExpired { .. }));
    assert!(matches!(check(9, api_error(403, "rate limit")), Settlement::Failed { .. }));
    assert!(matches!(check(9, api_error(502, "")), Settlement::Failed { .. }));
    let cut = Response { cut: true, ..api_error(200, "") };
    assert!(matches!(check(9, cut.clone()), Settlement::Failed { .. }));
    assert!(matches!(check(1, cut), Settlement::Revoked { .. }));
}

#[test]
fn what_could_not_be_given_back_is_tried_again_and_a_token_that_is_gone_then_was_taken_back_before() {
    let later = |between: Option<Response>| {
        let mut stage = octo_sts();
        lends(&mut stage, VARIABLE);
        stage.fault("/installation/token", 2, api_error(502, ""));
        assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Failed { .. }));
        if let Some(answer) = between {
            stage.fault("/installation/token", 1, answer);
        }
        let ended = stage.hook("pre-exit");
        assert_eq!(ended.status, 0, "{}", ended.text);
        stage.nothing_left();
        stage.records().pop().unwrap().late.unwrap().settlements.remove(0).settlement
    };
    assert!(matches!(later(None), Settlement::Revoked { .. }));
    assert!(matches!(later(Some(api_error(401, "Bad credentials"))), Settlement::RevokedInferred { .. }));
}

#[test]
fn a_host_that_allows_less_than_an_hour_allows_no_token_of_github() {
    let mut stage = octo_sts();
    stage.config["limits"] = json!({"duration": "30m"});
    let text = stage.refuses(103, "denied");
    assert!(text.contains("1h was asked for, and this host allows 30m"), "{text}");
}

#[test]
fn pygithub_uses_what_a_step_was_lent_until_the_step_ends() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = app(&json!({}));
    let token = lends(&mut stage, VARIABLE);
    let asked = json!({"url": stage.sandbox.provider_url("github"), "token": token}).to_string();
    let ask = || run(output(command(&python, &[SCRIPT]), asked.clone()));
    let lent = ask();
    assert_eq!(lent.stdout, r#"{"repositories": ["acme/web"]}"#, "{lent:?}");
    settles(&mut stage, VARIABLE);
    let after = ask();
    assert!(after.stdout.contains(r#""status": 401"#), "{after:?}");
}
