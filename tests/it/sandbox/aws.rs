//! The STS, as boto3 and the AWS command line see it.

use std::collections::BTreeMap;
use std::path::Path;

use buildkite_dataflow::rehearse::sandbox::issuer::Issuer;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::rehearse::sandbox::{KNOWN_AS, Sandbox};
use serde_json::{Value, json};

use super::{sandbox, token};
use crate::support::child::{command, output, run};
use crate::support::components;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/sts_client.py");
const TRAIN: &str = "arn:aws:iam::123456789012:role/train";
const CHAINED: &str = "arn:aws:iam::210987654321:role/deploy";

/// A sandbox where `acme/web` may be `train` and may say so with session tags, and `train` may be `deploy`.
async fn aws() -> Sandbox {
    let sandbox = sandbox(BTreeMap::new()).await;
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{KNOWN_AS}")},
        "Condition": {
            "StringEquals": {format!("{KNOWN_AS}:aud"): "sts.amazonaws.com"},
            "StringLike": {format!("{KNOWN_AS}:sub"): "organization:acme:pipeline:web:*"},
        },
    }, {
        "Effect": "Allow", "Action": "sts:TagSession",
        "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{KNOWN_AS}")},
        "Condition": {"StringEquals": {"aws:RequestTag/pipeline_slug": "web"}},
    }]});
    sandbox.sts().add(TRAIN, Role { trust, max_duration: 7200 });
    let trust = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": TRAIN},
        "Condition": {"StringEquals": {"sts:ExternalId": "shared"}},
    }});
    sandbox.sts().add(CHAINED, Role { trust, max_duration: 43200 });
    sandbox
}

/// A request for the role `train` with a token, with changes to the call and to what is done around it.
fn asking(sandbox: &Sandbox, token: &str, assume: &Value, further: &Value) -> Value {
    let mut request =
        super::map(&json!({"RoleArn": TRAIN, "RoleSessionName": "job-1", "WebIdentityToken": token}));
    request.extend(super::map(assume));
    let mut asked = super::map(&json!({"url": sandbox.url(), "assume": request}));
    asked.extend(super::map(further));
    asked.into()
}

