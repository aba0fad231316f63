//! Buildkite's REST API on a token about itself, as pybuildkite sees it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sandbox;
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/buildkite_client.py");

#[test]
fn pybuildkite_reads_a_refusal_of_a_token_that_is_none() {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async {
        let sandbox = sandbox(BTreeMap::new()).await;
        let asked = json!({"url": sandbox.provider_url("buildkite"), "token": "bktx_nobody-gave-this"});
        let ended = output(command(&python, &[SCRIPT]), asked.to_string()).await;
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(answer, json!({"status": 401}));
    });
}
