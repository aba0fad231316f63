//! Google's services, as google-auth sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/google_client.py");
pub(super) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite";

/// A credential file in `folder` with this token, and with what `changed` says instead.
pub(super) fn file(sandbox: &Sandbox, folder: &Path, token: &str, changed: &Value) -> PathBuf {
    let name = uuid::Uuid::new_v4().to_string();
    let subject = folder.join(&name);
    std::fs::write(&subject, token).unwrap();
    let mut file = super::map(&json!({
        "type": "external_account", "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", sandbox.provider_url("gcp")),
        "credential_source": {"file": subject},
    }));
    file.extend(super::map(changed));
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, Value::from(file).to_string()).unwrap();
    path
}

async fn google(python: &Path, files: &[impl serde::Serialize]) -> Vec<Value> {
    let ended = output(command(python, &[SCRIPT]), json!(files).to_string()).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
}

#[test]
fn google_auth_exchanges_a_token_and_reads_each_refusal() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let folder = tempfile::tempdir().unwrap();
        let with = |token: &str, changed: Value| file(&sandbox, folder.path(), token, &changed);
        let usual = json!({ "audience": AUDIENCE });
        let good = token(&sandbox, &usual, &json!({}));
        let changed = |claims: Value| with(&token(&sandbox, &usual, &claims), json!({}));
        let forged = Issuer::new(sandbox.issuer_url()).unwrap();
        let forged = forged.sign(sandbox.issuer().verify(&good).unwrap().as_map()).unwrap();
        let account = |email: &str| {
            let url = sandbox.provider_url("gcp");
            json!({"service_account_impersonation_url":
                format!("{url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken")})
        };
        let cases = [
            (with(&good, json!({})), ""),
            (with(&good, account("a@p.iam.gserviceaccount.com")), ""),
            (with(&good, account("nobody@example.test")), "Gaia id not found"),
            (changed(json!({"aud": "another"})), "does not match the expected audience"),
            (changed(json!({"aud": format!("https:{AUDIENCE}")})), ""),
            (changed(json!({"exp": 1})), "stale to sign-in"),
            (changed(json!({"iss": "https://issuer.example.test"})), "does not match the expected ones"),
            (changed(json!({"sub": "x".repeat(128)})), "exceeds the 127 bytes limit"),
            (with(&forged, json!({})), "Invalid signature"),
            (with(&good, json!({"audience": "//iam.googleapis.com/projects/p"})), "full resource name"),
        ];
        let files: Vec<PathBuf> = cases.iter().map(|(file, _)| file.clone()).collect();
        for (answer, (_, said)) in google(&python, &files).await.iter().zip(cases) {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.is_empty() == said.is_empty() && error.contains(said), "{said}: {answer}");
        }
    });
}

/// What `gcloud auth print-access-token` asks for (`CLOUDSDK_SCOPES` and `REAUTH_SCOPE` of its `config.py`).
const SCOPES_OF_GCLOUD: &[&str] = &[
    "openid",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/appengine.admin",
    "https://www.googleapis.com/auth/sqlservice.login",
    "https://www.googleapis.com/auth/compute",
    "https://www.googleapis.com/auth/accounts.reauth",
];

#[test]
fn google_auth_has_the_scopes_of_gcloud_and_no_others() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let folder = tempfile::tempdir().unwrap();
        let good = token(&sandbox, &json!({ "audience": AUDIENCE }), &json!({}));
        let url = sandbox.provider_url("gcp");
        let account = "a@p.iam.gserviceaccount.com";
        let impersonated = json!({"service_account_impersonation_url":
            format!("{url}/v1/projects/-/serviceAccounts/{account}:generateAccessToken")});
        for changed in [json!({}), impersonated] {
            let file = file(&sandbox, folder.path(), &good, &changed);
            let with = |scopes: &[&str]| json!({"file": file, "scopes": scopes});
            let cases = [
                (with(SCOPES_OF_GCLOUD), true),
                (with(&["https://www.googleapis.com/auth/cloud-platform"]), true),
                (with(&["cloud-platform"]), false),
                (with(&["https://www.googleapis.com/auth/"]), false),
                (with(&["openid", "https://scopes.example.test/auth/cloud-platform"]), false),
            ];
            let asked: Vec<&Value> = cases.iter().map(|(asked, _)| asked).collect();
            for (answer, (asked, good)) in google(&python, &asked).await.iter().zip(&cases) {
                assert_eq!(answer["error"].is_null(), *good, "{asked}: {answer}");
            }
        }
    });
}

#[test]
fn google_auth_becomes_a_user_of_a_workspace_and_reads_each_refusal() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let folder = tempfile::tempdir().unwrap();
        let good = token(&sandbox, &json!({ "audience": AUDIENCE }), &json!({}));
        let file = file(&sandbox, folder.path(), &good, &json!({}));
        let asked = |account: &str, subject: &str| json!({"file": file, "account": account, "subject": subject, "route": sandbox.provider_url("gcp")});
        let account = "a@p.iam.gserviceaccount.com";
        let cases = [
            (asked(account, "ada@example.test"), ""),
            (asked(account, "ada"), "Invalid email or User ID"),
            (asked("nobody@example.test", "ada@example.test"), "Gaia id not found"),
        ];
        let asked: Vec<&Value> = cases.iter().map(|(asked, _)| asked).collect();
        for (answer, (_, said)) in google(&python, &asked).await.iter().zip(&cases) {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.is_empty() == said.is_empty() && error.contains(said), "{said}: {answer}");
        }
        let known = sandbox.providers().iter().flat_map(|service| service.issued());
        assert!(known.into_iter().any(|one| one.what == "an access token of ada@example.test"));
    });
}
