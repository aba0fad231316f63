//! The environment is hostile input: every variable that a library might read is set against us.

use serde_json::json;

use crate::support::hooks::{JOB, Stage};

/// Variables that libraries and loaders read unasked, each with a value that would do harm.
fn hostile(stage: &Stage) -> Vec<(&'static str, String)> {
    let folder = stage.folder.path().display().to_string();
    let nowhere = || "http://127.0.0.1:1".to_owned();
    vec![
        ("HOME", format!("{folder}/evil-home")),
        ("TMPDIR", "/nonexistent".into()),
        ("XDG_STATE_HOME", format!("{folder}/evil-state")),
        ("SSL_CERT_FILE", "/nonexistent/ca.pem".into()),
        ("SSL_CERT_DIR", "/nonexistent".into()),
        ("HTTP_PROXY", nowhere()),
        ("http_proxy", nowhere()),
        ("HTTPS_PROXY", nowhere()),
        ("https_proxy", nowhere()),
        ("ALL_PROXY", nowhere()),
        ("all_proxy", nowhere()),
        ("NO_PROXY", "none".into()),
        ("AWS_ENDPOINT_URL", nowhere()),
        ("AWS_ENDPOINT_URL_STS", nowhere()),
        ("AWS_CONFIG_FILE", "/nonexistent/config".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials".into()),
        ("AWS_CA_BUNDLE", "/nonexistent/ca.pem".into()),
        ("AWS_MAX_ATTEMPTS", "0".into()),
        ("AWS_EXECUTION_ENV", "evil\r\nx-evil: 1".into()),
        ("AWS_USE_FIPS_ENDPOINT", "true".into()),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true".into()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", nowhere()),
        ("OTEL_SERVICE_NAME", "evil".into()),
        ("RUST_LOG", "trace".into()),
        ("RUST_BACKTRACE", "full".into()),
        ("SSLKEYLOGFILE", format!("{folder}/keys.log")),
        ("LD_LIBRARY_PATH", "/nonexistent".into()),
        ("PATH", "/nonexistent".into()),
        ("BUILDKITE_REQUEST_HEADER_AUTHORIZATION", "Token stolen".into()),
        ("BUILDKITE_REQUEST_HEADER_HOST", "evil.test".into()),
        ("BUILDKITE_OIDC_TOKEN_CLAIMS", "queue_id".into()),
        ("DATAFLOW_ENV_NAMES", "; rm -rf / $(evil)".into()),
    ]
}

#[test]
fn a_hostile_environment_changes_nothing_but_what_is_its_own() {
    let mut stage = Stage::new();
    stage.config["log"] = json!("warn");
    for (name, value) in hostile(&stage) {
        stage.set(name, &value);
    }
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    assert!(!before.text.contains("TRACE") && !before.text.contains("DEBUG"), "{}", before.text);
    let names = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION";
    assert!(stage.variable("DATAFLOW_ENV_NAMES").unwrap().ends_with(names));
    stage.command_ended(0);
    let after = stage.hook("post-command");
    assert_eq!(after.status, 0, "{}", after.text);
    for (name, value) in hostile(&stage) {
        assert_eq!(stage.variable(name), Some(value), "{name}");
    }
    for trace in ["evil-home", "evil-state", "keys.log"] {
        assert!(!stage.folder.path().join(trace).exists(), "{trace}");
    }
    assert_eq!(stage.records().len(), 2);
    stage.no_secret_anywhere();
}

#[test]
fn a_step_that_changes_who_it_says_it_is_is_settled_all_the_same() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    for (name, value) in [
        ("BUILDKITE_JOB_ID", "another-job"),
        ("BUILDKITE_PIPELINE_SLUG", "another-pipeline"),
        ("BUILDKITE_AGENT_JOB_API_SOCKET", "/nonexistent/evil.sock"),
    ] {
        stage.set(name, value);
    }
    let after = stage.hook("post-command");
    assert_eq!(after.status, 0, "{}", after.text);
    stage.nothing_left();
    let links = stage.records();
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|link| link.run.job == JOB));
}

#[test]
fn the_job_is_who_the_token_says_and_not_who_a_variable_says() {
    let mut stage = Stage::new();
    stage.config["grants"] = json!([{"name": "docs", "claims": {"pipeline_slug": "docs"},
        "credentials": [{"aws": {"role": crate::support::hooks::ROLE}}]}]);
    stage.block = json!({"credentials": [{"grant": "docs"}]});
    stage.set("BUILDKITE_PIPELINE_SLUG", "docs");
    let text = stage.refuses(103, "denied");
    assert!(text.contains("claim `pipeline_slug`: expected `docs`, saw `web`"), "{text}");
}

#[test]
fn a_job_id_of_another_job_gets_no_token() {
    let mut stage = Stage::new();
    stage.set("BUILDKITE_JOB_ID", "0194f6f2-0000-4b6e-9d5e-5b1a2c3d4e5f");
    stage.refuses(104, "no-token");
}

#[test]
fn a_hook_outlives_a_log_that_went_away() {
    let mut stage = Stage::new();
    assert_eq!(stage.hook("pre-command").status, 0);
    stage.command_ended(0);
    stage.write_config();
    // Both streams are pipes whose readers are gone.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut hook = stage.command("post-command");
    let status = hook.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    stage.nothing_left();
    assert_eq!(stage.records().len(), 2);
}
