//! The `oauth` provider: each grant, each refusal, and how a token is given back.

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::faults::Fault;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::hooks::Stage;

const TOKEN: &str = "/token";

/// A stage whose host config allows the sandbox's server.
fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage
}

/// A block that asks the sandbox's server, found by its issuer.
fn asks(stage: &Stage, more: &Value) -> Value {
    let mut oauth =
        json!({"issuer": stage.sandbox.provider_url("oauth"), "grant": "token-exchange", "env": "API_TOKEN"});
    oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"oauth": oauth})
}

fn block(stage: &mut Stage, more: &Value) {
    stage.block = json!({"credentials": [asks(stage, more)]});
}

/// Lends, and gives back after the command; the words of the settlements.
#[track_caller]
fn settles(stage: &mut Stage) -> Vec<Settlement> {
    stage.command_ended(0);
    let ended = stage.hook("post-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable("API_TOKEN"), None);
    let end = stage.records().pop().unwrap().end.unwrap();
    let settlements: Vec<Settlement> = end.settlements.into_iter().map(|one| one.settlement).collect();
    if !settlements.iter().any(|one| matches!(one, Settlement::Failed { .. })) {
        stage.nothing_left();
    }
    settlements
}

#[track_caller]
fn lends(stage: &mut Stage) {
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
}

#[track_caller]
fn lends_and_revokes(stage: &mut Stage) {
    lends(stage);
    assert!(stage.variable("API_TOKEN").unwrap().starts_with("at_"));
    let settlements = settles(stage);
    assert!(matches!(settlements.last(), Some(Settlement::Revoked { .. })), "{settlements:?}");
    assert!(stage.issued("oauth").pop().unwrap().revoked);
}

#[test]
fn the_jobs_token_is_exchanged_and_what_it_gave_is_revoked_for_sure() {
    for more in [
        json!({}),
        json!({"client-id": "svc", "audience": "urn:api", "resource": ["urn:a", "urn:b"], "scope": "read"}),
        json!({"grant": "jwt-bearer"}),
    ] {
        let mut stage = stage();
        block(&mut stage, &more);
        lends_and_revokes(&mut stage);
    }
}

#[test]
fn a_token_may_be_handed_over_as_a_file() {
    let mut stage = stage();
    block(&mut stage, &json!({"file": "API_TOKEN_FILE"}));
    lends(&mut stage);
    let path = stage.variable("API_TOKEN_FILE").unwrap();
    assert_eq!(std::fs::read_to_string(&path).ok(), stage.variable("API_TOKEN"));
    settles(&mut stage);
    assert!(!std::path::Path::new(&path).exists());
}

/// Two credentials: one that holds what the other is made with.
fn made_with(stage: &mut Stage, source: &Value, more: &Value) {
    let mut first = asks(stage, source);
    first["name"] = json!("held");
    first["export"] = json!(false);
    stage.block = json!({"credentials": [first, asks(stage, more)]});
}

#[test]
fn a_client_secret_of_another_credential_is_sent_either_way() {
    for auth in ["basic", "post"] {
        let mut stage = stage();
        let secret = json!({"source": "held", "field": "token"});
        let more = json!({"grant": "client-credentials", "client-id": "svc", "client-secret": secret, "client-auth": auth});
        made_with(&mut stage, &json!({}), &more);
        lends_and_revokes(&mut stage);
    }
}

#[test]
fn of_two_secrets_the_newest_is_tried_first_and_the_other_where_it_is_refused() {
    let mut stage = stage();
    let field = json!({"source": "held", "field": "token"});
    let more = json!({"grant": "client-credentials", "client-id": "svc", "client-secret": [field, field]});
    let other = format!("{}/oauth/first/access_token", stage.sandbox.url());
    made_with(&mut stage, &json!({"token-endpoint": other}), &more);
    stage.block["credentials"][0]["oauth"].as_object_mut().unwrap().remove("issuer");
    let refusal = json!({"error": "invalid_client", "error_description": null, "error_uri": null});
    stage.fault(TOKEN, 1, Response::json(401, &refusal));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(ended.text.contains("the newest client secret was refused"), "{}", ended.text);
    assert_eq!(stage.sandbox.faults().asked(TOKEN), 2);
    settles(&mut stage);
}

#[test]
fn a_client_secret_that_was_stored_with_a_line_break_is_told_where_it_is_refused() {
    let mut stage = stage();
    let vault = json!({"address": stage.sandbox.provider_url("vault"), "role": "train",
        "secrets": [{"path": "secret/data/client", "key": "secret"}]});
    let secret = json!({"source": "kv", "field": "secret"});
    let more = json!({"grant": "client-credentials", "client-id": "svc", "client-secret": secret});
    stage.block =
        json!({"credentials": [{"name": "kv", "export": false, "vault": vault}, asks(&stage, &more)]});
    stage.prepare();
    stage.fault(
        "secret/data/client",
        9,
        Response::json(200, &json!({"data": {"secret": "hunter2hunter2\n"}})),
    );
    let refusal = json!({"error": "unauthorized_client", "error_description": "Invalid client or Invalid client credentials"});
    stage.fault(TOKEN, 9, Response::json(401, &refusal));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("the client secret `kv.secret` ends in a line break"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn either_document_of_a_server_is_enough_and_nothing_else_in_it_is_read() {
    for answer in [
        Response::json(403, &json!({"error": null})),
        Response::json(404, &json!({})),
        Response::new(503, "text/plain", ""),
        Response::new(200, "text/html", "<html>Sign in</html>"),
        Response::json(200, &json!({"issuer": null})),
    ] {
        let mut stage = stage();
        block(&mut stage, &json!({}));
        let issuer = stage.sandbox.provider_url("oauth");
        let odd = json!({"issuer": issuer, "token_endpoint": format!("{issuer}/token"), "introspection_endpoint": "TBD",
            "revocation_endpoint": 7, "jwks_uri": null, "scopes_supported": {}, "grant_types_supported": "all"});
        stage.fault("/oauth/.well-known/openid-configuration", 9, answer);
        stage.fault("/.well-known/oauth-authorization-server/oauth", 9, Response::json(200, &odd));
        lends(&mut stage);
        assert!(matches!(settles(&mut stage)[..], [Settlement::Expires { .. }]));
    }
}

#[test]
fn a_private_key_of_another_credential_signs_for_the_client_until_the_end() {
    let mut stage = stage();
    let key = json!({"source": "held", "field": "token"});
    let more = json!({"grant": "private-key-jwt", "client-id": "svc", "private-key": key, "key-id": "k1"});
    made_with(&mut stage, &json!({"audience": "urn:rehearsal:private-key"}), &more);
    lends_and_revokes(&mut stage);
}

#[test]
fn a_key_that_is_none_is_told_by_the_name_of_its_source() {
    let mut stage = stage();
    let key = json!({"source": "held", "field": "token"});
    let more = json!({"grant": "private-key-jwt", "client-id": "svc", "private-key": key});
    made_with(&mut stage, &json!({}), &more);
    let text = stage.refuses(102, "source-unusable");
    assert!(text.contains("the private key of `held` cannot be used") && text.contains("PEM"), "{text}");
    // The other one was lent, and is given back.
    assert!(stage.issued("oauth")[0].revoked);
}

#[test]
fn the_jobs_token_as_the_clients_authentication_leaves_a_token_that_expires() {
    let mut stage = stage();
    block(&mut stage, &json!({"grant": "client-assertion"}));
    lends(&mut stage);
    assert!(matches!(settles(&mut stage)[..], [Settlement::Expires { .. }]));
}

#[test]
fn each_error_of_the_token_endpoint_is_told_with_what_to_do() {
    let check = |status, code: &str, exit, ident, told: &str| {
        let mut stage = stage();
        block(&mut stage, &json!({}));
        let body = json!({"error": code, "error_description": "No such luck"});
        stage.fault(TOKEN, 999, Response::json(status, &body));
        let text = stage.refuses(exit, ident);
        assert!(text.contains(&format!("`{code}`: No such luck")) && text.contains(told), "{text}");
        let end = stage.records()[1].end.clone().unwrap();
        let settled = &end.settlements[0].settlement;
        match exit {
            105 => assert_eq!(*settled, Settlement::NotIssued { reason: code.into() }),
            _ => assert!(matches!(settled, Settlement::Unknown { .. } | Settlement::NotIssued { .. })),
        }
        stage.sandbox.faults().asked(TOKEN).min(6)
    };
    let sub = "sub `organization:acme:pipeline:web:ref:refs/heads/main";
    assert_eq!(check(400, "invalid_grant", 105, "token-rejected", sub), 1);
    assert_eq!(check(400, "invalid_request", 105, "token-rejected", "does not believe this `iss`"), 1);
    assert_eq!(check(401, "invalid_client", 105, "provider-refused", "`client-id`"), 1);
    assert_eq!(check(400, "invalid_target", 105, "provider-refused", "`audience` or `resource`"), 1);
    assert_eq!(check(400, "invalid_scope", 105, "provider-refused", "`scope`"), 1);
    assert_eq!(check(400, "unauthorized_client", 105, "provider-refused", "`grant`"), 1);
    assert_eq!(check(400, "unsupported_grant_type", 105, "provider-refused", "`grant`"), 1);
    assert_eq!(check(503, "temporarily_unavailable", 106, "provider-busy", "503"), 6);
}

#[test]
fn a_server_that_is_no_token_endpoint_is_not_believed() {
    let check = |answer: Response, exit, ident, told: &str| {
        let mut stage = stage();
        block(&mut stage, &json!({}));
        stage.fault(TOKEN, 999, answer);
        let text = stage.refuses(exit, ident);
        assert!(text.contains(told), "{text}");
    };
    let html = |status| Response::new(status, "text/html", "<html>Sign in</html>");
    let json = |body| Response::json(200, &body);
    check(html(200), 105, "provider-malformed", "no JSON (text/html");
    check(html(403), 105, "provider-refused", "403");
    check(json(json!({})), 105, "provider-malformed", "lacks what was asked for");
    check(json(json!({"access_token": ""})), 105, "provider-malformed", "an empty token");
    check(
        json(json!({"access_token": "x-not-a-token", "expires_in": 0})),
        105,
        "provider-malformed",
        "that ended",
    );
    check(
        json(json!({"access_token": "x-not-a-token", "expires_in": -9})),
        105,
        "provider-malformed",
        "that ended",
    );
    check(json(json!({"error": "invalid_grant"})), 105, "provider-malformed", "the error `invalid_grant`");
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(302) };
    check(redirect, 105, "provider-malformed", "to `evil.test`, which is not followed");
}

#[test]
fn metadata_that_does_not_fit_is_not_followed_and_nothing_was_issued() {
    let check = |answer: Response, ident, exit, told: &str| {
        let mut stage = stage();
        block(&mut stage, &json!({}));
        stage.fault("/oauth/.well-known/openid-configuration", 999, answer);
        let text = stage.refuses(exit, ident);
        assert!(text.contains(told), "{text}");
        assert_eq!(stage.sandbox.faults().asked(TOKEN), 0);
        let end = stage.records()[1].end.clone().unwrap();
        assert!(matches!(end.settlements[0].settlement, Settlement::NotIssued { .. }), "{end:?}");
    };
    let metadata =
        |issuer: &str, token: &str| Response::json(200, &json!({"issuer": issuer, "token_endpoint": token}));
    check(
        metadata("https://other.test", "https://other.test/token"),
        "provider-refused",
        105,
        "another issuer",
    );
    check(Response::json(404, &json!({})), "provider-refused", 105, "name the `token-endpoint`");
    check(Response::new(503, "text/plain", ""), "provider-busy", 106, "503");
    check(Response::new(200, "text/html", "<html>"), "provider-malformed", 105, "no JSON");
    let mut stage = stage();
    block(&mut stage, &json!({}));
    let issuer = stage.sandbox.provider_url("oauth");
    stage.fault("/oauth/.well-known/openid-configuration", 999, metadata(&issuer, "https://evil.test/token"));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("a token endpoint at `https://evil.test`"), "{text}");
}

#[test]
fn a_server_that_the_host_does_not_allow_is_never_asked() {
    for key in ["issuer", "token-endpoint", "revocation-endpoint", "introspection-endpoint"] {
        let mut stage = stage();
        block(&mut stage, &json!({key: "https://login.evil.test"}));
        let text = stage.refuses(103, "denied");
        assert!(text.contains("rule `endpoints`") && text.contains("https://login.evil.test"), "{text}");
        assert_eq!(stage.sandbox.faults().asked(TOKEN), 0);
    }
}

#[test]
fn a_block_that_lacks_something_is_refused_before_any_request() {
    let check = |more: Value, told: &str| {
        let mut stage = stage();
        block(&mut stage, &more);
        let text = stage.refuses(102, "bad-configuration");
        assert!(text.contains(told), "{text}");
        assert_eq!(stage.sandbox.faults().asked("/oidc/tokens"), 0);
    };
    check(json!({"grant": "client-credentials"}), "`credentials[0].oauth.client-id`: is missing");
    check(json!({"grant": "exchange"}), "saw `exchange`, expected `token-exchange`");
    check(json!({"token-endpoint": "http://login.example.test"}), "expected an https URL");
    let secret = json!({"source": "vault", "field": "x"});
    let more = json!({"grant": "client-credentials", "client-id": "svc", "client-secret": secret});
    check(more, "no credential here has the name `vault`");
}

#[test]
fn a_token_whose_end_is_not_told_is_bounded_by_what_is_known() {
    let answer = |body: Value| {
        let mut stage = stage();
        block(&mut stage, &json!({"duration": "20m"}));
        stage.fault(TOKEN, 1, Response::json(200, &body));
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        let lease = stage.records()[0].start.clone().unwrap().leases[0].clone();
        let life = (lease.expires_at - lease.issued_at).num_minutes();
        stage.command_ended(0);
        stage.hook("post-command");
        (life, ended.text)
    };
    let (life, text) = answer(json!({"access_token": "opaque-token-of-a-server"}));
    assert!((19..=20).contains(&life) && text.contains("20m is assumed"), "{life} {text}");
    assert!(text.contains("does not say what type of token"), "{text}");
    let stage = Stage::new();
    let claims = json!({"exp": Clock::System.now().timestamp() + 600, "jti": "token-7"});
    let jwt = stage.sandbox.issuer().sign(claims.as_object().unwrap()).unwrap();
    let (life, text) =
        answer(json!({"access_token": jwt, "issued_token_type": "urn:ietf:params:oauth:token-type:jwt"}));
    assert!((9..=10).contains(&life) && !text.contains("assumed"), "{life} {text}");
}

#[test]
fn what_becomes_of_a_token_is_told_as_the_server_tells_it() {
    let check = |path: &str, times, answer: Response| {
        let mut stage = stage();
        block(&mut stage, &json!({}));
        lends(&mut stage);
        stage.fault(path, times, answer);
        settles(&mut stage).remove(0)
    };
    let html = |status| Response::new(status, "text/html", "<html>");
    let error = |code: &str| Response::json(400, &json!({ "error": code }));
    assert!(matches!(check("/introspect", 9, html(403)), Settlement::RevokeAccepted { .. }));
    // So a server answers a client that may not ask.
    let inactive = Response::json(200, &json!({"active": false}));
    assert!(matches!(check("/introspect", 9, inactive.clone()), Settlement::RevokeAccepted { .. }));
    assert!(matches!(check("/introspect", 1, inactive), Settlement::RevokeAccepted { .. }));
    assert!(matches!(check("/revoke", 1, html(503)), Settlement::Revoked { .. }));
    assert!(matches!(check("/revoke", 9, error("unsupported_token_type")), Settlement::Expires { .. }));
    let failed = |settlement, told: &str| match settlement {
        Settlement::Failed { reason, .. } => assert!(reason.contains(told), "{reason}"),
        other => panic!("{other:?}"),
    };
    failed(check("/revoke", 9, html(503)), "answered 503");
    failed(check("/revoke", 9, error("invalid_client")), "`invalid_client`");
    failed(check("/revoke", 9, Response { cut: true, ..html(200) }), "cannot reach");
    let active = Response::json(200, &json!({"active": true}));
    failed(check("/introspect", 9, active), "still active");
}

#[test]
fn a_token_that_ended_before_the_step_did_is_not_called_revoked() {
    let mut stage = stage();
    block(&mut stage, &json!({}));
    let answer = json!({"access_token": "opaque-token-of-a-server", "expires_in": 1});
    stage.fault(TOKEN, 1, Response::json(200, &answer));
    lends(&mut stage);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(matches!(settles(&mut stage)[..], [Settlement::AlreadyExpired { .. }]));
    assert_eq!(stage.sandbox.faults().asked("/revoke"), 0);
}

#[test]
fn an_answer_that_was_lost_is_told() {
    let mut stage = stage();
    block(&mut stage, &json!({}));
    let answer = Response { cut: true, ..Response::json(200, &json!({})) };
    stage.sandbox.faults().order(Fault { path: TOKEN.into(), times: 1, answer, after_acting: true });
    lends(&mut stage);
    assert_eq!(stage.records()[0].start.clone().unwrap().findings[0].ident, "answer-lost");
    settles(&mut stage);
}
