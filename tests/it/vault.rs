//! Vault: what a step is lent, what it may do, what each refusal says, and what becomes of the login.

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::vault::ROOT;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::child;
use crate::support::components;
use crate::support::hooks::Stage;

const LOGIN: &str = "auth/jwt/login";
const REVOKE: &str = "auth/token/revoke-self";

/// A job that asks the sandbox's Vault, with these keys beside address and role.
fn stage(more: &Value) -> Stage {
    let mut stage = unprepared(more);
    let allowed = json!([stage.sandbox.url()]);
    stage.config.as_object_mut().unwrap().insert("endpoints".into(), allowed);
    stage.prepare();
    stage
}

fn unprepared(more: &Value) -> Stage {
    let mut stage = Stage::new();
    let mut vault = json!({"address": stage.sandbox.provider_url("vault"), "role": "train"});
    vault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [{"vault": vault}]});
    stage
}

fn one_key() -> Value {
    json!({"secrets": [{"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"}]})
}

fn errors(status: u16, words: &[&str]) -> Response {
    Response::json(status, &json!({ "errors": words }))
}

fn html(status: u16) -> Response {
    Response::new(status, "text/html", "<html><body>Bad Gateway</body></html>")
}

/// The path of a fault or a count, below the sandbox's Vault.
fn at(path: &str) -> String {
    format!("/vault/v1/{path}")
}

/// How many tokens were given, and how many of them still work.
fn tokens(stage: &Stage) -> (usize, usize) {
    let issued = stage.sandbox.provider("vault").unwrap().issued();
    let tokens: Vec<_> = issued.iter().filter(|one| one.what == "a token of Vault").collect();
    (tokens.len(), tokens.iter().filter(|one| !one.revoked).count())
}

/// Runs a job whose command ends well; what became of its lease, and everything that was printed.
#[track_caller]
fn settled(stage: &mut Stage) -> (Settlement, String) {
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    stage.command_ended(0);
    let released = stage.hook("post-command");
    assert_eq!(released.status, 0, "{}", released.text);
    (settlement(stage), ended.text + &released.text)
}

#[track_caller]
fn settlement(stage: &Stage) -> Settlement {
    let records = stage.records();
    let end = records.iter().rev().find_map(|link| link.end.as_ref()).unwrap();
    let [settled] = end.settlements.as_slice() else { panic!("{end:?}") };
    settled.settlement.clone()
}

/// Sends JSON as the root token.
fn write(stage: &Stage, path: &str, body: &Value) {
    let url = format!("{}/v1/{path}", stage.sandbox.provider_url("vault"));
    let mut curl = std::process::Command::new("curl");
    curl.args([
        "-sSf",
        "-X",
        "POST",
        "-H",
        &format!("X-Vault-Token: {ROOT}"),
        "-o",
        "/dev/null",
        "-d",
        &body.to_string(),
        &url,
    ]);
    assert!(curl.status().unwrap().success());
}

#[test]
fn a_step_is_lent_values_in_variables_and_files_and_no_login() {
    let mut stage = stage(&json!({"secrets": [
        {"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"},
        {"path": "kv/train", "key": "/db/password", "env": "DB_PASSWORD_FILE", "file": "db.txt"},
        {"path": "kv/train", "key": "user", "env": "DB_USER"},
    ]}));
    assert_eq!(stage.hook("pre-command").status, 0);
    assert!(stage.variable("TRAIN_API_KEY").unwrap().starts_with("api_key-"));
    assert!(stage.variable("DB_USER").unwrap().starts_with("user-"));
    let file = stage.variable("DB_PASSWORD_FILE").unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("password-"));
    assert_eq!(stage.variable("VAULT_TOKEN"), None);
    // Two keys of one path are of one answer.
    assert_eq!(stage.sandbox.faults().asked(&at("kv/train")), 1);
    let start = stage.records()[0].start.clone().unwrap();
    assert!(start.leases[0].principal.ends_with("/vault/v1/auth/jwt/role/train"), "{start:?}");
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    assert!(!std::path::Path::new(&file).exists());
    assert_eq!(stage.variable("DB_USER"), None);
    // The login is gone, and the values are not: the record says both.
    assert_eq!(tokens(&stage), (1, 0));
    let Settlement::RevokedInPart { living, .. } = settlement(&stage) else { panic!() };
    assert_eq!(living, ["secret/data/train", "kv/train"]);
    stage.nothing_left();
}

