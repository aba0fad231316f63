//! Entra, as azure-identity sees it.

use std::collections::BTreeMap;

use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::{components, tls};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/azure_client.py");
pub(super) const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
pub(super) const TENANT: &str = "99999999-8888-4777-8666-555555555555";

#[test]
fn azure_identity_exchanges_a_token_and_reads_each_refusal() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let folder = tempfile::tempdir().unwrap();
        // It takes no authority that does not speak TLS.
        let front = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let authority = format!("https://localhost:{}/azure", front.local_addr().unwrap().port());
        let back = sandbox.url().trim_start_matches("http://").to_owned();
        tokio::spawn(tls::serve(front, tls::acceptor(folder.path()), back));
        let with = |token: &str, changed: Value| {
            let path = folder.path().join(uuid::Uuid::new_v4().to_string());
            std::fs::write(&path, token).unwrap();
            let mut arguments = super::map(&json!({"authority": authority, "tenant_id": TENANT,
                "client_id": CLIENT, "token_file_path": path}));
            arguments.extend(super::map(&changed));
            Value::from(arguments)
        };
        let usual = json!({"audience": "api://AzureADTokenExchange", "subject_claim": "pipeline_id"});
        let good = token(&sandbox, &usual, &json!({}));
        let changed = |claims: Value| with(&token(&sandbox, &usual, &claims), json!({}));
        let forged = Issuer::new(sandbox.issuer_url()).unwrap();
        let forged = forged.sign(sandbox.issuer().verify(&good).unwrap().as_map()).unwrap();
        let subject = "organization:acme:pipeline:web:ref:refs/heads/main:commit:4f1c:step:train";
        let cases = [
            (with(&good, json!({})), ""),
            (changed(json!({"aud": "api://AzureADTokenExchangeChina"})), ""),
            (changed(json!({"aud": "another"})), "AADSTS700212"),
            (changed(json!({"iss": "https://issuer.example.test"})), "AADSTS700211"),
            (changed(json!({ "sub": subject })), "AADSTS700213"),
            (changed(json!({"exp": 1})), "AADSTS700024"),
            (with(&forged, json!({})), "AADSTS50013"),
            (with("no.token.atall", json!({})), "AADSTS50027"),
            (with(&good, json!({"client_id": "nobody"})), "AADSTS700016"),
            (with(&good, json!({"tenant_id": "nowhere"})), "AADSTS90002"),
            (with(&good, json!({"scope": "https://storage.azure.com"})), "AADSTS1002012"),
        ];
        let arguments: Vec<&Value> = cases.iter().map(|(arguments, _)| arguments).collect();
        let mut python = command(&python, &[SCRIPT]);
        python.env("REQUESTS_CA_BUNDLE", folder.path().join("ca.pem"));
        let ended = output(python, json!(arguments).to_string()).await;
        let answers: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        for (answer, (_, said)) in answers.iter().zip(cases) {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.is_empty() == said.is_empty() && error.contains(said), "{said}: {answer}");
        }
        assert_eq!(answers.len(), 11);
    });
}
