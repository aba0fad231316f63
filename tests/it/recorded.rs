//! What is handed over and recorded, and what of it may be seen.

use buildkite_dataflow::host::serve::Response;
use serde_json::{Value, json};

use crate::support::hooks::{ROLE, Stage, aws, files};

fn records(stage: &Stage) -> String {
    let all = files(&stage.folder.path().join("records")).into_iter();
    all.map(|path| std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>().concat()
}

#[test]
fn what_can_carry_a_secret_is_taken_off_before_it_is_recorded() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_REPO", "https://me:hunter2@git.example.test/web.git?token=hunter2#hunter2");
    stage.set("BUILDKITE_BUILD_URL", "https://buildkite.com/acme/web/builds/7?hunter2");
    stage.set("BUILDKITE_LABEL", "deploy to https://me:hunter2@a.test");
    stage.set("BUILDKITE_BUILD_CREATOR", "me https://hunter2@a.test");
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let records = records(&stage);
    assert!(!records.contains("hunter2") && !ended.text.contains("hunter2"), "{records}{}", ended.text);
    for told in
        ["secret-taken-off", "https://git.example.test/web.git", "https://buildkite.com/acme/web/builds/7"]
    {
        assert!(records.contains(told), "{told} in {records}");
    }
}

#[test]
fn a_dataset_with_a_signature_is_refused_and_not_repeated() {
    for uri in ["s3://b/k?X-Amz-Signature=hunter2", "s3:/me:hunter2@b", "hunter2@b?x", "s3://b/k;x=hunter2"] {
        let mut stage = Stage::new();
        stage.block = aws(&json!({}));
        stage.block["inputs"] = json!([uri]);
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 102, "{}", ended.text);
        assert!(!ended.text.contains("hunter2"), "{}", ended.text);
    }
}

#[test]
fn an_account_that_is_masked_is_hidden_in_what_a_refusal_says() {
    for wrong in [json!({"role": format!("{ROLE}-strict")}), json!({"duration": "99h"}), json!({"region": 7})]
    {
        let mut stage = Stage::new();
        stage.block = aws(&json!({"mask-account-id": true}));
        stage.block["credentials"][0]["aws"]
            .as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let ended = stage.hook("pre-command");
        assert_ne!(ended.status, 0);
        assert!(!ended.text.contains("123456789012"), "{}", ended.text);
        let told = stage.records().into_iter().filter_map(|link| link.start?.failure);
        assert!(told.into_iter().all(|told| !told.what.contains("123456789012")));
    }
}

/// A job that reads this answer of AWS Secrets Manager.
fn reading(values: &Value, answer: &Value) -> Stage {
    let mut stage = Stage::new();
    let to = stage.sandbox.provider_url("secrets");
    stage.config["network"] =
        json!({"routes": [{"from": "https://secretsmanager.eu-west-1.amazonaws.com", "to": to}]});
    let source = json!({"name": "reader", "export": false, "aws": {"role": ROLE, "region": "eu-west-1"}});
    let secrets =
        json!({"source": "reader", "store": "aws-secrets-manager", "region": "eu-west-1", "values": values});
    stage.block = json!({"credentials": [source, {"secrets": secrets}]});
    stage.fault("/secrets/", 9, Response::json(200, answer));
    stage
}

#[test]
fn what_is_too_short_to_be_hidden_is_refused_in_a_variable_and_in_a_file_unless_it_is_no_secret() {
    let answer = json!({"Name": "db", "SecretString": r#"{"user":"app","port":5432,"blank":"         ","breaks":"\n\n\n\n\n\n\n"}"#});
    for value in [
        json!({"name": "db", "key": "blank", "env": "DB_BLANK"}),
        json!({"name": "db", "key": "breaks", "file": "breaks"}),
        json!({"name": "db", "key": "user", "env": "DB_USER"}),
        json!({"name": "db", "key": "user", "file": "user", "env": "DB_USER"}),
        json!({"name": "db", "key": "port", "file": "port"}),
    ] {
        let mut stage = reading(&json!([value]), &answer);
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 107, "{}", ended.text);
        assert!(ended.text.contains("`secret: false`"), "{}", ended.text);
        let mut plain = value.clone();
        plain["secret"] = json!(false);
        let mut stage = reading(&json!([plain]), &answer);
        let ended = stage.hook("pre-command");
        assert_eq!(ended.status, 0, "{}", ended.text);
        assert!(records(&stage).contains("not-secret"));
    }
}

#[test]
fn bytes_that_are_no_text_reach_a_file_as_they_are_and_no_variable() {
    let answer = json!({"Name": "store", "SecretBinary": "AP/+gAFiaW5hcnkg/w=="});
    let mut stage = reading(&json!([{"name": "store", "file": "store.p12", "env": "STORE"}]), &answer);
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 0, "{}", ended.text);
    let path = stage.variable("STORE").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"\x00\xff\xfe\x80\x01binary \xff");
    assert!(!stage.api.redacted("AP/+gAFiaW5hcnkg/w==").contains("/+gAFiaW5hcnk"));
    let mut stage = reading(&json!([{"name": "store", "env": "STORE"}]), &answer);
    let ended = stage.hook("pre-command");
    assert_eq!(ended.status, 105, "{}", ended.text);
    assert!(ended.text.contains("only a `file` can hold them"), "{}", ended.text);
}

#[test]
fn the_log_has_a_line_for_each_act_and_each_request_under_the_name_of_the_phase() {
    let mut stage = Stage::new();
    stage.config["log"] = json!("debug");
    let before = stage.hook("pre-command");
    stage.command_ended(0);
    let after = stage.hook("post-command");
    assert_eq!((before.status, after.status), (0, 0), "{}{}", before.text, after.text);
    for act in [
        "have a token",
        "asking",
        "lent",
        "hidden in the log",
        "exported",
        "delivered",
        "/oidc/tokens",
        "status=200",
    ] {
        let told = before.text.lines().any(|line| line.contains("pre-command: ") && line.contains(act));
        assert!(told, "{act} in {}", before.text);
    }
    for act in ["settled", "delivered", "closed"] {
        let told = after.text.lines().any(|line| line.contains("post-command: ") && line.contains(act));
        assert!(told, "{act} in {}", after.text);
    }
    stage.no_secret_anywhere();
    stage.config["log"] = json!("info");
    let mut quiet = Stage::new();
    quiet.config["log"] = json!("info");
    let text = quiet.hook("pre-command").text;
    assert!(text.contains("INFO pre-command: lent") && !text.contains("status=200"), "{text}");
}
