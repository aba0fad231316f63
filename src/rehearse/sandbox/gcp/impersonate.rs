//! The service account credentials API: a federated token for a service account's.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::{Google, Refused, Token, random};
use crate::host::serve::Request;

/// The longest life without a policy of the organization, in seconds.
const HOUR: i64 = 3600;

impl Google {
    /// `rest` is what stands behind `serviceAccounts/`.
    pub(super) fn impersonated(&self, rest: &str, request: &Request) -> Result<Value, Refused> {
        self.caller(request)?;
        let rest = rest.replace("%40", "@").replace("%3A", ":");
        let (account, method) = rest.rsplit_once(':').unwrap_or((&rest, ""));
        if !account.ends_with(".gserviceaccount.com") {
            let text = format!("Not found; Gaia id not found for email {account}");
            return Err(Refused::api(404, "NOT_FOUND", text));
        }
        let body: Value = serde_json::from_slice(&request.body)
            .map_err(|_| Refused::api(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))?;
        match method {
            "generateAccessToken" => self.access(account, &body),
            "generateIdToken" => self.id(account, &body),
            _ => Err(Refused::api(404, "NOT_FOUND", "Method not found.")),
        }
    }

    fn caller(&self, request: &Request) -> Result<Token, Refused> {
        let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let bearer = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let now = self.with.clock.now();
        let known = self.known();
        let token = known.iter().find(|one| one.secret.expose() == bearer && one.ends > now).cloned();
        token.ok_or_else(|| {
            Refused::api(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        })
    }

    fn access(&self, account: &str, body: &Value) -> Result<Value, Refused> {
        let invalid = |text: &str| Err(Refused::api(400, "INVALID_ARGUMENT", text));
        if body["scope"].as_array().is_none_or(Vec::is_empty) {
            return invalid("Scope required.");
        }
        let lifetime = body["lifetime"].as_str().unwrap_or("3600s");
        let seconds = match lifetime.strip_suffix('s').and_then(|text| text.parse::<i64>().ok()) {
            Some(seconds @ 1..=HOUR) => seconds,
            Some(1..) => return invalid("The access token lifetime cannot exceed 3600 seconds."),
            _ => return invalid("Invalid lifetime."),
        };
        let token = self.give("an access token", account, random(), seconds);
        let ends = token.ends.to_rfc3339_opts(SecondsFormat::Secs, true);
        Ok(json!({"accessToken": token.secret.expose(), "expireTime": ends}))
    }

    fn id(&self, account: &str, body: &Value) -> Result<Value, Refused> {
        let Some(audience) = body["audience"].as_str().filter(|audience| !audience.is_empty()) else {
            return Err(Refused::api(400, "INVALID_ARGUMENT", "Audience required."));
        };
        let now = self.with.clock.now();
        let mut claims = serde_json::Map::new();
        let mut set = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        set("iss", json!("https://accounts.google.com"));
        set("aud", json!(audience));
        set("sub", json!("100000000000000000000"));
        set("iat", json!(now.timestamp()));
        set("exp", json!(now.timestamp() + HOUR));
        if body["includeEmail"] == true {
            set("email", json!(account));
            set("email_verified", json!(true));
        }
        let token = self.with.issuer.sign(&claims);
        let token = token.map_err(|error| Refused::api(500, "INTERNAL", error.to_string()))?;
        self.give("an ID token", account, token.clone(), HOUR);
        Ok(json!({ "token": token }))
    }
}
