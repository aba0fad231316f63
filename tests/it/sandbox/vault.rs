//! The Vault, as hvac sees it.

use std::path::Path;

use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use buildkite_dataflow::rehearse::sandbox::vault::ROOT;
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/vault_client.py");

/// What hvac makes of each login: the answer of each further call, or the class and words of an error.
async fn hvac(python: &Path, sandbox: &Sandbox, logins: &[Value]) -> Vec<Value> {
    let asked = json!({"url": sandbox.provider_url("vault"), "root": ROOT, "logins": logins});
    let ended = output(command(python, &[SCRIPT]), asked.to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(answers.len(), logins.len());
    answers
}

/// Runs a test that needs hvac.
fn with_hvac(test: impl AsyncFnOnce(&Path, &Sandbox)) {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async { test(&python, &sandbox([].into()).await).await });
}

fn jwt(sandbox: &Sandbox, changed: &Value) -> String {
    token(sandbox, &json!({"audience": "vault"}), changed)
}

#[test]
fn hvac_logs_in_reads_both_kinds_of_kv_signs_wraps_and_gives_back() {
    with_hvac(async |python, sandbox| {
        let login = json!({"role": "train", "jwt": jwt(sandbox, &json!({}))});
        let answer = hvac(python, sandbox, &[login]).await.remove(0);
        assert_eq!(answer["v1"], json!({"user": "loader"}), "{answer}");
        assert_eq!(answer["v2"], json!({"api_key": "the-second"}));
        assert_eq!(answer["first"], json!({"api_key": "the-first"}));
        assert_eq!(answer["wrapped"], json!({"user": "loader"}));
        assert_eq!((&answer["type"], &answer["known"]), (&json!("service"), &json!([true, false])));
        assert_eq!((&answer["after"], &answer["missing"]), (&json!("Forbidden"), &json!("InvalidPath")));
        assert_eq!(answer["unwrapped-twice"], "InvalidRequest");
        let signed = json!({"rsa-2048": [true, true], "ecdsa-p256": [true, true]});
        assert_eq!(answer["by-accessor"], json!([204, ["No token found with this accessor"]]), "{answer}");
        assert_eq!(answer["whose"], json!(["auth/jwt/login", {"role": "train"}, "", true]), "{answer}");
        assert_eq!(answer["nobodys"], "Forbidden", "{answer}");
        assert_eq!((&answer["signed"], &answer["no-key"]), (&signed, &json!("InvalidPath")), "{answer}");
    });
}

#[test]
fn hvac_reads_each_refusal_of_a_login() {
    with_hvac(async |python, sandbox| {
        let changed = |claims: Value| json!({"role": "train", "jwt": jwt(sandbox, &claims)});
        let strange = Issuer::new(sandbox.issuer_url()).unwrap();
        let real = jwt(sandbox, &json!({}));
        let forged = strange.sign(sandbox.issuer().verify(&real).unwrap().as_map()).unwrap();
        let cases = [
            (changed(json!({"aud": "another"})), "does not match any bound audience"),
            (changed(json!({"exp": 1})), "token is expired"),
            (changed(json!({"nbf": 1_i64 << 40})), "not yet valid"),
            (changed(json!({"pipeline_slug": "docs"})), "claim \"pipeline_slug\" does not match"),
            (changed(json!({"iss": "http://issuer.internal"})), "invalid issuer"),
            (json!({"role": "train", "jwt": forged}), "no known key successfully validated"),
            (json!({"role": "none", "jwt": real}), "role \"none\" could not be found"),
            (json!({"role": "train", "jwt": "no-token"}), "malformed jwt"),
        ];
        let asked: Vec<Value> = cases.iter().map(|(login, _)| login.clone()).collect();
        for (answer, (_, said)) in hvac(python, sandbox, &asked).await.iter().zip(cases) {
            assert_eq!(answer["error"], "InvalidRequest", "{answer}");
            assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
        }
        assert!(sandbox.provider("vault").unwrap().issued().is_empty());
    });
}

#[test]
fn hvac_learns_that_a_batch_token_cannot_be_revoked() {
    with_hvac(async |python, sandbox| {
        let login = json!({"role": "batch", "jwt": jwt(sandbox, &json!({}))});
        let answer = hvac(python, sandbox, &[login]).await.remove(0);
        assert_eq!(
            (&answer["type"], &answer["revoked"]),
            (&json!("batch"), &json!("InvalidRequest")),
            "{answer}"
        );
    });
}