#[test]
fn a_login_that_lent_only_what_it_can_take_back_is_revoked() {
    let mut stage = stage(&json!({"export-token": true, "secrets": [
        {"path": "database/creds/train", "key": "username", "env": "PGUSER"},
        {"path": "database/creds/train", "key": "password", "env": "PGPASSWORD"},
    ]}));
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.variable("VAULT_ADDR").unwrap(), stage.sandbox.provider_url("vault"));
    assert_eq!(stage.sandbox.faults().asked(&at("database/creds/train")), 1);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    assert!(matches!(settlement(&stage), Settlement::Revoked { .. }));
    let issued = stage.sandbox.provider("vault").unwrap().issued();
    assert!(issued.iter().all(|one| one.revoked), "{issued:?}");
    stage.nothing_left();
}

#[test]
fn a_namespace_goes_with_every_request() {
    let mut more = one_key();
    more["namespace"] = json!("team/ci/");
    more["export-token"] = json!(true);
    let mut stage = stage(&more);
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.variable("VAULT_NAMESPACE").unwrap(), "team/ci/");
    stage.command_ended(0);
    stage.hook("post-command");
    assert_eq!(tokens(&stage), (1, 0));
}

#[test]
fn parameters_are_written_and_an_older_version_is_read() {
    let mut stage = stage(&json!({"secrets": [
        {"path": "pki/issue/train", "key": "certificate", "file": "cert.pem",
         "data": {"common_name": "train.internal", "ttl": "1h"}},
        {"path": "pki/issue/train", "key": "private_key", "env": "KEY_FILE", "file": "key.pem",
         "data": {"common_name": "train.internal", "ttl": "1h"}},
        {"path": "secret/data/old", "key": "k", "version": 1, "env": "OLD_KEY"},
    ]}));
    write(&stage, "secret/data/old", &json!({"data": {"k": "the-newer-value"}}));
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.sandbox.faults().asked(&at("pki/issue/train")), 1);
    assert!(stage.variable("OLD_KEY").unwrap().starts_with("k-"));
    let key = std::fs::read_to_string(stage.variable("KEY_FILE").unwrap()).unwrap();
    assert!(key.starts_with("private_key-"), "{key}");
}

#[test]
fn a_batch_token_is_told_as_what_it_is_whatever_was_read_with_it() {
    let mut more = one_key();
    more["export-token"] = json!(true);
    let mut stage = unprepared(&more);
    write(&stage, "secret/data/train", &json!({"data": {"api_key": "the-value-that-lives"}}));
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    let audience = stage.sandbox.provider_url("vault");
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience], "token_type": "batch"});
    write(&stage, "auth/jwt/role/train", &role);
    let (settlement, text) = settled(&mut stage);
    assert!(matches!(settlement, Settlement::Expires { .. }), "{text}");
    assert_eq!(stage.sandbox.faults().asked(REVOKE), 0);
}

#[test]
fn each_refusal_of_a_login_is_told_with_what_to_do() {
    let check = |status, words: &str, exit, ident: &str, told: &str, times| {
        let mut stage = stage(&one_key());
        stage.fault(LOGIN, 999, errors(status, &[words]));
        let text = stage.refuses(exit, ident);
        assert!(text.contains(told) && text.contains(&format!("answered {status} ")), "{text}");
        assert_eq!((stage.sandbox.faults().asked(LOGIN).min(6), tokens(&stage)), (times, (0, 0)), "{text}");
    };
    check(
        400,
        "role \"train\" could not be found",
        105,
        "provider-refused",
        "`auth/jwt/role/train` is not there",
        1,
    );
    check(403, "permission denied", 105, "provider-refused", "is this the `mount`", 1);
    check(404, "no handler for route \"auth/jwt/login\"", 105, "provider-refused", "is this the `mount`", 1);
    check(412, "required index state not present", 106, "provider-busy", "required index", 6);
    check(
        429,
        "request path \"auth/jwt/login\": rate limit quota exceeded",
        106,
        "provider-busy",
        "quota",
        6,
    );
    check(473, "", 106, "provider-busy", "could not lend", 6);
    check(503, "Vault is sealed", 106, "provider-busy", "unseal it", 6);
}

