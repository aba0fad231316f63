//! STS: a job's token for a federated one.

use serde_json::{Value, json};

use super::{Google, Refused, fields, is_scope, random};
use dataflow_host::serve::Request;
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const SUBJECTS: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

/// The longest `google.subject`.
const MAX_SUBJECT: usize = 127;
const HOUR: i64 = 3600;

impl Google {
    pub(super) fn exchanged(&self, request: &Request) -> Result<Value, Refused> {
        let form = fields(request);
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let invalid =
            |what: &str| Refused::oauth("invalid_request", format!("Invalid value for \"{what}\"."));
        if field("grant_type") != GRANT {
            return Err(Refused::oauth("unsupported_grant_type", "Unsupported grant type"));
        }
        if field("requested_token_type") != ACCESS {
            return Err(invalid("requested_token_type"));
        }
        if !SUBJECTS.contains(&field("subject_token_type")) {
            return Err(invalid("subject_token_type"));
        }
        // One text, its scopes apart by spaces (RFC 8693, section 2.1).
        if !field("scope").split(' ').all(is_scope) {
            return Err(Refused::oauth(
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            ));
        }
        let audience = field("audience");
        let named = audience.strip_prefix("//iam.").and_then(|rest| rest.split_once('/'));
        let provider = named.map(|(_, name)| name).filter(|name| is_provider(name));
        let provider = provider.ok_or_else(|| {
            let text = "Invalid value for \"audience\". This value should be the full resource name of the Identity Provider.";
            Refused::oauth("invalid_request", text)
        })?;
        let subject = self.subject(field("subject_token"), audience)?;
        let pool = provider.split("/providers/").next().unwrap_or_default();
        let principal = format!("principal://iam.googleapis.com/{pool}/subject/{subject}");
        let token = self.give("a federated token", &principal, random(), HOUR);
        Ok(json!({
            "access_token": token.secret.expose(), "issued_token_type": ACCESS, "token_type": "Bearer",
            "expires_in": HOUR,
        }))
    }

    /// Whose a token is (RFC 7662), as gcloud asks.
    pub(super) fn introspected(&self, request: &Request) -> Value {
        let form = fields(request);
        let asked = form.get("token").map(String::as_str).unwrap_or_default();
        let now = self.with.clock.now();
        let known = self.known().iter().find(|one| one.secret.expose() == asked && one.ends > now).cloned();
        known.map_or_else(
            || json!({ "active": false }),
            |one| json!({ "active": true, "username": one.principal, "exp": one.ends.timestamp() }),
        )
    }

    fn subject(&self, token: &str, audience: &str) -> Result<String, Refused> {
        let grant = |text: String| Refused::oauth("invalid_grant", text);
        let unverified = SubjectToken::new(Secret::new(token)).unverified_claims();
        let unverified = unverified.map_err(|_| grant("Unable to parse the ID Token.".to_owned()))?;
        let issuer = unverified.text("iss").unwrap_or_default();
        if issuer != self.with.issuer.url() {
            return Err(grant(format!("The issuer in ID Token {issuer} does not match the expected ones.")));
        }
        let claims = self.with.issuer.verify(token);
        let claims = claims.ok_or_else(|| grant("Invalid signature for the ID Token.".to_owned()))?;
        let audiences = claims.audiences();
        let own = |aud: &String| aud.trim_start_matches("https:") == audience;
        if !audiences.iter().any(own) {
            let text = format!(
                "The audience in ID Token [{}] does not match the expected audience.",
                audiences.join(", ")
            );
            return Err(grant(text));
        }
        self.timely(&claims)?;
        let subject = claims.text("sub").unwrap_or_default();
        if subject.len() > MAX_SUBJECT {
            let text = "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your \
                 attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes.";
            return Err(Refused::oauth("invalid_request", text));
        }
        Ok(subject)
    }

    fn timely(&self, claims: &Claims) -> Result<(), Refused> {
        let now = self.with.clock.now().timestamp();
        let issued = claims.seconds("iat").unwrap_or_default();
        if claims.seconds("exp").is_none_or(|end| end <= now) {
            let text = format!("ID Token issued at {issued} is stale to sign-in.");
            return Err(Refused::oauth("invalid_grant", text));
        }
        Ok(())
    }
}

fn is_provider(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    matches!(
        parts.as_slice(),
        ["projects", number, "locations", "global", "workloadIdentityPools", _, "providers", _]
            if number.parse::<u64>().is_ok()
    )
}
