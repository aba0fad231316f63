//! Azure: what a step is lent works in Microsoft's own library, and what goes wrong is told by its number.

use std::process::Command;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::provider::html;

const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
const TENANT: &str = "99999999-8888-4777-8666-555555555555";
const SUBSCRIPTION: &str = "77777777-8888-4777-8666-555555555555";
const TOKEN: &str = "/oauth2/v2.0/token";
const PUBLIC: &str = "https://login.microsoftonline.com";

fn stage(more: &Value) -> Stage {
    let mut block = json!({"tenant-id": TENANT, "client-id": CLIENT});
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Stage::asking("azure", &block)
}

#[test]
fn azure_identity_becomes_the_application_that_was_lent() {
    let mut stage = stage(&json!({"config-dir": false}));
    // It takes no authority that does not speak TLS.
    stage.speak_tls();
    let authority = stage.variable("BUILDKITE_AGENT_ENDPOINT").unwrap().replace("/v3", "/azure");
    let ca = stage.folder.path().join("ca.pem");
    stage.config["network"] = json!({"ca-file": ca, "routes": [{"from": PUBLIC, "to": authority}]});
    stage.lends();
    assert_eq!(stage.variable("AZURE_AUTHORITY_HOST").unwrap(), format!("{authority}/"));
    assert_eq!(stage.issued("azure").len(), 1);
    if let Some(python) = components::find("venv/bin/python") {
        let mut python = Command::new(python);
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/azure_client.py")).env_clear();
        python.env("REQUESTS_CA_BUNDLE", ca);
        let answer = stage.step(python, "[null]")[0].clone();
        let [_, mine] = stage.issued("azure").try_into().unwrap();
        assert_eq!(answer["token"], json!(mine.secret.expose()), "{answer}");
        assert_eq!(mine.what, format!("a token of {CLIENT} for https://storage.azure.com/.default"));
    }
    assert!(matches!(stage.gives_back(), Settlement::Expires { .. }));
}

#[test]
fn the_variables_of_sdks_terraform_and_az_speak_of_the_same_identity() {
    let mut stage = stage(&json!({"arm": true, "subscription-id": SUBSCRIPTION, "cloud": "us-gov"}));
    stage.lends();
    for prefix in ["AZURE", "ARM"] {
        for (name, value) in [("CLIENT_ID", CLIENT), ("TENANT_ID", TENANT), ("SUBSCRIPTION_ID", SUBSCRIPTION)]
        {
            assert_eq!(stage.variable(&format!("{prefix}_{name}")).unwrap(), value, "{prefix}_{name}");
        }
    }
    assert_eq!(stage.variable("ARM_USE_OIDC").unwrap(), "true");
    assert_eq!(stage.variable("ARM_ENVIRONMENT").unwrap(), "usgovernment");
    let file = stage.variable("AZURE_FEDERATED_TOKEN_FILE").unwrap();
    assert_eq!(stage.variable("ARM_OIDC_TOKEN_FILE_PATH").unwrap(), file);
    let folder = stage.variable("BUILDKITE_OIDC_TMPDIR").unwrap();
    assert!(file.starts_with(&folder) && stage.variable("AZURE_CONFIG_DIR").unwrap().starts_with(&folder));
    let token = std::fs::read_to_string(file).unwrap();
    let claims = stage.sandbox.issuer().verify(&token).unwrap();
    assert_eq!(claims.audiences(), ["api://AzureADTokenExchangeUSGov"]);
    assert_eq!(claims.text("sub").unwrap(), "p-1");
    assert!(matches!(stage.gives_back(), Settlement::Expires { .. }));
    assert_eq!(stage.variable("ARM_CLIENT_ID").or(stage.variable("AZURE_CONFIG_DIR")), None);
}