/// What boto3 makes of each request.
async fn boto3(python: &Path, asked: &[Value]) -> Vec<Value> {
    let ended = output(command(python, &[SCRIPT]), json!(asked).to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(answers.len(), asked.len());
    answers
}

fn web(sandbox: &Sandbox) -> String {
    token(sandbox, &json!({"audience": "sts.amazonaws.com"}), &json!({}))
}

/// Runs a test that needs boto3.
fn with_boto3(test: impl AsyncFnOnce(&Path, &Sandbox)) {
    let Some(python) = components::find("venv/bin/python") else { return };
    run(async { test(&python, &aws().await).await });
}

#[test]
fn boto3_assumes_a_role_and_is_who_the_role_says() {
    with_boto3(async |python, sandbox| {
        let asked = asking(sandbox, &web(sandbox), &json!({"DurationSeconds": 900}), &json!({}));
        let answer = boto3(python, &[asked]).await.remove(0);
        assert_eq!(answer["caller"]["Arn"], "arn:aws:sts::123456789012:assumed-role/train/job-1", "{answer}");
        assert_eq!(answer["caller"]["Account"], "123456789012");
        assert_eq!(answer["caller"]["UserId"], answer["user"]["AssumedRoleId"]);
        assert!(answer["subject"].as_str().unwrap().starts_with("organization:acme:pipeline:web:"));
        let ends: Vec<_> = sandbox.sts().issued().iter().map(|one| one.expires_at.timestamp()).collect();
        assert_eq!(ends, [answer["expires"].as_i64().unwrap()]);
    });
}

/// Checks that boto3 reads these errors: code, HTTP status and a part of the message.
async fn refused(python: &Path, cases: Vec<(Value, &str, u16, &str)>) {
    let asked: Vec<Value> = cases.iter().map(|(asked, ..)| asked.clone()).collect();
    for (answer, (_, code, status, said)) in boto3(python, &asked).await.iter().zip(cases) {
        assert_eq!((&answer["error"], &answer["status"]), (&json!(code), &json!(status)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
    }
}

#[test]
fn boto3_reads_each_refusal_of_a_token() {
    with_boto3(async |python, sandbox| {
        let usual = json!({"audience": "sts.amazonaws.com"});
        let with = |token: &str| asking(sandbox, token, &json!({}), &json!({}));
        let changed = |claims: Value| with(&token(sandbox, &usual, &claims));
        let strange = Issuer::new(sandbox.issuer_url()).unwrap();
        let forged = strange.sign(sandbox.issuer().verify(&web(sandbox)).unwrap().as_map()).unwrap();
        let (invalid, elsewhere) = ("InvalidIdentityToken", "organization:acme:pipeline:docs:x");
        let cases = vec![
            (changed(json!({"aud": "another"})), invalid, 400, "Incorrect token audience"),
            (changed(json!({"exp": 1})), "ExpiredTokenException", 400, "Token expired"),
            (changed(json!({"nbf": 1_i64 << 40})), invalid, 400, "not valid yet"),
            (changed(json!({"iss": "http://issuer.internal"})), invalid, 400, "No OpenIDConnect provider"),
            (with(&forged), invalid, 400, "could not be validated"),
            (with("not-a-token"), invalid, 400, "not a valid JWT"),
            (changed(json!({ "sub": elsewhere })), "AccessDenied", 403, elsewhere),
        ];
        refused(python, cases).await;
        assert!(sandbox.sts().issued().is_empty());
    });
}

#[test]
fn boto3_reads_each_refusal_of_a_request() {
    with_boto3(async |python, sandbox| {
        let with = |assume: Value| asking(sandbox, &web(sandbox), &assume, &json!({}));
        let none = "arn:aws:iam::123456789012:role/none";
        let cases = vec![
            (with(json!({"DurationSeconds": 7201})), "ValidationError", 400, "MaxSessionDuration"),
            (with(json!({"DurationSeconds": 600})), "ValidationError", 400, "greater than or equal to 900"),
            (with(json!({"RoleSessionName": "job 1"})), "ValidationError", 400, "roleSessionName"),
            (with(json!({ "RoleArn": none })), "AccessDenied", 403, "Not authorized"),
            (with(json!({"Policy": "not json"})), "MalformedPolicyDocument", 400, "Json"),
        ];
        refused(python, cases).await;
        assert!(sandbox.sts().issued().is_empty());
    });
}

#[test]
fn session_tags_are_given_where_the_trust_policy_allows_them() {
    with_boto3(async |python, sandbox| {
        let tagged = |name: &str| {
            let asked = json!({"audience": "sts.amazonaws.com", "aws_session_tags": [name]});
            asking(sandbox, &token(sandbox, &asked, &json!({})), &json!({}), &json!({}))
        };
        let answers = boto3(python, &[tagged("pipeline_slug")]).await;
        assert_eq!(sandbox.sts().issued()[0].tags["pipeline_slug"], "web", "{answers:?}");
        let said = "Not authorized to perform sts:TagSession";
        refused(python, vec![(tagged("step_key"), "AccessDenied", 403, said)]).await;
    });
}

#[test]
fn boto3_reads_how_full_the_room_for_policies_is_and_who_a_session_comes_from() {
    with_boto3(async |python, sandbox| {
        let plain = asking(sandbox, &web(sandbox), &json!({}), &json!({}));
        let policy =
            json!({"Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}).to_string();
        let chain = json!({"RoleArn": CHAINED, "RoleSessionName": "next", "ExternalId": "shared"});
        let narrowed = asking(sandbox, &web(sandbox), &json!({ "Policy": policy }), &json!({}));
        let mut named = super::map(&chain);
        named.insert("SourceIdentity".into(), "build-7".into());
        let answers = boto3(
            python,
            &[plain, narrowed, asking(sandbox, &web(sandbox), &json!({}), &json!({ "chain": chain }))],
        )
        .await;
        assert!(answers[0]["packed"].as_i64() < answers[1]["packed"].as_i64(), "{answers:?}");
        let issued = sandbox.sts().issued();
        assert_eq!(answers[1]["packed"], json!(issued[1].packed), "{answers:?}");
        let cases = vec![(
            asking(sandbox, &web(sandbox), &json!({}), &json!({ "chain": named })),
            "AccessDenied",
            403,
            "sts:SetSourceIdentity",
        )];
        refused(python, cases).await;
    });
}

#[test]
fn keys_are_worth_nothing_with_another_secret() {
    with_boto3(async |python, sandbox| {
        let asked = asking(sandbox, &web(sandbox), &json!({}), &json!({"secret": "another"}));
        refused(python, vec![(asked, "SignatureDoesNotMatch", 403, "does not match")]).await;
    });
}

#[test]
fn a_lent_role_assumes_the_next_one_for_an_hour_at_most() {
    with_boto3(async |python, sandbox| {
        let next = |changed: Value| {
            let mut chain =
                super::map(&json!({"RoleArn": CHAINED, "RoleSessionName": "next", "ExternalId": "shared"}));
            chain.extend(super::map(&changed));
            asking(sandbox, &web(sandbox), &json!({}), &json!({ "chain": chain }))
        };
        let answer = boto3(python, &[next(json!({}))]).await.remove(0);
        assert_eq!(answer["caller"]["Arn"], "arn:aws:sts::210987654321:assumed-role/deploy/next", "{answer}");
        let cases = vec![
            (next(json!({"ExternalId": "wrong"})), "AccessDenied", 403, "saw `wrong`"),
            (next(json!({"DurationSeconds": 3601})), "ValidationError", 400, "role chaining"),
        ];
        refused(python, cases).await;
    });
}

#[test]
fn the_aws_command_line_lives_on_a_token_in_a_file() {
    let Some(aws_cli) = components::find("venv/bin/aws") else { return };
    run(async {
        let sandbox = aws().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, web(&sandbox)).unwrap();
        let mut caller = command(&aws_cli, &["sts", "get-caller-identity", "--output", "json"]);
        caller
            .env("HOME", folder.path())
            .env("AWS_ENDPOINT_URL_STS", sandbox.url())
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_ROLE_ARN", TRAIN)
            .env("AWS_ROLE_SESSION_NAME", "job-2")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &file);
        let ended = output(caller, "").await;
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(answer["Arn"], "arn:aws:sts::123456789012:assumed-role/train/job-2");
    });
}
