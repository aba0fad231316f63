//! The `buildkite` provider: Buildkite's own token exchange, and how its token is given back.

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::child::{command, output, run};
use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::lent::{Bad, held, is_revoked, lends, no_answers, of_held, refuses_each, settles, stage};

const VARIABLE: &str = "BUILDKITE_API_TOKEN";
const EXCHANGE: &str = "/buildkite/oauth/token";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/buildkite_client.py");

fn asks(more: &Value) -> Stage {
    let mut stage = stage("buildkite");
    let mut buildkite = json!({
        "organization": "acme", "client-id": "app-1", "key-id": "k1", "private-key": of_held(),
        "subject": "bot@acme.test", "scopes": ["read_builds", "write_builds"],
    });
    buildkite.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [held(&stage, true), {"buildkite": buildkite}]});
    stage
}

#[test]
fn an_applications_key_is_given_a_scoped_token_that_is_deleted_at_the_end() {
    for more in [json!({}), json!({"subject": "0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e5f", "duration": "30s"})] {
        let mut stage = asks(&more);
        assert!(lends(&mut stage, VARIABLE).starts_with("bktx_"));
        assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
        assert!(is_revoked(&stage, "buildkite"));
    }
}

#[test]
fn each_try_has_an_assertion_of_its_own() {
    let mut stage = asks(&json!({}));
    stage.sandbox.faults().order(buildkite_dataflow::rehearse::sandbox::faults::Fault {
        path: EXCHANGE.into(),
        times: 1,
        answer: Response { cut: true, ..Response::json(200, &json!({})) },
        after_acting: true,
    });
    lends(&mut stage, VARIABLE);
    assert_eq!(stage.records()[0].start.clone().unwrap().findings[0].ident, "answer-lost");
    settles(&mut stage, VARIABLE);
}

#[test]
fn other_addresses_are_asked_only_where_the_host_allows_them() {
    let mut stage = asks(&json!({}));
    let url = stage.sandbox.provider_url("buildkite");
    stage.block["credentials"][1]["buildkite"]["endpoint"] = json!(format!("{url}/v2/oauth/token"));
    stage.block["credentials"][1]["buildkite"]["api-url"] = json!(url);
    lends(&mut stage, VARIABLE);
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::Revoked { .. }));
    for key in ["endpoint", "api-url"] {
        let mut stage = asks(&json!({key: "https://buildkite.evil.test/x"}));
        let text = stage.refuses(103, "denied");
        assert!(text.contains("https://buildkite.evil.test"), "{text}");
        assert_eq!(stage.sandbox.faults().asked("/token"), 0);
    }
}

#[test]
fn each_refusal_is_told_with_what_to_do() {
    let told = |status, code: &str| {
        Response::json(status, &json!({"error": code, "error_description": "No such luck"}))
    };
    let token =
        |token: &str, life: i64| Response::json(200, &json!({"access_token": token, "expires_in": life}));
    let table: Vec<Bad> = vec![
        (told(401, "invalid_client"), 105, "provider-refused", "with this key and `key-id`"),
        (told(400, "invalid_scope"), 105, "provider-refused", "`scopes`"),
        (told(400, "invalid_target"), 105, "provider-refused", "`organization`"),
        (told(400, "invalid_request"), 105, "provider-refused", "`subject`"),
        (told(400, "unsupported_grant_type"), 105, "provider-refused", "`unsupported_grant_type`"),
        (told(503, "temporarily_unavailable"), 106, "provider-busy", "503"),
        (token("", 60), 105, "provider-malformed", "an empty token"),
        (token("bktx_not-a-token", -1), 105, "provider-malformed", "that ended"),
    ];
    refuses_each(EXCHANGE, || asks(&json!({})), table.into_iter().chain(no_answers()).collect());
}

#[test]
fn what_becomes_of_a_token_is_told_as_the_api_tells_it() {
    let check = |times, answer| {
        let mut stage = asks(&json!({}));
        lends(&mut stage, VARIABLE);
        stage.fault("/v2/access-token", times, answer);
        settles(&mut stage, VARIABLE)
    };
    let error = |status| Response::json(status, &json!({"message": "no"}));
    assert!(matches!(check(9, error(401)), Settlement::AlreadyExpired { .. }));
    assert!(matches!(check(9, error(403)), Settlement::Failed { .. }));
    assert!(matches!(check(9, Response { cut: true, ..error(200) }), Settlement::Failed { .. }));
}

#[test]
fn pybuildkite_uses_what_a_step_was_lent_until_the_step_ends() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = asks(&json!({}));
    let token = lends(&mut stage, VARIABLE);
    let asked = json!({"url": stage.sandbox.provider_url("buildkite"), "token": token}).to_string();
    let ask = || run(output(command(&python, &[SCRIPT]), asked.clone()));
    let lent = ask();
    assert_eq!(lent.stdout, r#"{"scopes": ["read_builds", "write_builds"]}"#, "{lent:?}");
    settles(&mut stage, VARIABLE);
    let after = ask();
    assert!(after.stdout.contains(r#""status": 401"#), "{after:?}");
}

#[test]
fn a_token_that_the_step_revoked_itself_is_not_called_revoked_by_us() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = asks(&json!({}));
    let token = lends(&mut stage, VARIABLE);
    let url = stage.sandbox.provider_url("buildkite");
    let asked = json!({"url": url, "token": token, "revoke": true}).to_string();
    let ended = run(output(command(&python, &[SCRIPT]), asked));
    assert!(ended.stdout.contains("scopes"), "{ended:?}");
    assert!(matches!(settles(&mut stage, VARIABLE), Settlement::AlreadyExpired { .. }));
}
