//! The secrets managers, as boto3 and the clients of Google and Azure see them.

use buildkite_dataflow::config::credential::ProviderRequest;
use buildkite_dataflow::rehearse::sandbox::KNOWN_AS;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::{components, tls};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/secrets_client.py");
const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/stores_client.py");
const READER: &str = "arn:aws:iam::123456789012:role/reader";

fn stored(store: &str, name: &str) -> ProviderRequest {
    let block = json!({"source": "reader", "store": store, "region": "eu-west-1",
        "values": [{"name": name, "env": "A"}]});
    ProviderRequest::Secrets(serde_json::from_value(block).unwrap())
}

fn signing(key: &str, algorithm: &str) -> ProviderRequest {
    let kms = json!({"key": key, "region": "eu-west-1", "algorithm": algorithm});
    let block = json!({"issuer": "https://login.example.test", "grant": "private-key-jwt", "client-id": "svc",
        "private-key": {"source": "reader", "kms": kms}});
    ProviderRequest::OAuth(serde_json::from_value(block).unwrap())
}

#[test]
fn boto3_reads_what_is_there_has_texts_signed_and_is_told_what_is_not() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox([].into()).await;
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{KNOWN_AS}")},
        }]});
        sandbox.sts().add(READER, Role { trust, max_duration: 7200 });
        let asked = [
            stored("aws-secrets-manager", "prod/db"),
            stored("aws-ssm", "/prod/key"),
            signing("alias/rsa", "RS256"),
            signing("alias/p256", "ES256"),
        ];
        sandbox.provider("secrets").unwrap().prepare(&asked);
        let asked = json!({"url": sandbox.url(), "role": READER,
            "token": token(&sandbox, &json!({"audience": "sts.amazonaws.com"}), &json!({})),
            "secret": "prod/db", "parameter": "/prod/key"});
        let ended = output(command(&python, &[SCRIPT]), asked.to_string()).await;
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let issued = sandbox.provider("secrets").unwrap().issued();
        let values: Vec<&str> = issued.iter().map(|one| one.secret.expose()).collect();
        for read in ["secret", "parameter"] {
            assert!(values.contains(&answer[read].as_str().unwrap()), "{answer}");
        }
        for (what, code) in [
            ("no-secret", "ResourceNotFoundException"),
            ("no-parameter", "ParameterNotFound"),
            ("rsa", "verified"),
            ("p256", "verified"),
            ("other-algorithm", "InvalidKeyUsageException"),
            ("no-key", "NotFoundException"),
            ("forged-signer", "InvalidSignatureException"),
            ("forged", "InvalidSignatureException"),
            ("unknown", "UnrecognizedClientException"),
        ] {
            assert_eq!(answer[what], code, "{answer}");
        }
    });
}

#[test]
fn the_clients_of_google_and_azure_read_what_is_there_and_are_told_what_is_not() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox([].into()).await;
        let folder = tempfile::tempdir().unwrap();
        // Neither an authority nor a vault of Azure is asked without TLS.
        let front = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let secure = format!("https://localhost:{}", front.local_addr().unwrap().port());
        let back = sandbox.url().trim_start_matches("http://").to_owned();
        tokio::spawn(tls::serve(front, tls::acceptor(folder.path()), back));
        let (google, azure) = ("projects/p/secrets/api-key", "train-api-key");
        let vault = json!({"source": "reader", "store": "azure-key-vault", "address": secure,
            "values": [{"name": azure, "env": "A"}]});
        let manager = json!({"source": "reader", "store": "gcp-secret-manager",
            "values": [{"name": google, "env": "B"}]});
        let asked =
            [vault, manager].map(|block| ProviderRequest::Secrets(serde_json::from_value(block).unwrap()));
        sandbox.provider("secrets").unwrap().prepare(&asked);

        let good = token(&sandbox, &json!({ "audience": super::google::AUDIENCE }), &json!({}));
        let file = super::google::file(&sandbox, folder.path(), &good, &json!({}));
        let usual = json!({"audience": "api://AzureADTokenExchange", "subject_claim": "pipeline_id"});
        let subject = folder.path().join("subject");
        std::fs::write(&subject, token(&sandbox, &usual, &json!({}))).unwrap();
        let asked = json!({
            "google": {"url": sandbox.provider_url("secrets"), "file": file, "name": google},
            "azure": {"url": format!("{secure}/secrets"), "authority": format!("{secure}/azure"), "name": azure,
                "tenant_id": super::microsoft::TENANT, "client_id": super::microsoft::CLIENT,
                "token_file_path": subject},
        });
        let mut python = command(&python, &[STORES]);
        python.env("REQUESTS_CA_BUNDLE", folder.path().join("ca.pem"));
        let ended = output(python, asked.to_string()).await;
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let issued = sandbox.provider("secrets").unwrap().issued();
        let values: Vec<&str> = issued.iter().map(|one| one.secret.expose()).collect();
        for store in ["google", "azure"] {
            assert!(values.contains(&answer[store]["value"].as_str().unwrap()), "{answer}");
        }
        let (google, azure) = (&answer["google"], &answer["azure"]);
        assert_eq!((&google["missing"], &google["unknown"]), (&json!("NotFound"), &json!("Unauthorized")));
        assert_eq!(azure["name"], "train-api-key");
        assert_eq!(azure["missing"], "ResourceNotFoundError");
    });
}
