//! The `vault` provider against a server that nobody here wrote: what a step is lent, what the server says of it
//! afterwards, and each refusal in the server's own words.

use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::real_oauth;
use crate::support::hooks::{JOB, Stage, files};
use crate::support::lent;
use crate::support::vault::{ROOT, Real};

const POLICY: &str = r#"
path "secret/data/*" { capabilities = ["read"] }
path "secret/train" { capabilities = ["read"] }
path "kv/train" { capabilities = ["read"] }
path "nowhere/*" { capabilities = ["read"] }
path "transit/sign/*" { capabilities = ["update"] }
path "pki/issue/train" { capabilities = ["read", "update"] }
"#;

/// A job that asks the real server, with these keys beside address and role; `None` where there is none.
fn asks(more: &Value) -> Option<(Stage, Real)> {
    let mut stage = Stage::new();
    let real = Real::start(stage.sandbox.issuer_url())?;
    real.write("sys/policies/acl/train", &json!({"policy": POLICY}));
    role(&real, &json!({}));
    real.write("kv/train", &json!({"user": "loader", "db": {"password": "the-password"}}));
    for value in ["the-first", "the-second"] {
        real.write("secret/data/train", &json!({"data": {"api_key": value}}));
    }
    let mut vault = json!({"address": real.url, "role": "train"});
    vault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [{"vault": vault}]});
    stage.config["endpoints"] = json!([real.url]);
    stage.config["limits"] = json!({"duration": "1000h"});
    Some((stage, real))
}

/// Writes the role anew: what is not named is not kept.
fn role(real: &Real, more: &Value) {
    let mut role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": [real.url],
        "token_policies": ["train"], "token_ttl": "20m"});
    role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    real.ask("DELETE", "auth/jwt/role/train", &Value::Null);
    real.write("auth/jwt/role/train", &role);
}

/// Whether the server knows the login that the step was lent.
fn is_known(stage: &Stage, real: &Real) -> bool {
    let start = stage.records()[0].start.clone().unwrap();
    let accessor = json!({"accessor": start.leases[0].handle});
    real.ask("POST", "auth/token/lookup-accessor", &accessor).0 == 200
}

/// A certificate authority for Vault to issue as.
fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::default();
    asked.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    asked.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

