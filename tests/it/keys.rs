//! Private keys that stay where they live: in a file of the host, in Vault, in AWS KMS; for every provider that
//! signs with one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::keys;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::aws::moto;
use crate::support::components;
use crate::support::hooks::{ROLE, Stage};
use crate::support::lent::{Bad, lends, no_answers, refuses_each, settles, stage};

/// The providers that sign, and the variable that each hands its token over in.
const ALL: [(&str, &str); 3] =
    [("github", "GITHUB_TOKEN"), ("buildkite", "BUILDKITE_API_TOKEN"), ("oauth", "API_TOKEN")];

/// A credential of this provider that is made with this key.
fn signed(stage: &Stage, provider: &str, key: &Value) -> Value {
    let block = match provider {
        "github" => json!({"app-id": 7, "repositories": ["acme/web"], "private-key": key}),
        "buildkite" => {
            json!({"organization": "acme", "client-id": "app-1", "key-id": "k1", "private-key": key,
            "subject": "bot@acme.test", "scopes": ["read_builds"]})
        }
        _ => {
            json!({"issuer": stage.sandbox.provider_url("oauth"), "grant": "private-key-jwt", "client-id": "svc",
            "key-id": "k1", "env": "API_TOKEN", "private-key": key})
        }
    };
    json!({ provider: block })
}

fn staged(provider: &str, source: Option<Value>, key: &Value, of: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = stage(provider);
    let asked = signed(&stage, provider, key);
    stage.block = json!({"credentials": source.into_iter().chain([asked]).collect::<Vec<_>>()});
    of(&mut stage);
    stage.prepare();
    stage
}

fn transit(provider: &str, algorithm: &str) -> Stage {
    staged(provider, None, &json!({"file": "/later"}), |stage| {
        let address = stage.sandbox.provider_url("vault");
        let vault = json!({"address": address, "role": "signer", "namespace": "ci"});
        let transit = json!({"address": address, "namespace": "ci", "key": "app", "algorithm": algorithm});
        let asked = signed(stage, provider, &json!({"source": "login", "transit": transit}));
        stage.block = json!({"credentials": [{"name": "login", "export": false, "vault": vault}, asked]});
    })
}

