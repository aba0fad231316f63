//! The Vault, as hvac sees it; and a real one, of which hvac must see the same.

use std::path::PathBuf;

use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use buildkite_dataflow::rehearse::sandbox::vault::ROOT;
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::components;
use crate::support::vault::{self, Real};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/vault_client.py");

/// What hvac makes of each login: the answer of each further call, or the class and words of an error.
async fn hvac(server: &Server, logins: &[Value]) -> Vec<Value> {
    let asked = json!({"url": server.url, "root": server.root, "logins": logins});
    let ended = output(command(&server.python, &[SCRIPT]), asked.to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(answers.len(), logins.len());
    answers
}

/// A Vault, and the Python that has hvac.
struct Server {
    python: PathBuf,
    url: String,
    root: &'static str,
}

/// Runs a test that needs hvac: of the sandbox's server, and of a real one where there is one.
fn with_hvac(test: &impl AsyncFn(&Server, &Sandbox)) {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox([].into()).await;
        let ours = Server { python: python.clone(), url: sandbox.provider_url("vault"), root: ROOT };
        test(&ours, &sandbox).await;
        let issuer = sandbox.issuer_url().to_owned();
        // It asks the issuer for its keys meanwhile.
        let real = tokio::task::spawn_blocking(move || Real::start(&issuer)).await.unwrap();
        if let Some(real) = real {
            test(&Server { python, url: real.url.clone(), root: vault::ROOT }, &sandbox).await;
        }
    });
}

fn jwt(sandbox: &Sandbox, changed: &Value) -> String {
    token(sandbox, &json!({"audience": "vault"}), changed)
}

#[test]
fn hvac_logs_in_reads_both_kinds_of_kv_signs_wraps_and_gives_back() {
    with_hvac(&async |server, sandbox| {
        let login = json!({"role": "train", "jwt": jwt(sandbox, &json!({}))});
        let answer = hvac(server, &[login]).await.remove(0);
        assert_eq!(answer["v1"], json!({"user": "loader"}), "{answer}");
        assert_eq!(answer["v2"], json!({"api_key": "the-second"}));
        assert_eq!(answer["first"], json!({"api_key": "the-first"}));
        assert_eq!(answer["wrapped"], json!({"user": "loader"}));
        assert_eq!((&answer["type"], &answer["known"]), (&json!("service"), &json!([true, false])));
        assert_eq!((&answer["after"], &answer["missing"]), (&json!("Forbidden"), &json!("InvalidPath")));
        let again = (&answer["unwrapped-by-nobody"], &answer["unwrapped-twice"]);
        assert_eq!(again, (&json!("Forbidden"), &json!("InvalidRequest")));
        let signed = json!({"rsa-2048": [true, true], "ecdsa-p256": [true, true]});
        assert_eq!(answer["by-accessor"], json!([204, ["No token found with this accessor"]]), "{answer}");
        assert_eq!(answer["whose"], json!(["auth/jwt/login", {"role": "train"}, "", true]), "{answer}");
        assert_eq!(answer["nobodys"], "InvalidRequest", "{answer}");
        assert_eq!((&answer["signed"], &answer["no-key"]), (&signed, &json!("InvalidRequest")), "{answer}");
    });
}

#[test]
fn hvac_reads_each_refusal_of_a_login() {
    with_hvac(&async |server, sandbox| {
        let changed = |claims: Value| json!({"role": "train", "jwt": jwt(sandbox, &claims)});
        let strange = Issuer::new(sandbox.issuer_url()).unwrap();
        let real = jwt(sandbox, &json!({}));
        let forged = strange.sign(sandbox.issuer().verify(&real).unwrap().as_map()).unwrap();
        let cases = [
            (changed(json!({"aud": "another"})), "does not match any expected audience"),
            (changed(json!({"exp": 1})), "token is expired"),
            (changed(json!({"nbf": 1_i64 << 40})), "not yet valid"),
            (changed(json!({"pipeline_slug": "docs"})), "claim \"pipeline_slug\" does not match"),
            (changed(json!({"iss": "http://issuer.internal"})), "invalid issuer"),
            (json!({"role": "train", "jwt": forged}), "failed to verify id token signature"),
            (json!({"role": "none", "jwt": real}), "role \"none\" could not be found"),
            (json!({"role": "train", "jwt": "no-token"}), "compact JWS format must have three parts"),
        ];
        let asked: Vec<Value> = cases.iter().map(|(login, _)| login.clone()).collect();
        for (answer, (_, said)) in hvac(server, &asked).await.iter().zip(cases) {
            assert_eq!(answer["error"], "InvalidRequest", "{answer}");
            assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
        }
        assert!(sandbox.provider("vault").unwrap().issued().is_empty());
    });
}

#[test]
fn hvac_learns_that_a_batch_token_cannot_be_revoked() {
    with_hvac(&async |server, sandbox| {
        let login = json!({"role": "batch", "jwt": jwt(sandbox, &json!({}))});
        let answer = hvac(server, &[login]).await.remove(0);
        assert_eq!(
            (&answer["type"], &answer["revoked"]),
            (&json!("batch"), &json!("InvalidRequest")),
            "{answer}"
        );
    });
}
