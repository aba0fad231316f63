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

/// What boto3 makes of a token of the sandbox's issuer, with changes to the request.
async fn boto3(python: &Path, sandbox: &Sandbox, token: &str, assume: &Value, further: &Value) -> Value {
    let mut request =
        super::map(&json!({"RoleArn": TRAIN, "RoleSessionName": "job-1", "WebIdentityToken": token}));
    request.extend(super::map(assume));
    let mut asked = super::map(&json!({"url": sandbox.url(), "assume": request}));
    asked.extend(super::map(further));
    let ended = output(command(python, &[SCRIPT]), &Value::from(asked).to_string()).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
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
        let answer =
            boto3(python, sandbox, &web(sandbox), &json!({"DurationSeconds": 900}), &json!({})).await;
        assert_eq!(answer["caller"]["Arn"], "arn:aws:sts::123456789012:assumed-role/train/job-1", "{answer}");
        assert_eq!(answer["caller"]["Account"], "123456789012");
        assert_eq!(answer["caller"]["UserId"], answer["user"]["AssumedRoleId"]);
        assert!(answer["subject"].as_str().unwrap().starts_with("organization:acme:pipeline:web:"));
        let issued = sandbox.sts().issued();
        assert_eq!(
            issued.iter().map(|one| one.expires_at.timestamp()).collect::<Vec<_>>(),
            [answer["expires"].as_i64().unwrap()]
        );
    });
}

#[test]
fn boto3_reads_each_refusal_of_a_token() {
    with_boto3(async |python, sandbox| {
        let usual = json!({"audience": "sts.amazonaws.com"});
        let changed = |claims: Value| token(sandbox, &usual, &claims);
        let strange = Issuer::new(sandbox.issuer_url()).unwrap();
        let forged = strange.sign(sandbox.issuer().verify(&web(sandbox)).unwrap().as_map()).unwrap();
        for (token, code, status, said) in [
            (changed(json!({"aud": "another"})), "InvalidIdentityToken", 400, "Incorrect token audience"),
            (changed(json!({"exp": 1})), "ExpiredTokenException", 400, "Token expired"),
            (changed(json!({"nbf": 1_i64 << 40})), "InvalidIdentityToken", 400, "not valid yet"),
            (
                changed(json!({"iss": "http://issuer.internal"})),
                "InvalidIdentityToken",
                400,
                "No OpenIDConnect provider",
            ),
            (forged, "InvalidIdentityToken", 400, "could not be validated"),
            ("not-a-token".to_owned(), "InvalidIdentityToken", 400, "not a valid JWT"),
            (
                changed(json!({"sub": "organization:acme:pipeline:docs:x"})),
                "AccessDenied",
                403,
                "saw `organization:acme:pipeline:docs:x`",
            ),
        ] {
            let answer = boto3(python, sandbox, &token, &json!({}), &json!({})).await;
            assert_eq!((&answer["error"], &answer["status"]), (&json!(code), &json!(status)), "{answer}");
            assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
        }
        assert!(sandbox.sts().issued().is_empty());
    });
}

#[test]
fn boto3_reads_each_refusal_of_a_request() {
    with_boto3(async |python, sandbox| {
        for (assume, code, said) in [
            (json!({"DurationSeconds": 7201}), "ValidationError", "MaxSessionDuration"),
            (json!({"DurationSeconds": 600}), "ValidationError", "greater than or equal to 900"),
            (json!({"RoleSessionName": "job 1"}), "ValidationError", "roleSessionName"),
            (json!({"RoleArn": "arn:aws:iam::123456789012:role/none"}), "AccessDenied", "Not authorized"),
            (json!({"Policy": "not json"}), "MalformedPolicyDocument", "Json"),
        ] {
            let answer = boto3(python, sandbox, &web(sandbox), &assume, &json!({})).await;
            assert_eq!(answer["error"], code, "{assume}: {answer}");
            assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
        }
    });
}

#[test]
fn session_tags_are_given_where_the_trust_policy_allows_them() {
    with_boto3(async |python, sandbox| {
        let tagged = |names: Value| {
            token(sandbox, &json!({"audience": "sts.amazonaws.com", "aws_session_tags": names}), &json!({}))
        };
        let answer = boto3(python, sandbox, &tagged(json!(["pipeline_slug"])), &json!({}), &json!({})).await;
        assert!(answer.get("error").is_none(), "{answer}");
        assert_eq!(sandbox.sts().issued()[0].tags["pipeline_slug"], "web");
        let answer = boto3(python, sandbox, &tagged(json!(["step_key"])), &json!({}), &json!({})).await;
        assert_eq!(answer["error"], "AccessDenied", "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with("Not authorized to perform sts:TagSession"));
    });
}

#[test]
fn keys_are_worth_nothing_with_another_secret() {
    with_boto3(async |python, sandbox| {
        let further = json!({"secret": "another"});
        let answer = boto3(python, sandbox, &web(sandbox), &json!({}), &further).await;
        assert_eq!(answer["error"], "SignatureDoesNotMatch", "{answer}");
    });
}

#[test]
fn a_lent_role_assumes_the_next_one_for_an_hour_at_most() {
    with_boto3(async |python, sandbox| {
        let next = |changed: Value| {
            let mut chain = json!({"RoleArn": CHAINED, "RoleSessionName": "next", "ExternalId": "shared"});
            chain.as_object_mut().unwrap().extend(super::map(&changed));
            json!({ "chain": chain })
        };
        let answer = boto3(python, sandbox, &web(sandbox), &json!({}), &next(json!({}))).await;
        assert_eq!(answer["caller"]["Arn"], "arn:aws:sts::210987654321:assumed-role/deploy/next", "{answer}");
        let answer =
            boto3(python, sandbox, &web(sandbox), &json!({}), &next(json!({"ExternalId": "wrong"}))).await;
        assert_eq!(answer["error"], "AccessDenied", "{answer}");
        let answer =
            boto3(python, sandbox, &web(sandbox), &json!({}), &next(json!({"DurationSeconds": 3601}))).await;
        assert_eq!(answer["error"], "ValidationError", "{answer}");
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