fn kms(provider: &str, algorithm: &str) -> Stage {
    let role = json!({"name": "signer", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    let kms = json!({"key": "alias/app", "region": "eu-west-1", "algorithm": algorithm});
    staged(provider, Some(role), &json!({"source": "signer", "kms": kms}), |stage| {
        let route = json!({"from": "https://kms.eu-west-1.amazonaws.com", "to": stage.sandbox.provider_url("secrets")});
        stage.config["network"]["routes"].as_array_mut().unwrap().push(route);
    })
}

/// The key of the sandbox in a file with this mode.
fn key_file(stage: &Stage, mode: u32) -> PathBuf {
    // Not below what is searched for secrets that a hook left behind.
    let path = stage.folder.path().join("app.pem");
    std::fs::write(&path, keys::pem().expose()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn file(provider: &str, mode: u32) -> Stage {
    staged(provider, None, &json!({"file": "/later"}), |stage| {
        let path = key_file(stage, mode);
        stage.block = json!({"credentials": [signed(stage, provider, &json!({"file": path}))]});
        stage.config["key-files"] = json!([path]);
    })
}

#[track_caller]
fn works(mut stage: Stage, variable: &str) {
    assert!(!lends(&mut stage, variable).is_empty());
    assert!(matches!(settles(&mut stage, variable), Settlement::Revoked { .. }));
}

#[test]
fn vault_signs_for_every_provider_that_wants_a_signature() {
    for (provider, variable) in ALL {
        works(transit(provider, "RS256"), variable);
    }
    for (provider, variable) in &ALL[1..] {
        works(transit(provider, "ES256"), variable);
    }
}

#[test]
fn kms_signs_for_every_provider_that_wants_a_signature() {
    for (provider, variable) in ALL {
        works(kms(provider, "RS256"), variable);
    }
    for (provider, variable) in &ALL[1..] {
        works(kms(provider, "ES256"), variable);
    }
}

#[test]
fn a_key_in_a_file_signs_where_the_host_config_names_the_file() {
    for (provider, variable) in ALL {
        works(file(provider, 0o640), variable);
    }
}

#[test]
fn a_step_has_no_file_sign_that_the_host_config_does_not_name_whatever_the_mode() {
    for mode in ["enforce", "observe"] {
        let mut stage = file("github", 0o600);
        let path = stage.config["key-files"][0].as_str().unwrap().to_owned();
        stage.config["key-files"] = json!([format!("{path}.other")]);
        stage.config["mode"] = json!(mode);
        let text = stage.refuses(103, "denied");
        assert!(text.contains(&format!("`key-files` in the host config does not allow `{path}`")), "{text}");
        assert_eq!(stage.sandbox.faults().asked("/github"), 0);
    }
}

#[test]
fn a_grant_of_the_host_uses_a_file_that_no_step_may() {
    let mut stage = file("github", 0o600);
    let granted = stage.block["credentials"].clone();
    stage.config["grants"] =
        json!([{"name": "app", "claims": {"pipeline_slug": "web"}, "credentials": granted}]);
    stage.config.as_object_mut().unwrap().remove("key-files");
    stage.block = json!({"credentials": [{"grant": "app"}]});
    assert!(!lends(&mut stage, "GITHUB_TOKEN").is_empty());
    assert!(matches!(settles(&mut stage, "GITHUB_TOKEN"), Settlement::Revoked { .. }));
}

#[test]
fn a_file_that_others_can_read_or_that_holds_no_key_is_told_and_not_shown() {
    let mut stage = file("buildkite", 0o644);
    let text = stage.refuses(102, "source-unusable");
    assert!(text.contains("can be read by everybody (mode 0644)"), "{text}");
    let mut stage = file("buildkite", 0o600);
    let path = stage.config["key-files"][0].as_str().unwrap().to_owned();
    std::fs::write(&path, "hunter2hunter2").unwrap();
    let text = stage.refuses(102, "source-unusable");
    assert!(text.contains("PEM") && text.contains(&path) && !text.contains("hunter2"), "{text}");
    let mut stage = file("buildkite", 0o600);
    std::fs::remove_file(stage.config["key-files"][0].as_str().unwrap()).unwrap();
    let text = stage.refuses(102, "source-unusable");
    assert!(text.contains("cannot read"), "{text}");
}

#[test]
fn a_source_of_another_kind_signs_nothing() {
    let mut stage = kms("github", "RS256");
    stage.block["credentials"][0] = json!({"name": "signer", "export": false,
        "vault": {"address": stage.sandbox.provider_url("vault"), "role": "signer"}});
    stage.prepare();
    assert!(
        stage.refuses(102, "source-unusable").contains("`signer` that it is made with gives no keys of AWS")
    );
    let mut stage = transit("github", "RS256");
    stage.block["credentials"][0] =
        json!({"name": "login", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    let text = stage.refuses(102, "source-unusable");
    assert!(text.contains("`login` that it is made with gives no login of Vault"), "{text}");
}

#[test]
fn a_vault_that_the_host_does_not_allow_is_not_asked_to_sign() {
    let mut stage = transit("oauth", "RS256");
    stage.block["credentials"][1]["oauth"]["private-key"]["transit"]["address"] =
        json!("https://vault.evil.test");
    let text = stage.refuses(103, "denied");
    assert!(text.contains("does not allow `https://vault.evil.test`"), "{text}");
}

#[test]
fn each_refusal_to_sign_says_that_it_was_the_signature() {
    const LEG: &str = "it was the signature that failed";
    let vault = |status: u16, words: &str| Response::json(status, &json!({"errors": [words]}));
    let mut table: Vec<Bad> = vec![
        (vault(403, "permission denied"), 105, "provider-refused", "`update` on `transit/sign/app`"),
        (vault(404, ""), 105, "provider-refused", "nothing is at `transit/sign/app`"),
        (vault(400, "signing key not found"), 105, "provider-refused", "of the kind that `algorithm` names"),
        (vault(503, "Vault is sealed"), 106, "provider-busy", LEG),
        (
            Response::json(200, &json!({"data": {"signature": "vault:v1:MEUCIQ=="}})),
            105,
            "provider-malformed",
            LEG,
        ),
        (Response::json(200, &json!({"data": {"signature": "none"}})), 105, "provider-malformed", "no RS256"),
    ];
    table.extend(no_answers());
    refuses_each("/transit/sign/app", || transit("buildkite", "RS256"), table);
    let aws = |code: &str| Response::json(400, &json!({"__type": code, "message": "No such luck"}));
    let mut table: Vec<Bad> = vec![
        (aws("AccessDeniedException"), 105, "provider-refused", "`kms:Sign` on `alias/app`"),
        (aws("NotFoundException"), 105, "provider-refused", LEG),
        (aws("ThrottlingException"), 106, "provider-busy", LEG),
        (
            Response::json(200, &json!({"Signature": "MEUCIQ=="})),
            105,
            "provider-malformed",
            "no signature of this kind",
        ),
    ];
    table.extend(no_answers());
    refuses_each("/secrets/", || kms("buildkite", "ES256"), table);
}

#[test]
fn motos_kms_signs_for_an_application_whose_key_nobody_exported() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let (_server, port) = moto(python.parent().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let made = Command::new(&python).args(["-c", MAKE, &url]).env_clear().output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(keys::believe(made["public"].as_str().unwrap()));
    for (provider, variable) in ALL {
        let mut stage = kms(provider, "RS256");
        let key = json!({"key": made["id"], "region": "eu-west-1", "address": url});
        stage.block["credentials"][1][provider]["private-key"]["kms"] = key;
        stage.config["endpoints"].as_array_mut().unwrap().push(json!(url));
        works(stage, variable);
    }
}

/// Makes a key; its id and its public half.
const MAKE: &str = r#"
import base64, json, sys, textwrap, boto3
kms = boto3.client("kms", endpoint_url=sys.argv[1], region_name="eu-west-1",
                   aws_access_key_id="setup", aws_secret_access_key="setup")
key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
der = base64.b64encode(kms.get_public_key(KeyId=key)["PublicKey"]).decode()
pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *textwrap.wrap(der, 64), "-----END PUBLIC KEY-----", ""])
json.dump({"id": key, "public": pem}, sys.stdout)
"#;
