//! A Vault that nobody here wrote, in memory: whoever can build or name one has every story of it checked.

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::components;

/// The token that sets it up.
pub(crate) const ROOT: &str = "root-of-the-tests";

pub(crate) struct Real {
    process: Child,
    pub(crate) url: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What `DATAFLOW_VAULT` names, a `vault` or a `bao`, or what `.ci/components vault` built.
fn program() -> Option<PathBuf> {
    let here = env::var_os("DATAFLOW_VAULT").map(PathBuf::from);
    let path = here.or_else(|| components::optional("vault")).filter(|path| path.exists());
    if path.is_none() {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| components::told("no real Vault is asked (`.ci/components vault` builds one)"));
    }
    path
}

impl Real {
    /// One whose method `jwt` believes this issuer, with both kinds of KV and the engines PKI and transit.
    pub(crate) fn start(issuer: &str) -> Option<Self> {
        let program = program()?;
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT]);
        command.args(["-dev-listen-address", &format!("127.0.0.1:{port}")]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let real = Self { process, url: format!("http://127.0.0.1:{port}") };
        real.until_it_answers("sys/health");
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
        real.until_it_answers("secret/config");
        Some(real)
    }

    fn until_it_answers(&self, path: &str) {
        let began = Instant::now();
        while self.ask("GET", path, &Value::Null).0 != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{path} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks as root: the status, 0 where there is no answer, and the body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask_as(ROOT, method, path, body)
    }

    /// Asks with this token.
    pub(crate) fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "-H", &format!("X-Vault-Token: {token}"), "-w", "\n%{http_code}"]);
        if !body.is_null() {
            curl.args(["-d", &body.to_string()]);
        }
        let output = curl.arg(format!("{}/v1/{path}", self.url)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// Writes as root.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, body: &Value) {
        let (status, answer) = self.ask("POST", path, body);
        assert!([200, 204].contains(&status), "{path}: {status} {answer}");
    }
}