#[test]
fn a_role_that_is_bound_to_others_is_told_with_the_claims_that_were_presented() {
    let check = |role: &Value, told: &[&str]| {
        let mut stage = unprepared(&one_key());
        stage.config["endpoints"] = json!([stage.sandbox.url()]);
        let audience = stage.sandbox.provider_url("vault");
        let mut whole = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience]});
        whole.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        write(&stage, "auth/jwt/role/train", &whole);
        let text = stage.refuses(105, "token-rejected");
        for told in told.iter().chain(&["presented: iss `http://127.0.0.1"]) {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert_eq!(tokens(&stage), (0, 0));
    };
    check(
        &json!({"bound_audiences": ["vault"]}),
        &["`bound_audiences` of the role `train` must hold `http://127.0.0.1"],
    );
    check(
        &json!({"bound_claims": {"pipeline_slug": "docs"}}),
        &["claim \"pipeline_slug\"", "`bound_claims`"],
    );
    check(&json!({"bound_subject": "someone"}), &["`bound_subject`", "sub `organization:acme:pipeline:web"]);
    check(&json!({"user_claim": "pipeline_id"}), &["claim \"pipeline_id\" not found", "`token.claims`"]);
}

#[test]
fn an_answer_that_is_none_of_vaults_is_not_believed() {
    let check = |answer: Response, told: &str| {
        let mut stage = stage(&one_key());
        stage.fault(LOGIN, 999, answer);
        let ended = stage.hook("pre-command");
        assert!([105, 106].contains(&ended.status) && ended.text.contains(told), "{}", ended.text);
        stage.nothing_left();
    };
    let auth = |token: &str, life: i64| {
        let auth =
            json!({"client_token": token, "accessor": "a", "lease_duration": life, "token_type": "service"});
        Response::json(200, &json!({ "auth": auth }))
    };
    check(html(200), "no JSON (text/html");
    check(Response::json(200, &json!({"auth": null})), "lacks what was asked for");
    check(auth("", 3600), "a login without a token");
    check(auth("hvs.never-given", 0), "a credential that ended");
    check(auth("hvs.never-given", -60), "a credential that ended");
    let redirect = Response { headers: vec![("location", "https://evil.test/".into())], ..html(307) };
    check(redirect, "a redirect to `evil.test`");
}

#[test]
fn a_login_that_cannot_read_everything_is_given_back_at_once() {
    let check = |answer: Response, ident: &str, told: &str| {
        let mut stage = stage(&one_key());
        stage.fault("secret/data/train", 999, answer);
        let text = stage.refuses(105, ident);
        assert!(text.contains(told) && text.contains("was given back"), "{text}");
        assert_eq!(tokens(&stage), (1, 0), "{text}");
        assert!(matches!(settlement(&stage), Settlement::NotIssued { .. }));
    };
    check(
        errors(403, &["permission denied"]),
        "provider-refused",
        "must allow `read` on `secret/data/train`",
    );
    check(errors(404, &[]), "provider-refused", "nothing is at `secret/data/train`");
    check(errors(405, &["unsupported operation"]), "provider-refused", "as `data`");
    check(html(200), "provider-malformed", "no JSON");
    check(Response::json(200, &json!({"data": null})), "provider-malformed", "answered nothing");
    check(Response::json(200, &json!({"data": {"apikey": "x"}})), "value-missing", "it has `apikey`");
}

