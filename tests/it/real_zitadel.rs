//! The `oauth` provider against zitadel/oidc, an OpenID provider in Go whose token exchange nobody here wrote.

use std::process::Command;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::real_oauth::{Real, SECRET};
use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::lent::{held, lends, of_held, settles, stage};

/// Asks for a token exchange, with these keys beside the usual ones.
fn asks(more: &Value) -> Option<(Stage, Real)> {
    let mut stage = stage("oauth");
    let program = components::find("zitadel-oidc")?;
    let asked = json!({"jobs": stage.sandbox.issuer_url(), "secret": SECRET});
    let real = Real::start(Command::new(program), &asked)?;
    stage.config["endpoints"] = json!([stage.sandbox.url(), real.issuer]);
    let mut oauth = json!({"issuer": real.issuer, "grant": "token-exchange", "client-id": "svc",
        "client-secret": of_held(), "requested-token-type": "access_token", "audience": "svc", "env": "API_TOKEN"});
    let oauth_keys = oauth.as_object_mut().unwrap();
    oauth_keys.extend(more.as_object().unwrap().clone());
    oauth_keys.retain(|_, value| !value.is_null());
    stage.block = json!({"credentials": [held(&stage, false), {"oauth": oauth}]});
    let answer = json!({"access_token": SECRET, "expires_in": 3600, "issued_token_type": "x"});
    stage.fault("/oauth/token", 1, Response::json(200, &answer));
    Some((stage, real))
}

#[test]
fn the_jobs_token_is_exchanged_for_one_that_it_says_is_gone_at_the_end() {
    let Some((mut stage, _real)) = asks(&json!({})) else { return };
    assert!(lends(&mut stage, "API_TOKEN").len() > 20);
    let settled = settles(&mut stage, "API_TOKEN");
    assert!(matches!(settled, Settlement::Revoked { .. }), "{settled:?}");
}

#[test]
fn its_refusals_are_told_with_what_to_do() {
    let check = |more: &Value, ident: &str, told: &str| {
        let Some((mut stage, _real)) = asks(more) else { return };
        let text = stage.refuses(105, ident);
        assert!(text.contains(told), "{text}");
    };
    check(&json!({"token": {"audience": "another"}}), "token-rejected", "subject_token is invalid");
    check(&json!({"client-id": "nobody"}), "provider-refused", "`invalid_client`");
    check(
        &json!({"subject-token-type": "urn:acme:job"}),
        "token-rejected",
        "subject_token_type is not supported",
    );
    // It takes tokens only whose issuer is their subject.
    check(
        &json!({"grant": "jwt-bearer", "requested-token-type": null, "audience": null}),
        "token-rejected",
        "assertion invalid",
    );
}