#[test]
fn a_step_is_lent_what_each_engine_has_and_the_server_forgets_the_login_at_the_end() {
    let certificate = |key: &str| {
        json!({"path": "pki/issue/train", "key": key, "file": format!("{key}.pem"),
        "data": {"common_name": "train.internal", "ttl": "1h"}})
    };
    let Some((mut stage, real)) = asks(&json!({"secrets": [
        {"path": "kv/train", "key": "user", "env": "DB_USER"},
        {"path": "kv/train", "key": "/db/password", "env": "DB_PASSWORD"},
        {"path": "secret/data/train", "key": "api_key", "env": "API_KEY"},
        {"path": "secret/data/train", "key": "api_key", "version": 1, "env": "OLD_KEY"},
        {"path": "kv/train", "env": "WRAPPED", "wrap-ttl": "2m"},
        certificate("certificate"), certificate("private_key"),
    ]})) else {
        return;
    };
    real.write("pki/config/ca", &json!({ "pem_bundle": authority() }));
    real.write("pki/roles/train", &json!({"allow_any_name": true, "max_ttl": "2h"}));
    assert_eq!(lent::lends(&mut stage, "DB_USER"), "loader");
    let variable = |name| stage.variable(name).unwrap();
    let values = ["DB_PASSWORD", "API_KEY", "OLD_KEY"].map(variable);
    assert_eq!(values, ["the-password", "the-second", "the-first"]);
    assert_eq!(stage.variable("VAULT_TOKEN"), None);
    let file = |name: &str| {
        let mut files =
            crate::support::hooks::files(std::path::Path::new(&variable("DATAFLOW_BLOCK"))).into_iter();
        std::fs::read_to_string(files.find(|path| path.ends_with(name)).unwrap()).unwrap()
    };
    assert!(file("certificate.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(file("private_key.pem").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let wrapped = variable("WRAPPED");
    assert!(is_known(&stage, &real));
    let Settlement::RevokedInPart { living, .. } = lent::settles(&mut stage, "DB_USER") else { panic!() };
    assert_eq!(living, ["kv/train", "secret/data/train", "pki/issue/train"]);
    assert!(!is_known(&stage, &real));
    // As the record says: what was wrapped lives on without the login.
    let (status, answer) = real.ask_as(&wrapped, "POST", "sys/wrapping/unwrap", &Value::Null);
    assert_eq!((status, &answer["data"]["user"]), (200, &json!("loader")));
}

#[test]
fn what_has_a_lease_ends_with_the_login() {
    let parameters = json!({"common_name": "train.internal", "ttl": "10m"});
    let Some((mut stage, real)) = asks(&json!({"secrets": [
        {"path": "pki/issue/train", "key": "serial_number", "env": "SERIAL", "data": parameters},
    ]})) else {
        return;
    };
    real.write("pki/config/ca", &json!({ "pem_bundle": authority() }));
    real.write("pki/roles/train", &json!({"allow_any_name": true, "generate_lease": true}));
    let serial = lent::lends(&mut stage, "SERIAL");
    let revoked =
        || real.ask("GET", &format!("pki/cert/{serial}"), &Value::Null).1["data"]["revocation_time"].clone();
    assert_eq!(revoked(), json!(0));
    assert!(matches!(lent::settles(&mut stage, "SERIAL"), Settlement::Revoked { .. }));
    assert_ne!(revoked(), json!(0));
}

#[test]
fn a_login_that_is_handed_over_works_until_it_is_revoked() {
    let Some((mut stage, real)) = asks(&json!({"export-token": true})) else { return };
    let token = lent::lends(&mut stage, "VAULT_TOKEN");
    assert_eq!(stage.variable("VAULT_ADDR").unwrap(), real.url);
    let about = || real.ask_as(&token, "GET", "auth/token/lookup-self", &Value::Null);
    let ends = about().1["data"]["expire_time"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
    let lease = stage.records()[0].start.as_ref().unwrap().leases[0].clone();
    assert!((lease.expires_at - ends.unwrap()).num_seconds().abs() <= 2, "{lease:?}");
    assert!(matches!(lent::settles(&mut stage, "VAULT_TOKEN"), Settlement::Revoked { .. }));
    assert_eq!(about().0, 403);
    assert!(!is_known(&stage, &real));
}

#[test]
fn an_operator_revokes_the_login_that_a_record_tells_of_and_no_other_token_that_somebody_wrote_there() {
    let Some((mut stage, real)) = asks(&json!({"export-token": true})) else { return };
    lent::lends(&mut stage, "VAULT_TOKEN");
    let ours = stage.records()[0].start.as_ref().unwrap().leases[0].handle.clone();
    let made = real.ask("POST", "auth/token/create", &json!({"meta": {"role": "train"}})).1;
    let theirs = made["auth"]["accessor"].as_str().unwrap().to_owned();
    let revoke = |stage: &mut Stage| {
        let records = stage.folder.path().join("records").display().to_string();
        let mut command = stage.program(&["revoke", "--records", &records, "--job", JOB]);
        command.env_clear().env("VAULT_ADDR", &real.url).env("VAULT_TOKEN", ROOT);
        let output = command.output().unwrap();
        stage.ended(&output)
    };
    let [record] = files(&stage.folder.path().join("records")).try_into().unwrap();
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace(&ours, &theirs)).unwrap();
    let ended = revoke(&mut stage);
    assert!(
        ended.status == 108 && ended.text.contains("this Vault says `auth/token/create`"),
        "{}",
        ended.text
    );
    assert!(is_known(&stage, &real));
    std::fs::write(&record, text).unwrap();
    let ended = revoke(&mut stage);
    assert!(ended.status == 0 && !is_known(&stage, &real), "{}", ended.text);
    let ended = revoke(&mut stage);
    assert!(ended.text.contains("this Vault knows no login by it ("), "{}", ended.text);
}

#[test]
fn a_batch_token_lives_until_the_time_that_is_told() {
    let Some((mut stage, real)) = asks(&json!({"export-token": true})) else { return };
    role(&real, &json!({"token_type": "batch"}));
    let token = lent::lends(&mut stage, "VAULT_TOKEN");
    assert!(matches!(lent::settles(&mut stage, "VAULT_TOKEN"), Settlement::Expires { .. }));
    assert_eq!(real.ask_as(&token, "GET", "auth/token/lookup-self", &Value::Null).0, 200);
    let (status, answer) = real.ask_as(&token, "POST", "auth/token/revoke-self", &Value::Null);
    assert_eq!((status, &answer["errors"][0]), (400, &json!("batch tokens cannot be revoked")));
}

#[test]
fn a_login_that_is_gone_before_the_end_is_gone_and_one_that_may_not_revoke_itself_is_not() {
    let Some((mut stage, real)) = asks(&json!({"export-token": true})) else { return };
    let token = lent::lends(&mut stage, "VAULT_TOKEN");
    assert_eq!(real.ask_as(&token, "POST", "auth/token/revoke-self", &Value::Null).0, 204);
    assert!(matches!(lent::settles(&mut stage, "VAULT_TOKEN"), Settlement::AlreadyExpired { .. }));

    let Some((mut stage, real)) = asks(&json!({"export-token": true})) else { return };
    role(&real, &json!({"token_no_default_policy": true}));
    lent::lends(&mut stage, "VAULT_TOKEN");
    let settlement = lent::settles(&mut stage, "VAULT_TOKEN");
    let Settlement::Failed { reason, .. } = settlement else { panic!("{settlement:?}") };
    assert!(reason.contains("policies do not let it revoke itself"), "{reason}");
    assert!(is_known(&stage, &real));
}

#[test]
fn each_refusal_of_a_login_is_told_with_what_to_do() {
    let Some((mut stage, real)) = asks(&json!({})) else { return };
    let mut check = |more: Value, ident: &str, told: &[&str]| {
        role(&real, &more);
        // No two blocks of a job are alike.
        stage.block["credentials"][0]["name"] = json!(format!("try-{}", stage.records().len()));
        let text = stage.refuses(105, ident);
        for told in told {
            assert!(text.contains(told), "{told}: {text}");
        }
    };
    let audience = "audience claim does not match any expected audience";
    check(
        json!({"bound_audiences": ["vault"]}),
        "token-rejected",
        &[audience, "must hold `http://127.0.0.1"],
    );
    let claim = "claim \"pipeline_slug\" does not match any associated";
    check(json!({"bound_claims": {"pipeline_slug": "docs"}}), "token-rejected", &[claim, "`bound_claims`"]);
    let missing = &["is missing", "`token.claims`"];
    check(json!({"bound_claims": {"pipeline_id": "x"}}), "token-rejected", missing);
    check(json!({"bound_subject": "someone"}), "token-rejected", &["`bound_subject`", "sub `organization:"]);
    check(json!({"user_claim": "pipeline_id"}), "token-rejected", &["not found in token", "`token.claims`"]);
    let number = &["could not be converted to string", "`user_claim`"];
    check(json!({"user_claim": "build_number"}), "token-rejected", number);
    let oidc = json!({"role_type": "oidc", "allowed_redirect_uris": ["http://127.0.0.1"]});
    check(oidc, "provider-refused", &["`role_type`"]);
    check(json!({"token_bound_cidrs": ["192.0.2.0/24"]}), "provider-refused", &["`token_bound_cidrs`"]);
    stage.block["credentials"][0]["vault"]["role"] = json!("none");
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("role \"none\" could not be found"), "{text}");
    assert!(text.contains("`auth/jwt/role/none` is not there"), "{text}");
    stage.block["credentials"][0]["vault"]["mount"] = json!("nowhere");
    assert!(stage.refuses(105, "provider-refused").contains("is this the `mount`"));
}

#[test]
fn a_method_that_does_not_know_the_issuer_is_told_what_it_must_know() {
    let check = |config: &Value, ident: &str, told: &str| {
        let Some((mut stage, real)) = asks(&json!({"mount": "other"})) else { return };
        let mut config = config.clone();
        real.write("sys/auth/other", &json!({"type": "jwt"}));
        if !config.is_null() {
            config["oidc_discovery_url"] = json!(stage.sandbox.issuer_url());
            real.write("auth/other/config", &config);
            let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": [real.url]});
            real.write("auth/other/role/train", &role);
        }
        let text = stage.refuses(105, ident);
        assert!(text.contains(told), "{text}");
    };
    check(&Value::Null, "provider-refused", "`auth/other/config`");
    check(&json!({"bound_issuer": "https://elsewhere.test"}), "token-rejected", "`bound_issuer`");
}

#[test]
fn a_path_that_cannot_be_read_is_told_and_the_login_is_given_back() {
    let Some((mut stage, real)) = asks(&json!({})) else { return };
    real.write("secret/data/gone", &json!({"data": {"k": "v"}}));
    assert_eq!(real.ask("DELETE", "secret/data/gone", &Value::Null).0, 204);
    let logins = || real.ask("LIST", "auth/token/accessors", &Value::Null).1["data"]["keys"].clone();
    let before = logins();
    let mut check = |mut read: Value, told: &str| {
        read["env"] = json!("VALUE");
        stage.block["credentials"][0]["vault"]["secrets"] = json!([read]);
        let text = stage.refuses(105, "provider-refused");
        assert!(text.contains(told) && text.contains("was given back"), "{text}");
        assert_eq!(logins(), before);
    };
    check(json!({"path": "kv/other"}), "must allow `read` on `kv/other`");
    check(json!({"path": "secret/train"}), "a KV v2 path has `data/` after its mount");
    check(json!({"path": "secret/data/none"}), "nothing is at `secret/data/none`");
    check(json!({"path": "secret/data/gone"}), "its version was deleted");
    check(json!({"path": "secret/data/train", "version": 9}), "nothing is at");
    check(json!({"path": "nowhere/x"}), "no handler for route");
    check(json!({"path": "pki/issue/train"}), "as `data`");
    check(json!({"path": "pki/issue/train", "data": {}}), "unknown role");
}

#[test]
fn a_key_of_transit_signs_for_an_oauth_server_that_nobody_here_wrote() {
    let Some((mut stage, real)) = asks(&json!({})) else { return };
    real.write("transit/keys/app", &json!({"type": "rsa-2048"}));
    real.write("transit/keys/aes", &json!({}));
    let (_, about) = real.ask("GET", "transit/keys/app", &Value::Null);
    let public = about["data"]["keys"]["1"]["public_key"].as_str().unwrap();
    let Some(server) = real_oauth::real(&stage, public) else { return };
    stage.config["endpoints"] = json!([real.url, server.issuer]);
    let block = |more: Value| {
        let mut transit = json!({"address": real.url, "key": "app"});
        transit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"credentials": [
            {"name": "login", "export": false, "vault": {"address": real.url, "role": "train"}},
            {"oauth": {"issuer": server.issuer, "grant": "private-key-jwt", "client-id": "keyed", "key-id": "k1",
                "env": "API_TOKEN", "scope": "read", "private-key": {"source": "login", "transit": transit}}},
        ]})
    };
    stage.block = block(json!({}));
    assert!(lent::lends(&mut stage, "API_TOKEN").len() > 20);
    let settled = lent::settles(&mut stage, "API_TOKEN");
    assert!(matches!(settled, Settlement::Revoked { .. }), "{settled:?}");
    for (more, told) in [
        (json!({"key": "none"}), "signing key not found"),
        (json!({"key": "aes"}), "the key must be there, and of the kind"),
        (json!({"version": 9}), "the key has no such version"),
        (json!({"mount": "nowhere"}), "the role's policies must allow `update` on `nowhere/sign/app`"),
    ] {
        stage.block = block(more);
        let text = stage.refuses(105, "provider-refused");
        assert!(text.contains(told), "{text}");
    }
}
