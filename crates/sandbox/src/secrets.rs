//! Secrets managers: AWS's two check who signed, Google's and Azure's whether this sandbox gave the token.
//!
//! Every version is the current one, and rights are not simulated: who is known may read what is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::aws_json::{refused, unsigned};
use super::kms::Kms;
use super::service::{Issued, Service, Surroundings};
use super::sts::Sts;
use super::vault::set;
use dataflow_config::credential::ProviderRequest;
use dataflow_config::secrets::{Secrets, Store};
use dataflow_host::serve::{Request, Response};
use dataflow_types::secret::Secret;

/// What a key vault answers to whoever shows no token; its tenant is not looked at.
const CHALLENGE: &str = "Bearer authorization=\"https://login.microsoftonline.com/00000000-0000-4000-8000-000000000001\", \
    resource=\"https://vault.azure.net\"";
/// The one version of every secret in a key vault.
const VERSION: &str = "00000000000000000000000000000001";

/// All of them.
#[derive(Debug)]
pub struct SecretsManagers {
    sts: Arc<Sts>,
    kept: Mutex<BTreeMap<(Store, String), Kept>>,
    kms: Kms,
}

/// A stored text, and what in it is secret.
#[derive(Clone, Debug, Default)]
struct Kept {
    whole: Option<String>,
    keys: Map<String, Value>,
    given: bool,
}

impl Kept {
    /// Every text in it, however deep.
    fn texts(&self) -> Vec<String> {
        let mut found: Vec<String> = self.whole.clone().into_iter().collect();
        let mut waiting: Vec<&Value> = self.keys.values().collect();
        while let Some(value) = waiting.pop() {
            match value {
                Value::String(text) => found.push(text.clone()),
                Value::Object(inner) => waiting.extend(inner.values()),
                _ => {}
            }
        }
        found
    }

    fn text(&self) -> String {
        self.whole.clone().unwrap_or_else(|| Value::Object(self.keys.clone()).to_string())
    }
}

impl Service for SecretsManagers {
    fn provider(&self) -> &'static str {
        "secrets"
    }

    fn origins(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn answer(&self, request: &Request) -> Response {
        self.answer_to(request, &|_| false)
    }

    fn answer_to(&self, request: &Request, known: &dyn Fn(&str) -> bool) -> Response {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        match header("x-amz-target") {
            Some("secretsmanager.GetSecretValue") => self.aws(request, Store::AwsSecretsManager),
            Some("AmazonSSM.GetParameter") => self.aws(request, Store::AwsSsm),
            Some(operation) if operation.starts_with("TrentService.") => {
                self.kms.answer(request, operation, &self.sts)
            }
            Some(_) => Response::json(400, &json!({"__type": "UnknownOperationException"})),
            None => {
                let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
                let path = request.path.split('?').next().unwrap_or_default();
                let known = token.is_some_and(known);
                if path.starts_with("/v1/") { self.google(path, known) } else { self.azure(path, known) }
            }
        }
    }

    fn issued(&self) -> Vec<Issued> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = kept.values().filter(|kept| kept.given).flat_map(Kept::texts);
        let issued = |text: String| Issued {
            what: "a stored value".into(),
            secret: Secret::new(text),
            revoked: false,
        };
        texts.map(issued).collect()
    }

    fn prepare(&self, asked: &[ProviderRequest]) {
        for ask in asked {
            self.kms.prepare(ask);
            if let ProviderRequest::Secrets(secrets) = ask {
                self.keep(secrets);
            }
        }
    }
}

impl SecretsManagers {
    /// Stores that hold nothing.
    pub fn new(with: &Surroundings) -> Self {
        Self { sts: Arc::clone(&with.sts), kept: Mutex::default(), kms: Kms::default() }
    }

    /// A random value for whatever is asked for and not there already.
    fn keep(&self, secrets: &Secrets) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &secrets.values {
            let kept = kept.entry((secrets.store, one.name.clone())).or_default();
            match &one.key {
                Some(key) => set(&mut kept.keys, key),
                None if kept.keys.is_empty() => {
                    let random = || format!("value-{}", uuid::Uuid::new_v4().simple());
                    kept.whole.get_or_insert_with(random);
                }
                None => {}
            }
        }
    }

    fn take(&self, store: Store, name: &str) -> Option<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_mut(&(store, name.to_owned()))?;
        kept.given = true;
        Some(kept.text())
    }

    fn aws(&self, request: &Request, store: Store) -> Response {
        let service = if store == Store::AwsSsm { "ssm" } else { "secretsmanager" };
        if let Some(refusal) = unsigned(&self.sts, request, service) {
            return refusal;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let answer = match store {
            Store::AwsSsm => {
                let name = text("Name").split(':').next().unwrap_or_default();
                let parameter =
                    |value| json!({"Name": name, "Type": "SecureString", "Value": value, "Version": 1});
                self.take(store, name).map(|value| json!({"Parameter": parameter(value)}))
            }
            _ => self.take(store, text("SecretId")).map(|value| {
                let stages = ["AWSCURRENT"];
                json!({"Name": text("SecretId"), "SecretString": value, "VersionStages": stages})
            }),
        };
        match answer {
            Some(answer) => Response::new(200, "application/x-amz-json-1.1", answer.to_string()),
            None if store == Store::AwsSsm => refused("ParameterNotFound", ""),
            None => refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
        }
    }

    /// `/v1/projects/P/secrets/S/versions/V:access`.
    fn google(&self, path: &str, known: bool) -> Response {
        let refused = |code: u16, status: &str, message: &str| {
            let error = json!({"code": code, "status": status, "message": message});
            Response::json(code, &json!({ "error": error }))
        };
        if !known {
            return refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        let name = path.strip_prefix("/v1/").and_then(|path| path.split_once("/versions/"));
        let name = name.map_or(path, |(name, _)| name);
        let missing = || refused(404, "NOT_FOUND", &format!("Secret [{name}] not found or has no versions."));
        self.take(Store::GcpSecretManager, name).map_or_else(missing, |value| {
            let payload = json!({"data": STANDARD.encode(value)});
            Response::json(200, &json!({"name": format!("{name}/versions/1"), "payload": payload}))
        })
    }

    /// `/secrets/NAME[/VERSION]`. Whoever comes without a token is told where one is had.
    fn azure(&self, path: &str, known: bool) -> Response {
        let refused = |status: u16, code: &str| {
            Response::json(status, &json!({"error": {"code": code, "message": ""}}))
        };
        if !known {
            let mut answer = refused(401, "Unauthorized");
            answer.headers.push(("www-authenticate", CHALLENGE.to_owned()));
            return answer;
        }
        let name = path.strip_prefix("/secrets/").and_then(|path| path.split('/').next()).unwrap_or_default();
        let value = self.take(Store::AzureKeyVault, name);
        value.map_or_else(
            || refused(404, "SecretNotFound"),
            |value| {
                let id = format!("https://vault.vault.azure.net/secrets/{name}/{VERSION}");
                Response::json(200, &json!({"value": value, "id": id, "attributes": {"enabled": true}}))
            },
        )
    }
}