#[test]
fn a_number_is_lent_byte_for_byte_as_it_is_stored() {
    let secret = |key: &str, env: &str| json!({"path": "kv/train", "key": key, "env": env});
    let mut stage =
        stage(&json!({"secrets": [secret("id", "ID"), secret("rate", "RATE"), secret("/a/1", "PRICE"),
        secret("a", "ALL"), {"path": "kv/train", "env": "WHOLE"}]}));
    let data = r#"{"id": 12345678901234567890123, "rate":1234567e6,"a":[ 1.10,1234567.10 ]}"#;
    stage.fault(
        "kv/train",
        9,
        Response::new(200, "application/json", format!(r#"{{"lease_id":null,"data":{data}}}"#)),
    );
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    for (name, expected) in [
        ("ID", "12345678901234567890123"),
        ("RATE", "1234567e6"),
        ("PRICE", "1234567.10"),
        ("ALL", "[ 1.10,1234567.10 ]"),
        ("WHOLE", data),
    ] {
        assert_eq!(stage.variable(name).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn a_login_that_is_good_for_fewer_requests_than_there_are_is_told_as_that() {
    let secret = |path: &str, env: &str| json!({"path": path, "key": "k", "env": env});
    let mut stage = stage(&json!({"secrets": [secret("secret/data/train", "A"), secret("kv/train", "B")]}));
    stage.sandbox.faults().change("auth/jwt/login", |_, mut answer| {
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["auth"]["num_uses"] = json!(1);
        answer.body = body.to_string().into_bytes();
        answer
    });
    stage.fault("kv/train", 9, errors(403, &["permission denied"]));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("`token_num_uses` is 1, and this block asks 2 times"), "{text}");
}

#[test]
fn a_login_that_could_not_be_given_back_is_not_called_gone() {
    let mut stage = stage(&one_key());
    stage.fault("secret/data/train", 999, errors(403, &["permission denied"]));
    stage.fault(REVOKE, 999, errors(500, &["internal error"]));
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("could not be given back"), "{text}");
    // The role decides how long it lives, and the host's limits do not.
    let Settlement::Unknown { until } = settlement(&stage) else { panic!() };
    assert!((until - chrono::Utc::now()).num_hours() > 700, "{until}");
}

#[test]
fn an_address_that_the_host_does_not_allow_is_sent_nothing() {
    let mut stage = unprepared(&one_key());
    stage.prepare();
    assert!(stage.refuses(103, "denied").contains("rule `endpoints`"));
    assert_eq!(stage.sandbox.faults().asked(LOGIN), 0);
    stage.block = json!({"credentials": [{"vault": {"address": "http://vault.example.test", "role": "x"}}]});
    assert!(stage.refuses(102, "bad-configuration").contains("expected an https URL"));
}

#[test]
fn an_end_that_went_otherwise_is_told_as_what_it_was() {
    let check = |answers: Vec<Response>, expected: &str| {
        let mut stage = stage(&json!({"export-token": true}));
        for answer in answers {
            stage.fault(REVOKE, 1, answer);
        }
        let (settlement, text) = settled(&mut stage);
        assert_eq!(settlement.word(), expected, "{text}");
        if expected != "failed" {
            stage.nothing_left();
        }
    };
    let cut = || Response { cut: true, ..html(200) };
    check(vec![errors(503, &["Vault is sealed"])], "revoked");
    check(vec![cut(), errors(403, &["permission denied"])], "revoked-inferred");
    check(vec![errors(403, &["permission denied", "invalid token"])], "already-expired");
    check(vec![cut(), errors(403, &["permission denied", "invalid token"])], "revoked-inferred");
    check(vec![errors(403, &["permission denied"])], "failed");
    check(vec![html(404)], "failed");
    check((0..9).map(|_| errors(500, &["internal error"])).collect(), "failed");
}

#[test]
fn a_vault_that_is_gone_at_the_end_leaves_a_login_that_lives_until_its_time() {
    let mut stage = stage(&json!({"export-token": true}));
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    // Nobody listens where it was.
    stage.config["network"] = json!({"routes": [{"from": stage.sandbox.url(), "to": "http://127.0.0.1:1"}]});
    assert_eq!(stage.hook("post-command").status, 0);
    assert!(matches!(settlement(&stage), Settlement::Failed { .. }));
    // Whoever comes next tries again.
    stage.config["network"] = json!({});
    assert_eq!(stage.hook("pre-exit").status, 0);
    let late = stage.records().iter().find_map(|link| link.late.clone()).unwrap();
    assert_eq!(late.settlements[0].settlement.word(), "revoked");
    assert_eq!(tokens(&stage), (1, 0));
    stage.nothing_left();
}

#[test]
fn a_login_that_ran_out_before_the_end_is_not_given_back() {
    let mut stage = unprepared(&json!({"export-token": true}));
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    let audience = stage.sandbox.provider_url("vault");
    let role =
        json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience], "token_ttl": 1});
    write(&stage, "auth/jwt/role/train", &role);
    assert_eq!(stage.hook("pre-command").status, 0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    stage.command_ended(0);
    stage.hook("post-command");
    assert!(matches!(settlement(&stage), Settlement::AlreadyExpired { .. }));
    assert_eq!(stage.sandbox.faults().asked(REVOKE), 0);
}

#[test]
fn hvac_uses_what_was_lent_until_it_is_taken_back() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = stage(&json!({"export-token": true, "secrets": [
        {"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"},
        {"path": "kv/train", "env": "WRAPPED", "wrap-ttl": "2m"},
    ]}));
    assert_eq!(stage.hook("pre-command").status, 0);
    let hvac = |stage: &Stage| {
        let mut command = child::command(&python, &["-c", HVAC]);
        for name in ["VAULT_ADDR", "VAULT_TOKEN", "TRAIN_API_KEY", "WRAPPED"] {
            command.env(name, stage.variable(name).unwrap());
        }
        child::run(child::output(command, ""))
    };
    let used = hvac(&stage);
    assert_eq!(used.stdout, "True True True\n", "{used:?}");
    // By the names that the step had, with the login that is gone.
    let lent: Vec<_> = ["VAULT_ADDR", "VAULT_TOKEN", "TRAIN_API_KEY", "WRAPPED"]
        .map(|name| (name, stage.variable(name).unwrap()))
        .into();
    stage.command_ended(0);
    stage.hook("post-command");
    for (name, value) in lent {
        stage.set(name, &value);
    }
    assert_eq!(hvac(&stage).stdout, "False\n");
}