#[test]
fn what_az_left_in_its_configuration_goes_with_the_lease() {
    let mut stage = stage(&json!({}));
    stage.lends();
    let folder = stage.variable("AZURE_CONFIG_DIR").unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(format!("{folder}/msal_token_cache.json"), stage.issued("azure")[0].secret.expose())
        .unwrap();
    stage.gives_back();
    assert!(!std::path::Path::new(&folder).exists());
}

#[test]
fn each_scope_has_a_token_of_its_own_and_azure_devops_too() {
    let scopes = json!([{"scope": "https://vault.azure.net/.default", "env": "KEYS"},
        {"scope": "https://graph.microsoft.com/.default", "env": "GRAPH"}]);
    let mut stage = stage(&json!({"scopes": scopes, "devops": true}));
    stage.lends();
    let issued = stage.issued("azure");
    for (name, scope) in [
        ("KEYS", "https://vault.azure.net/.default"),
        ("GRAPH", "https://graph.microsoft.com/.default"),
        ("AZURE_DEVOPS_EXT_PAT", "499b84ac-1321-427f-aa17-267ca6975798/.default"),
    ] {
        let token = stage.variable(name).unwrap();
        let mine = issued.iter().find(|one| one.secret.expose() == token).unwrap();
        assert_eq!(mine.what, format!("a token of {CLIENT} for {scope}"));
    }
    assert_eq!((issued.len(), stage.sandbox.faults().asked("/oidc/tokens")), (3, 1));
    assert!(matches!(stage.gives_back(), Settlement::Expires { .. }));
}

#[test]
fn git_is_given_the_token_for_azure_devops() {
    let mut stage = stage(&json!({"devops": true,
        "scopes": [{"scope": "https://vault.azure.net/.default", "env": "KEYS"}]}));
    let credential = stage.block["credentials"][0].as_object_mut().unwrap();
    credential.extend([
        ("name".to_owned(), json!("repos")),
        ("git".to_owned(), json!(["https://dev.azure.com/acme"])),
    ]);
    stage.lends();
    let mut git = Command::new("git");
    git.args(["credential", "fill"]).env_clear();
    let answer = stage.text_of(git, "url=https://dev.azure.com/acme/web/_git/web\n\n");
    let token = stage.variable("AZURE_DEVOPS_EXT_PAT").unwrap();
    assert!(answer.contains(&format!("password={token}\n")), "{answer}");
    stage.gives_back();
}

#[test]
fn a_lease_ends_when_the_last_token_that_could_be_had_ends() {
    let mut stage = stage(&json!({"token": {"lifetime": "10m"}}));
    stage.lends();
    let Settlement::Expires { at } = stage.gives_back() else { panic!() };
    let left = (at - chrono::Utc::now()).num_seconds();
    assert!((90 * 60 + 540..=90 * 60 + 600).contains(&left), "{left}");
}

fn entra(status: u16, error: &str, number: &str) -> Response {
    let said = format!("AADSTS{number}: In Entra's words. Trace ID: t-1 Correlation ID: c-1");
    Response::json(
        status,
        &json!({"error": error, "error_description": said, "error_codes": [number.parse::<u32>().unwrap()]}),
    )
}

#[test]
fn each_number_of_entra_is_told_with_its_cause_and_what_was_presented() {
    let check = |answer: Response, exit, ident: &str, told: [&str; 2]| {
        let refused = stage(&json!({})).refused(TOKEN, answer, exit, ident);
        for told in told.into_iter().chain(["it was the token for `https://management.azure.com/.default`"]) {
            assert!(refused.text.contains(told), "{told}: {}", refused.text);
        }
        (refused.asked, refused.settlement)
    };
    let rejected = "token-rejected";
    let client = |number| entra(401, "invalid_client", number);
    let not_issued = |reason: &str| Settlement::NotIssued { reason: reason.into() };
    let seen = check(client("700213"), 105, rejected, ["exactly this `iss`, `sub` and `aud`", "sub `p-1`"]);
    assert_eq!(seen, (1, not_issued("AADSTS700213")));
    check(client("70021"), 105, rejected, ["exactly this", "aud `api://AzureADTokenExchange`"]);
    check(client("700211"), 105, rejected, ["has this `iss`", "iss `http"]);
    check(client("700212"), 105, rejected, ["has this `aud`", "aud `api"]);
    check(client("50013"), 105, rejected, ["signature", "AADSTS50013"]);
    let wrong = entra(400, "unauthorized_client", "700016");
    check(wrong, 105, "provider-refused", ["no application of this tenant", "In Entra's words"]);
    check(entra(400, "invalid_request", "90002"), 105, "provider-refused", ["no tenant", "AADSTS90002"]);
    let unknown =
        check(entra(400, "invalid_request", "999999"), 105, "provider-refused", ["AADSTS999999", "In"]);
    assert_eq!(unknown.0, 1);
    let busy =
        check(entra(503, "temporarily_unavailable", "90033"), 106, "provider-busy", ["AADSTS90033", ""]);
    assert!(busy.0 > 1, "{}", busy.0);
}

