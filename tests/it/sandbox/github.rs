//! GitHub's API for apps, as the client `PyGithub` sees it.

use buildkite_dataflow::rehearse::sandbox::keys;
use serde_json::{Value, json};

use super::sandbox;
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/github_client.py");

/// What `PyGithub` makes of it, as an app with this key; `None` where it is not installed.
fn pygithub(key: &str, more: &Value) -> Option<Value> {
    let python = components::find("venv/bin/python")?;
    run(async {
        let sandbox = sandbox(std::collections::BTreeMap::new()).await;
        let mut asked = json!({
            "url": sandbox.provider_url("github"), "app": 7, "key": key, "repository": "acme/web",
            "permissions": {"contents": "read"},
        });
        asked.as_object_mut().unwrap().extend(super::map(more));
        let ended = output(command(&python, &[SCRIPT]), asked.to_string()).await;
        Some(serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}")))
    })
}

#[test]
fn pygithub_mints_a_token_as_an_app_and_uses_it() {
    let Some(answer) = pygithub(keys::pem().expose(), &json!({})) else { return };
    assert_eq!(answer["permissions"], json!({"contents": "read"}), "{answer}");
    let life = answer["expires"].as_i64().unwrap() - chrono::Utc::now().timestamp();
    assert!((3500..=3600).contains(&life), "{life}");
}

#[test]
fn pygithub_reads_a_refusal_of_another_key_and_of_a_token_that_is_none() {
    let other = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let other = rsa::pkcs8::EncodePrivateKey::to_pkcs8_pem(&other, rsa::pkcs8::LineEnding::LF).unwrap();
    let Some(answer) = pygithub(&other, &json!({})) else { return };
    assert_eq!(answer, json!({"status": 401, "message": "A JSON web token could not be decoded"}));
    let answer = pygithub("", &json!({"token": "ghs_nobody-gave-this"})).unwrap();
    assert_eq!(answer, json!({"status": 401, "message": "Bad credentials"}));
}
