//! What is reported for a block in which several things are wrong.

use serde_json::{Value, json};

use super::path::{Segment, get};
use super::step::Step;

#[track_caller]
fn reports(block: Value, expected: &[&str]) {
    let error = Step::read(block).unwrap_err();
    let lines: Vec<String> =
        error.lines().iter().map(|line| line.trim_start_matches("step config: ").to_owned()).collect();
    assert_eq!(lines, expected);
}

#[test]
fn every_error_of_a_block_is_reported_in_one_run() {
    let block = json!({"credentials": [
        {"aws": {"role": "train", "duration": 60, "foo": 1, "session-name": "a b", "token": {"lifetime": "9h"}}},
        {"gcp": {"provider": 7}, "zebra": 1},
        {"vault": {"address": "http://vault.example.test", "role": "",
            "secrets": [{"path": "a", "env": "1"}, {"path": "/"}]}},
    ], "hook": "pre-comand", "inputs": ["raw"]});
    let lines = Step::read(block).unwrap_err().lines();
    let begins = [
        "`credentials[0].aws.duration`: expected 15m to 12h, saw `1m`",
        "`credentials[0].aws`: unknown key `foo`; known here: `role`, `region`",
        "`credentials[0].aws.role`: expected the ARN of a role such as `arn:aws:iam::123456789012:role/NAME`, saw `train`",
        "`credentials[0].aws.session-name`: expected 2 to 64 of `[A-Za-z0-9_+=,.@-]`, saw `a b`",
        "`credentials[0].aws.token.lifetime`: expected 1s to 2h, saw `9h`",
        "`credentials[1].gcp.provider`: saw integer `7`, expected a string (in quotes)",
        "`credentials[1]`: unknown key `zebra`; known here: `name`, `export`",
        "`credentials[2].vault.address`: expected an https URL, saw `http://vault.example.test`",
        "`credentials[2].vault.role`: expected the name of a role, saw nothing",
        "`credentials[2].vault.secrets[0].env`: expected the name of an environment variable",
        "`credentials[2].vault.secrets[1].env`: expected an `env`, a `file` or a `field`, saw none",
        "`credentials[2].vault.secrets[1].path`: expected a path such as `secret/data/train`, saw `/`",
        "`hook`: saw `pre-comand`, expected `pre-command` or `environment`; did you mean `pre-command`?",
        "`inputs[0]`: expected a URI such as `s3://bucket/prefix/`, saw `raw`",
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:#?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(&format!("step config: {begin}")), "{line}");
    }
}

#[test]
fn what_is_wrong_because_of_another_error_alone_is_not_reported() {
    reports(
        json!({"credentials": [{"name": "reader", "aws": "arn"}, {"secrets": {"source": "reader", "store": "aws-ssm",
            "region": "eu-west-1", "values": [{"name": "a", "env": "A"}]}}]}),
        &[
            "`credentials[0].aws`: saw `arn`, expected a map with `role`, `region`, `sts-region`, `duration`, `deadline` and others",
        ],
    );
}

#[test]
fn a_key_that_others_use_or_that_stands_a_level_off_is_named() {
    let hint = |block: Value| Step::read(block).unwrap_err().hint.unwrap_or_default();
    let role = "arn:aws:iam::123456789012:role/x";
    let aws = |key: &str, value: Value| json!({"credentials": [{"aws": {"role": role, key: value}}]});
    assert_eq!(hint(json!({"credentials": [{"aws": {"role_arn": role}}]})), "did you mean `role`?");
    assert_eq!(hint(json!({"credentials": [{"aws": {"role-to-assume": role}}]})), "did you mean `role`?");
    assert_eq!(hint(aws("audience", json!("x"))), "`audience` belongs in `credentials[0].aws.token`");
    assert_eq!(hint(aws("refresh", json!(true))), "`refresh` belongs in `credentials[0]`");
    assert_eq!(hint(aws("release", json!("pre-exit"))), "`release` belongs at the top");
    let outside = json!({"credentials": [{"aws": {"role": role}, "aws_region": "eu-west-1"}]});
    assert_eq!(hint(outside), "`region` belongs in `credentials[0].aws`");
    assert_eq!(hint(json!({"aws": {"role": role}})), "`aws` belongs in an entry of `credentials`");
    // The blocks of other plugins have all of it at the top.
    for key in ["role-arn", "role_arn", "role-to-assume"] {
        assert_eq!(hint(json!({ key: role })), "`role` belongs in `credentials[0].aws`", "{key}");
    }
    assert_eq!(hint(json!({"region": "eu-west-1"})), "`region` belongs in `credentials[0].aws`");
    assert_eq!(hint(json!({"audience": "x"})), "`audience` belongs in `credentials[0].aws.token`");
    assert_eq!(hint(json!({"credentials": [{"google": {}}]})), "did you mean `gcp`?");
}

#[test]
fn get_is_what_get_mut_changes() {
    let tree = json!({"a": [1]});
    assert_eq!(get(&tree, &[Segment::Key("a".into()), Segment::Index(0)]), Some(&json!(1)));
}

#[test]
fn what_is_shown_is_what_was_written_and_not_what_stood_in_for_a_claim() {
    let role = "arn:aws:iam::123456789012:role/x";
    let entry = json!({"aws": {"role": role, "duration": "${claims.build_number}"}});
    reports(
        json!({"credentials": [entry]}),
        &[
            "`credentials[0].aws.duration`: saw `${claims.build_number}`, expected a duration such as `15m`, `1h30m` or a \
           number of seconds",
        ],
    );
    let slip = json!({"aws": {"role": format!("{role}-${{claims.pipline_slug}}")}});
    let error = Step::read(json!({"credentials": [slip]})).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `pipeline_slug`?"), "{error}");
}

#[test]
fn a_flood_of_errors_ends() {
    let entries: Vec<Value> = (0..400).map(|at| json!({"zebra": at, "aws": {"rolle": at}})).collect();
    let error = Step::read(json!({"credentials": entries})).unwrap_err();
    assert!(error.lines().len() > 10, "{}", error.lines().len());
}
