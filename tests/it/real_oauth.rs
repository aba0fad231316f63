//! The `oauth` provider against a server that nobody here wrote: the npm package oidc-provider.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::rehearse::sandbox::keys;
use buildkite_dataflow::settlement::Settlement;
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::Stage;
use crate::support::lent::{held, lends, of_held, settles, stage};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/oidc-provider/server.mjs");
pub(crate) const SECRET: &str = "the-secret-of-the-client-of-the-test";

pub(crate) struct Real {
    process: Child,
    pub(crate) issuer: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Starts the server, which believes the issuer of this stage's jobs, and a client with this key (PEM); `None` where
/// it is not installed.
pub(crate) fn real(stage: &Stage, key: &str) -> Option<Real> {
    let modules = components::find("oidc-provider/node_modules")?;
    let mut node = Command::new("node");
    node.arg(SERVER).arg(modules);
    let asked = json!({"jobs": stage.sandbox.issuer_url(), "secret": SECRET, "key": key});
    let real = Real::start(node, &asked);
    if real.is_none() {
        components::not_run("node is not on the PATH");
    }
    real
}

impl Real {
    /// Starts a server that reads what it is to know, writes its issuer, and serves until its input ends.
    pub(crate) fn start(mut command: Command, asked: &Value) -> Option<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        writeln!(process.stdin.as_mut().unwrap(), "{asked}").unwrap();
        let mut issuer = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut issuer).unwrap();
        Some(Self { process, issuer: issuer.trim().to_owned() })
    }
}

/// Asks the real server, with a secret that another credential holds.
fn asks(more: &Value, private_key: bool) -> Option<(Stage, Real)> {
    let mut stage = stage("oauth");
    let real = real(&stage, keys::pem().expose())?;
    stage.config["endpoints"] = json!([stage.sandbox.url(), real.issuer]);
    let mut oauth = json!({"issuer": real.issuer, "env": "API_TOKEN", "scope": "read"});
    oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.block = json!({"credentials": [held(&stage, private_key), {"oauth": oauth}]});
    if !private_key {
        let answer = json!({"access_token": SECRET, "expires_in": 3600, "issued_token_type": "x"});
        stage.fault("/oauth/token", 1, Response::json(200, &answer));
    }
    Some((stage, real))
}

#[test]
fn each_grant_that_it_knows_gives_a_token_that_it_says_is_gone_at_the_end() {
    let secret = |grant: &str, id: &str, auth: &str| json!({"grant": grant, "client-id": id, "client-secret": of_held(), "client-auth": auth});
    let key =
        json!({"grant": "private-key-jwt", "client-id": "keyed", "private-key": of_held(), "key-id": "k1"});
    for (more, private_key) in [
        (secret("client-credentials", "svc", "basic"), false),
        (secret("client-credentials", "svc-post", "post"), false),
        (secret("token-exchange", "svc", "basic"), false),
        (secret("jwt-bearer", "svc", "basic"), false),
        (key, true),
    ] {
        let Some((mut stage, _real)) = asks(&more, private_key) else { return };
        assert!(lends(&mut stage, "API_TOKEN").len() > 20, "{more}");
        let settled = settles(&mut stage, "API_TOKEN");
        assert!(matches!(settled, Settlement::Revoked { .. }), "{more}: {settled:?}");
    }
}

#[test]
fn its_refusals_are_told_with_what_to_do() {
    let check = |more: &Value, ident: &str, told: &str| {
        let Some((mut stage, _real)) = asks(more, false) else { return };
        let text = stage.refuses(105, ident);
        assert!(text.contains(told), "{text}");
    };
    let wrong = |key: &str, value: &Value| {
        let mut more = json!({"grant": "token-exchange", "client-id": "svc", "client-secret": of_held()});
        more[key] = value.clone();
        more
    };
    check(&wrong("client-id", &json!("nobody")), "provider-refused", "`invalid_client`");
    check(&wrong("token", &json!({"audience": "another"})), "token-rejected", "aud `another`");
    check(&wrong("subject-token-type", &json!("id_token")), "token-rejected", "`invalid_request`");
}
