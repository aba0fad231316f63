//! The service account credentials API: a federated token for a service account's.

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::{Google, Refused, Token, fields, is_scope, random};
use dataflow_host::serve::Request;

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
            "signJwt" => self.signed(account, &body),
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
        let known = |scope: &Value| scope.as_str().is_some_and(is_scope);
        if !body["scope"].as_array().is_some_and(|scopes| scopes.iter().all(known)) {
            return invalid("Invalid scope.");
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

    fn signed(&self, account: &str, body: &Value) -> Result<Value, Refused> {
        let payload = body["payload"].as_str().and_then(|text| serde_json::from_str(text).ok());
        let Some(claims) =
            payload.filter(|claims: &Map<String, Value>| claims.get("iss") == Some(&json!(account)))
        else {
            return Err(Refused::api(400, "INVALID_ARGUMENT", "Payload is not a valid JSON object."));
        };
        let token = self.with.issuer.sign(&claims);
        let token = token.map_err(|error| Refused::api(500, "INTERNAL", error.to_string()))?;
        Ok(json!({ "keyId": "1", "signedJwt": token }))
    }

    /// OAuth's endpoint: an assertion of a service account for a token of a user.
    pub(super) fn on_behalf(&self, request: &Request) -> Result<Value, Refused> {
        let form = fields(request);
        if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
            return Err(Refused::oauth("unsupported_grant_type", "Invalid grant_type"));
        }
        let claims = form.get("assertion").and_then(|assertion| self.with.issuer.verify(assertion));
        let invalid = |text: &str| Refused::oauth("invalid_grant", text);
        let claims = claims.ok_or_else(|| invalid("Invalid JWT Signature."))?;
        let now = self.with.clock.now().timestamp();
        let (from, until) =
            (claims.seconds("iat").unwrap_or_default(), claims.seconds("exp").unwrap_or_default());
        if until <= now
            || until - from > HOUR
            || claims.audiences() != ["https://oauth2.googleapis.com/token"]
        {
            return Err(invalid("Invalid JWT: Token must be a short-lived token (60 minutes)."));
        }
        let scope = claims.text("scope").unwrap_or_default();
        if scope.is_empty() {
            return Err(Refused::oauth("invalid_scope", "Empty or missing scope not allowed."));
        }
        if !scope.split(' ').all(is_scope) {
            return Err(Refused::oauth("invalid_scope", "Some requested scopes were invalid."));
        }
        let subject = claims.text("sub").unwrap_or_default();
        if !subject.contains('@') || subject.ends_with(".gserviceaccount.com") {
            return Err(invalid("Invalid email or User ID"));
        }
        let token = self.give("an access token", &subject, random(), until - now);
        Ok(json!({"access_token": token.secret.expose(), "expires_in": until - now, "token_type": "Bearer"}))
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
