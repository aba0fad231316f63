//! Managed secrets: what a step is lent with another credential, what each refusal says, and what the end is called.

use std::process::{Child, Command, Stdio};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::agent::until;
use crate::support::components;
use crate::support::hooks::{ROLE, Stage};

/// The path of everything below the sandbox's secrets managers.
const STORE: &str = "/secrets/";

/// A job with a role that only its secrets are read with.
fn of_aws(store: &str, values: &Value) -> Stage {
    let secrets = json!({"source": "reader", "store": store, "region": "eu-west-1", "values": values});
    let reader = json!({"name": "reader", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    staged(&json!([reader, {"secrets": secrets}]))
}

/// A job whose source is a login of Vault: any token that this sandbox gave is good for its other stores.
fn of_token(more: impl FnOnce(&Stage) -> Value) -> Stage {
    let mut stage = Stage::new();
    let vault = json!({"address": stage.sandbox.provider_url("vault"), "role": "train"});
    let secrets = more(&stage);
    stage.block = json!({"credentials": [
        {"name": "reader", "export": false, "vault": vault}, {"secrets": secrets}]});
    ready(stage)
}

fn staged(credentials: &Value) -> Stage {
    let mut stage = Stage::new();
    stage.block = json!({ "credentials": credentials });
    ready(stage)
}

fn configure(stage: &mut Stage, more: &Value) {
    let allowed = json!([stage.sandbox.url()]);
    let config = stage.config.as_object_mut().unwrap();
    config.insert("endpoints".into(), allowed);
    config.extend(more.as_object().unwrap().clone());
}

fn ready(mut stage: Stage) -> Stage {
    let hosts = [
        "secretsmanager.eu-west-1.amazonaws.com",
        "ssm.eu-west-1.amazonaws.com",
        "secretmanager.googleapis.com",
        "team.vault.azure.net",
    ];
    let to = stage.sandbox.provider_url("secrets");
    let routes: Vec<Value> =
        hosts.iter().map(|host| json!({"from": format!("https://{host}"), "to": to})).collect();
    configure(&mut stage, &json!({"network": {"routes": routes}}));
    stage.prepare();
    stage
}

fn one() -> Value {
    json!([{"name": "prod/db", "key": "password", "env": "PGPASSWORD"}])
}

/// What became of each lease, in the order of the record.
fn words(stage: &Stage) -> Vec<Settlement> {
    let records = stage.records();
    let end = records.iter().rev().find_map(|link| link.end.as_ref()).unwrap();
    end.settlements.iter().map(|settled| settled.settlement.clone()).collect()
}

#[track_caller]
fn lends(mut stage: Stage, name: &str, begins: &str, living: &str) {
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert!(stage.variable(name).unwrap().starts_with(begins));
    for hidden in ["AWS_SESSION_TOKEN", "VAULT_TOKEN"] {
        assert_eq!(stage.variable(hidden), None);
    }
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    assert_eq!(stage.variable(name), None);
    let stored = Settlement::Stored { living: vec![living.to_owned()] };
    assert!(words(&stage).contains(&stored), "{:?}", words(&stage));
    stage.nothing_left();
}

#[test]
fn values_of_each_store_are_lent_and_told_as_stored() {
    lends(of_aws("aws-secrets-manager", &one()), "PGPASSWORD", "password-", "prod/db");
    lends(of_aws("aws-ssm", &json!([{"name": "/prod/key", "env": "KEY"}])), "KEY", "value-", "/prod/key");
    let google = json!({"source": "reader", "store": "gcp-secret-manager",
        "values": [{"name": "projects/p/secrets/db", "key": "/db/password", "env": "DB"}]});
    lends(of_token(|_| google.clone()), "DB", "password-", "projects/p/secrets/db");
    let mut versioned = google;
    versioned["values"][0]["name"] = json!("projects/p/secrets/db/versions/latest");
    lends(of_token(|_| versioned), "DB", "password-", "projects/p/secrets/db");
    let azure = json!({"source": "reader", "store": "azure-key-vault", "address": "https://team.vault.azure.net",
        "values": [{"name": "api-key", "version": "0123456789abcdef", "env": "API_KEY"}]});
    lends(of_token(|_| azure), "API_KEY", "value-", "api-key");
    let vault = |stage: &Stage| {
        json!({"source": "reader", "store": "vault", "address": stage.sandbox.provider_url("vault"),
            "values": [{"name": "secret/data/train", "key": "api_key", "env": "API_KEY"}]})
    };
    lends(of_token(vault), "API_KEY", "api_key-", "secret/data/train");
}

#[test]
fn a_number_in_a_json_secret_is_lent_byte_for_byte() {
    let value = |key: &str, env: &str| json!({"name": "prod/db", "key": key, "env": env});
    let mut stage = of_aws("aws-secrets-manager", &json!([value("id", "ID"), value("rate", "RATE")]));
    let text = r#"{"id":12345678901234567890123,"rate":1234567e6}"#;
    let answer = json!({"SecretString": text, "SecretBinary": null, "VersionStages": null});
    stage.fault(STORE, 9, Response::json(200, &answer));
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    assert_eq!(stage.variable("ID").as_deref(), Some("12345678901234567890123"));
    assert_eq!(stage.variable("RATE").as_deref(), Some("1234567e6"));
}

#[test]
fn a_stored_value_has_no_end_of_its_own_and_its_source_has() {
    let mut stage = of_aws("aws-secrets-manager", &one());
    let ended = stage.hook("pre-command");
    assert!(ended.text.contains("lent `aws-secrets-manager: prod/db`\n"), "{}", ended.text);
    let start = stage.records()[0].start.clone().unwrap();
    assert_eq!(start.leases[1].expires_at.to_rfc3339(), "9999-12-31T23:59:59+00:00");
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    let mut ends: Vec<_> = words(&stage).iter().map(Settlement::word).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["expires", "stored"]);
}

#[test]
fn two_keys_of_one_secret_are_one_request_and_files_hold_what_variables_name() {
    let mut stage = of_aws(
        "aws-secrets-manager",
        &json!([
            {"name": "prod/db", "key": "user", "env": "PGUSER"},
            {"name": "prod/db", "key": "password", "env": "PGPASS_FILE", "file": "pgpass"},
        ]),
    );
    assert_eq!(stage.hook("pre-command").status, 0);
    assert_eq!(stage.sandbox.faults().asked(STORE), 1);
    let file = stage.variable("PGPASS_FILE").unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("password-"));
    stage.command_ended(0);
    stage.hook("post-command");
    assert!(!std::path::Path::new(&file).exists());
    stage.nothing_left();
}

