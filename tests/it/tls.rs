//! TLS and the way out: whose certificates are believed, and that a name is looked up.

use serde_json::json;

use crate::support::hooks::Stage;

#[test]
fn a_private_authority_of_the_host_config_is_believed() {
    let mut stage = Stage::new();
    stage.speak_tls();
    stage.config["network"] = json!({"ca-file": stage.folder.path().join("ca.pem")});
    let before = stage.hook("pre-command");
    assert_eq!(before.status, 0, "{}", before.text);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
}

#[test]
fn an_authority_that_nobody_named_is_not_believed() {
    let mut stage = Stage::new();
    stage.speak_tls();
    let ca = stage.folder.path().join("ca.pem");
    stage.set("SSL_CERT_FILE", ca.to_str().unwrap());
    let text = stage.refuses(104, "no-token");
    assert!(text.contains("cannot reach `localhost`") && text.contains("certificate"), "{text}");
}

#[test]
fn an_authority_file_that_is_not_there_is_named() {
    let mut stage = Stage::new();
    stage.speak_tls();
    stage.config["network"] = json!({"ca-file": "/nonexistent/ca.pem"});
    let text = stage.refuses(102, "bad-configuration");
    assert!(text.contains("`network.ca-file`: saw `/nonexistent/ca.pem`"), "{text}");
}

#[test]
fn requests_that_leave_the_host_go_through_the_host_configs_proxy() {
    let mut stage = Stage::new();
    // The sandbox stands in for the proxy: it sees the absolute URL of a host that does not exist.
    stage.config["network"] = json!({"proxy": stage.sandbox.url()});
    stage.set("BUILDKITE_AGENT_ENDPOINT", "http://agent.example.test/v3");
    let before = stage.hook("pre-command");
    assert_eq!((before.status, stage.sandbox.faults().asked("/oidc/tokens")), (0, 1), "{}", before.text);
}
