//! What the stories of the providers that lend one token have in common.

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use super::hooks::Stage;

/// A stage on which `provider` is in the sandbox: the origins that it is known by lead there.
pub(crate) fn stage(provider: &str) -> Stage {
    let mut stage = Stage::new();
    let service = stage.sandbox.providers().iter().find(|service| service.provider() == provider).unwrap();
    let to = |origin: &str| format!("{}{}", stage.sandbox.provider_url(provider), service.below(origin));
    let routes: Vec<Value> =
        service.origins().iter().map(|origin| json!({"from": origin, "to": to(origin)})).collect();
    stage.config["network"] = json!({ "routes": routes });
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage.config["limits"] = json!({"duration": "24h"});
    stage
}

/// A credential that others are made with: a secret or, where asked for, a private key.
pub(crate) fn held(stage: &Stage, private_key: bool) -> Value {
    let mut oauth = json!({"issuer": stage.sandbox.provider_url("oauth"), "grant": "token-exchange"});
    if private_key {
        oauth["audience"] = json!("urn:rehearsal:private-key");
    }
    json!({"name": "held", "export": false, "oauth": oauth})
}

/// The field of it that other credentials name.
pub(crate) fn of_held() -> Value {
    json!({"source": "held", "field": "token"})
}

#[track_caller]
pub(crate) fn lends(stage: &mut Stage, variable: &str) -> String {
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage.variable(variable).unwrap()
}

/// Gives back after the command; what became of the last lease of the block.
#[track_caller]
pub(crate) fn settles(stage: &mut Stage, variable: &str) -> Settlement {
    stage.command_ended(0);
    let ended = stage.hook("post-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable(variable), None);
    let settlement = settled(stage);
    match settlement {
        // What could not be given back is tried again later.
        Settlement::Failed { .. } => assert_eq!(stage.open_journals().len(), 1),
        _ => stage.nothing_left(),
    }
    settlement
}

/// What became of the last credential of the block.
fn settled(stage: &Stage) -> Settlement {
    let last = stage.block["credentials"].as_array().unwrap().len().to_string();
    let settlements = stage.records().pop().unwrap().end.unwrap().settlements;
    settlements.into_iter().find(|one| one.request == last).unwrap().settlement
}

/// Whether the provider knows that what it gave last was given back.
pub(crate) fn is_revoked(stage: &Stage, provider: &str) -> bool {
    let service = stage.sandbox.providers().iter().find(|service| service.provider() == provider).unwrap();
    service.issued().pop().unwrap().revoked
}

/// One bad answer: the status and identifier that the hook ends with, and what it says.
pub(crate) type Bad = (Response, i32, &'static str, &'static str);

/// Each answer at `path`: the step is refused as said, nothing is exported, and nothing stays unsettled.
#[track_caller]
pub(crate) fn refuses_each(path: &str, make: impl Fn() -> Stage, table: Vec<Bad>) {
    for (answer, status, ident, told) in table {
        let mut stage = make();
        stage.fault(path, 999, answer);
        let text = stage.refuses(status, ident);
        assert!(text.contains(told), "{told}: {text}");
        let last = settled(&stage);
        let expected: &[&str] = match ident {
            "provider-refused" | "token-rejected" => &["not-issued"],
            _ => &["not-issued", "unknown"],
        };
        assert!(expected.contains(&last.word()), "{told}: {last:?}");
    }
}

/// What no provider documents and every one may answer.
pub(crate) fn no_answers() -> Vec<Bad> {
    let html = |status| Response::new(status, "text/html", "<html>Sign in</html>");
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(302) };
    vec![
        (html(200), 105, "provider-malformed", "no JSON (text/html"),
        (html(503), 106, "provider-busy", "503"),
        (Response::json(200, &json!({})), 105, "provider-malformed", "lacks what was asked for"),
        (redirect, 105, "provider-malformed", "to `evil.test`, which is not followed"),
        (Response { cut: true, ..html(200) }, 106, "provider-unreachable", "there is no answer"),
    ]
}