#[test]
fn a_store_that_refuses_says_why_and_nothing_is_exported() {
    let check = |answer: Response, status: i32, ident: &str, told: &str| {
        let mut stage = of_aws("aws-secrets-manager", &one());
        stage.fault(STORE, 999, answer);
        let text = stage.refuses(status, ident);
        assert!(text.contains(told), "{text}");
        // Reading made nothing, and the role that it was to be read with runs out.
        let mut ends: Vec<_> = words(&stage).iter().map(Settlement::word).collect();
        ends.sort_unstable();
        assert_eq!(ends, ["expires", "not-issued"], "{text}");
        stage.nothing_left();
        stage.sandbox.faults().asked(STORE)
    };
    let refusal = |code: &str| Response::json(400, &json!({"__type": code, "message": "words"}));
    check(refusal("ResourceNotFoundException"), 105, "provider-refused", "`prod/db` is not there");
    check(refusal("AccessDeniedException"), 105, "provider-refused", "`secretsmanager:GetSecretValue`");
    check(refusal("ExpiredTokenException"), 105, "provider-refused", "`reader` is not accepted");
    assert!(check(refusal("ThrottlingException"), 106, "provider-busy", "ThrottlingException") > 1);
    check(Response::json(500, &json!({})), 106, "provider-busy", "500");
    check(Response::new(200, "text/html", "<html>"), 105, "provider-malformed", "no JSON (text/html");
    check(Response::json(200, &json!({})), 105, "provider-malformed", "answered no value");
    check(Response::json(200, &json!({"SecretBinary": "/////w=="})), 105, "value-missing", "no text");
    check(
        Response::json(200, &json!({"SecretString": "text"})),
        105,
        "value-missing",
        "it is no JSON with keys",
    );
    check(
        Response::json(200, &json!({"SecretString": r#"{"user":"x"}"#})),
        105,
        "value-missing",
        "it has `user`",
    );
    let headers = vec![("location", "https://evil.test/".into())];
    let redirect = Response { headers, ..Response::new(307, "text/html", "") };
    check(redirect, 105, "provider-malformed", "a redirect to `evil.test`");
    let cut = Response { cut: true, ..Response::json(200, &json!({})) };
    check(cut, 106, "provider-unreachable", "secretsmanager.eu-west-1.amazonaws.com");
}

#[test]
fn a_source_that_is_of_no_use_or_is_not_there_is_told() {
    let mut stage = of_token(|_| {
        json!({"source": "reader", "store": "aws-ssm", "region": "eu-west-1",
        "values": [{"name": "/x", "env": "X"}]})
    });
    assert!(stage.refuses(102, "source-unusable").contains("gives no keys of AWS"));
    assert_eq!(stage.sandbox.faults().asked(STORE), 0);
    let mut stage = of_aws("aws-ssm", &one());
    stage.block["credentials"][1]["secrets"]["store"] = json!("azure-key-vault");
    assert!(stage.refuses(102, "bad-configuration").contains("only AWS has a `region`"));
    let mut stage = of_aws("aws-ssm", &one());
    stage.block["credentials"][1]["secrets"]["source"] = json!("raeder");
    assert!(stage.refuses(102, "bad-configuration").contains("did you mean `reader`?"));
}

#[test]
fn a_source_that_was_refused_is_told_and_not_who_waited_for_it() {
    let mut stage = of_aws("aws-ssm", &json!([{"name": "/x", "env": "X"}]));
    let credentials = stage.block["credentials"].as_array_mut().unwrap();
    credentials.reverse();
    credentials[1]["aws"]["role"] = json!(format!("{ROLE}-strict"));
    stage.refuses(105, "token-rejected");
    assert_eq!(stage.sandbox.faults().asked(STORE), 0);
}

#[test]
fn an_address_that_the_host_does_not_allow_is_sent_nothing() {
    let mut stage = of_aws("aws-ssm", &json!([{"name": "/x", "env": "X"}]));
    stage.block["credentials"][1]["secrets"]["address"] = json!("https://ssm.evil.test");
    assert!(stage.refuses(103, "denied").contains("rule `endpoints`"));
    assert_eq!(stage.sandbox.sts().issued().len(), 0);
}

#[test]
fn a_value_of_vault_that_has_a_lease_is_refused_and_ends_with_the_login() {
    let mut stage = of_token(|stage| {
        json!({"source": "reader", "store": "vault", "address": stage.sandbox.provider_url("vault"),
            "values": [{"name": "database/creds/train", "key": "password", "env": "PGPASSWORD"}]})
    });
    let text = stage.refuses(105, "value-missing");
    assert!(text.contains("read it in the `secrets` of the `vault` block"), "{text}");
    assert!(stage.sandbox.provider("vault").unwrap().issued().iter().all(|one| one.revoked));
    stage.nothing_left();
}

/// A server that does not outlive its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

const MOTO: &str = r#"
import sys, boto3
def client(name):
    return boto3.client(name, endpoint_url=sys.argv[1], region_name="eu-west-1",
                        aws_access_key_id="setup", aws_secret_access_key="setup")
sm = client("secretsmanager")
sm.create_secret(Name="prod/db", SecretString='{"password": "hunter2-first"}')
sm.put_secret_value(SecretId="prod/db", SecretString='{"password": "hunter2-second"}')
sm.create_secret(Name="prod/bytes", SecretBinary=b"hunter2-bytes")
ssm = client("ssm")
for value in ("hunter2-old", "hunter2-new"):
    ssm.put_parameter(Name="/prod/key", Value=value, Type="SecureString", Overwrite=True)
"#;

#[test]
fn motos_secrets_manager_and_ssm_answer_what_they_hold() {
    let Some(tools) = components::find("venv/bin") else { return };
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut moto = Command::new(tools.join("moto_server"));
    moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Server(moto.spawn().unwrap());
    until(|| "moto".to_owned(), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("http://127.0.0.1:{port}");
    let mut setup = Command::new(tools.join("python"));
    let made = setup.args(["-c", MOTO, &url]).env_clear().output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secrets = json!({"source": "reader", "store": "aws-secrets-manager", "region": "eu-west-1", "values": [
        {"name": "prod/db", "key": "password", "env": "NEWEST"},
        {"name": "prod/db", "key": "password", "version": "AWSPREVIOUS", "env": "BEFORE"},
        {"name": "prod/bytes", "env": "BYTES"},
    ]});
    let parameters = json!({"source": "reader", "store": "aws-ssm", "region": "eu-west-1", "address": url, "values": [
        {"name": "/prod/key", "env": "PARAMETER"},
        {"name": "/prod/key", "version": 1, "env": "FIRST"},
    ]});
    let reader = json!({"name": "reader", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    let mut stage = staged(&json!([reader, {"secrets": secrets}, {"secrets": parameters}]));
    // One by a route, which keeps the host's name and its signature; the other by its own address.
    let from = "https://secretsmanager.eu-west-1.amazonaws.com";
    stage.config["network"] = json!({"routes": [{"from": from, "to": url}]});
    stage.config["endpoints"] = json!([url]);
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let seen = ["NEWEST", "BEFORE", "BYTES", "PARAMETER", "FIRST"].map(|name| stage.variable(name).unwrap());
    assert_eq!(seen, ["second", "first", "bytes", "new", "old"].map(|end| format!("hunter2-{end}")));
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.block["credentials"][1]["secrets"]["values"][0]["name"] = json!("prod/none");
    let text = stage.refuses(105, "provider-refused");
    assert!(text.contains("`prod/none` is not there"), "{text}");
}
