//! The issuer, as `PyJWT` sees it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sandbox;
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/verify_token.py");

#[test]
fn pyjwt_finds_the_keys_by_discovery_and_verifies_a_token_of_the_agents_endpoint() {
    let (Some(python), Some(agent)) =
        (components::find("venv/bin/python"), components::find("buildkite-agent-v3"))
    else {
        return;
    };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let arguments =
            ["oidc", "request-token", "--skip-redaction", "--audience", "urn:x", "--claim", "build_id"];
        let mut request = command(&agent, &arguments);
        request.envs(super::job_env(&sandbox));
        let minted = output(request, "").await;
        let asked =
            json!({"issuer": sandbox.issuer_url(), "audience": "urn:x", "token": minted.stdout.trim()});
        let verified = output(command(&python, &[SCRIPT]), &asked.to_string()).await;
        let claims: Value = serde_json::from_str(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"));
        assert_eq!(claims["build_id"], "build-1");
        assert_eq!(
            claims["sub"],
            "organization:acme:pipeline:web:ref:refs/heads/main:commit:4f1c0ffee:step:train"
        );
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    });
}