#[test]
fn what_is_no_answer_of_entra_is_not_believed() {
    let check = |answer: Response, exit, ident: &str, told: &str| {
        let refused = stage(&json!({})).refused(TOKEN, answer, exit, ident);
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    };
    let malformed = "provider-malformed";
    let answer = |token: &str, seconds: i64| {
        Response::json(200, &json!({"token_type": "Bearer", "access_token": token, "expires_in": seconds}))
    };
    check(html(200), 105, malformed, "no JSON");
    check(Response::json(200, &json!({})), 105, malformed, "lacks what was asked for");
    check(answer("", 60), 105, malformed, "empty token");
    check(answer("no-token", -1), 105, malformed, "ended at");
    check(html(502), 106, "provider-busy", "502");
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(302) };
    check(redirect, 105, "provider-malformed", "a redirect to `evil.test`, which is not followed");
    check(Response { cut: true, ..html(200) }, 106, "provider-unreachable", "cannot reach");
}

#[test]
fn a_token_that_came_too_late_is_answered_with_a_fresh_one() {
    let mut stage = stage(&json!({}));
    stage.fault(TOKEN, 1, entra(401, "invalid_client", "700024"));
    stage.lends();
    assert_eq!(stage.sandbox.faults().asked("/oidc/tokens"), 2);
    let kept = std::fs::read_to_string(stage.variable("AZURE_FEDERATED_TOKEN_FILE").unwrap()).unwrap();
    assert_eq!(stage.sandbox.agent().tokens().last().unwrap().expose(), kept);
    stage.gives_back();
}

#[test]
fn one_scope_that_is_refused_leaves_the_others_told_as_unknown() {
    let mut stage = stage(&json!({"scopes": [{"scope": "https://vault.azure.net/.default", "env": "KEYS"},
        {"scope": "https://graph.microsoft.com/.default", "env": "GRAPH"}]}));
    let refused =
        stage.refused_times(TOKEN, 1, entra(400, "invalid_resource", "500011"), 105, "provider-refused");
    assert!(matches!(refused.settlement, Settlement::Unknown { .. }), "{:?}", refused.settlement);
    assert_eq!(stage.variable("KEYS").or(stage.variable("GRAPH")), None);
}

#[test]
fn an_identity_is_denied_where_ninety_minutes_are_too_long() {
    let mut stage = stage(&json!({}));
    stage.config["limits"] = json!({"duration": "1h"});
    let text = stage.refuses(103, "denied");
    assert!(text.contains("90m was asked for, and this host allows 1h"), "{text}");
    assert_eq!(stage.sandbox.faults().asked(TOKEN), 0);
}

#[test]
fn an_entra_that_nobody_answers_for_is_worth_a_retry_of_the_step() {
    let mut stage = stage(&json!({}));
    stage.config["network"] = json!({"routes": [{"from": PUBLIC, "to": "http://127.0.0.1:1"}]});
    let text = stage.refuses(106, "provider-unreachable");
    assert!(text.contains("login.microsoftonline.com"), "{text}");
}