const HVAC: &str = r#"
import os, hvac
client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
if not client.is_authenticated():
    print(False)
else:
    read = client.secrets.kv.v2.read_secret_version("train", raise_on_deleted_version=True)
    unwrapped = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["WRAPPED"]).sys.unwrap()
    same = read["data"]["data"]["api_key"] == os.environ["TRAIN_API_KEY"]
    print(True, same, "value" in unwrapped["data"])
"#;

#[test]
fn a_login_that_is_to_be_left_lives_on_and_the_record_says_until_when() {
    let mut stage = stage(&json!({"export-token": true}));
    stage.block["credentials"][0]["settle"] = json!("leave");
    let (settlement, _) = settled(&mut stage);
    let Settlement::Left { until } = settlement else { panic!("{settlement:?}") };
    assert_eq!(until, stage.records()[0].start.as_ref().unwrap().leases[0].expires_at);
    assert_eq!((tokens(&stage), stage.sandbox.faults().asked(&at(REVOKE))), ((1, 1), 0));
    stage.nothing_left();
}

#[test]
fn a_login_that_is_to_be_left_and_was_not_handed_over_is_given_back() {
    let mut stage = stage(&json!({"export-token": true}));
    stage.block["credentials"][0]["settle"] = json!("leave");
    stage.set("BUILDKITE_AGENT_JOB_API_TOKEN", "not-the-token");
    assert_ne!(stage.hook("pre-command").status, 0);
    assert_eq!(tokens(&stage), (1, 0));
    assert_eq!(settlement(&stage).word(), "revoked");
}
