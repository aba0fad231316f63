//! A Vault that nobody here wrote, in memory.

use std::process::Command;

use serde_json::{Value, json};

use super::components;
use super::server::{Server, answers, ask, free_port};

/// The token that sets it up.
pub(crate) const ROOT: &str = "root-of-the-tests";

pub(crate) struct Real {
    _server: Server,
    pub(crate) url: String,
}

fn header(token: &str) -> String {
    format!("X-Vault-Token: {token}")
}

impl Real {
    /// One whose method `jwt` believes this issuer, with both kinds of KV and the engines PKI and transit.
    pub(crate) fn start(issuer: &str) -> Option<Self> {
        let program = components::server("vault", "DATAFLOW_VAULT")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT]);
        command.args(["-dev-listen-address", &format!("127.0.0.1:{port}")]);
        let url = format!("http://127.0.0.1:{port}");
        let real = Self { _server: Server::start(command, &format!("{url}/v1/sys/health")), url };
        real.write("sys/auth/jwt", &json!({"type": "jwt"}));
        real.write("auth/jwt/config", &json!({"oidc_discovery_url": issuer, "bound_issuer": issuer}));
        // `vault server -dev` has one at this path.
        real.ask("DELETE", "sys/mounts/secret", &Value::Null);
        for (path, mount) in [
            ("secret", json!({"type": "kv", "options": {"version": "2"}})),
            ("kv", json!({"type": "kv", "options": {"version": "1"}})),
            ("pki", json!({"type": "pki"})),
            ("transit", json!({"type": "transit"})),
        ] {
            real.write(&format!("sys/mounts/{path}"), &mount);
        }
        answers(&format!("{}/v1/secret/config", real.url), Some(&header(ROOT)));
        Some(real)
    }

    /// Asks as root: the status, 0 where there is no answer, and the body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask_as(ROOT, method, path, body)
    }

    /// Asks with this token.
    pub(crate) fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(method, &format!("{}/v1/{path}", self.url), Some(&header(token)), body)
    }

    /// Writes as root.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, body: &Value) {
        let (status, answer) = self.ask("POST", path, body);
        assert!([200, 204].contains(&status), "{path}: {status} {answer}");
    }
}
