//! The login method `jwt`, in the words of `vault-plugin-auth-jwt` and of `cap/jwt`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::token::Token;
use super::{Call, Refusal, State, answer, random, refuse};
use crate::issuer::Issuer;
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

/// How far past its end, or before its beginning, a token may be, in seconds (`clock_skew_leeway`).
const LEEWAY: i64 = 60;

/// A role, as its API writes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Role {
    pub(super) bound_audiences: Vec<String>,
    pub(super) bound_subject: Option<String>,
    pub(super) bound_claims: Option<Map<String, Value>>,
    pub(super) bound_claims_type: Option<String>,
    pub(super) user_claim: String,
    pub(super) token_type: Option<String>,
    pub(super) token_ttl: Option<i64>,
}

pub(super) fn login(
    state: &mut State,
    issuer: &Issuer,
    call: &Call<'_>,
    now: DateTime<Utc>,
) -> Result<Value, Refusal> {
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (name, jwt) = (text("role"), text("jwt"));
    let mount = call.path.trim_end_matches("/login");
    if !state.roles.keys().any(|path| path.starts_with(&format!("{mount}/role/"))) {
        return Err(Refusal::denied());
    }
    if name.is_empty() {
        return Err(refuse(400, "missing role"));
    }
    let role = state.roles.get(&format!("{mount}/role/{name}")).cloned();
    let role = role.ok_or_else(|| refuse(400, format!("role \"{name}\" could not be found")))?;
    if jwt.is_empty() {
        return Err(refuse(400, "missing token"));
    }
    let claims = check(&role, issuer, jwt, now.timestamp())?;
    identify(&role, &claims)?;
    bound_claims(&role, &claims)?;
    Ok(give(state, &role, call, name, now))
}

/// In the order in which the real one looks.
fn check(role: &Role, issuer: &Issuer, jwt: &str, now: i64) -> Result<Claims, Refusal> {
    let invalid = |what: &str| refuse(400, format!("error validating token: {what}"));
    let unverified = SubjectToken::new(Secret::new(jwt)).unverified_claims();
    let unsigned = |what: &str| invalid(&format!("error verifying token signature: {what}"));
    let malformed = "go-jose/go-jose: compact JWS format must have three parts";
    let unverified = unverified.map_err(|_| unsigned(malformed))?;
    let verified = issuer.verify(jwt);
    let claims = verified.ok_or_else(|| unsigned("failed to verify id token signature"))?;
    if unverified.text("iss").as_deref() != Some(issuer.url()) {
        return Err(invalid("invalid issuer (iss) claim"));
    }
    if role.bound_subject.as_ref().is_some_and(|bound| claims.text("sub").as_ref() != Some(bound)) {
        return Err(invalid("invalid subject (sub) claim"));
    }
    let audiences = claims.audiences();
    if !role.bound_audiences.is_empty() && !role.bound_audiences.iter().any(|bound| audiences.contains(bound))
    {
        let text = "invalid audience (aud) claim: audience claim does not match any expected audience";
        return Err(invalid(text));
    }
    if claims.seconds("exp").is_none_or(|end| end + LEEWAY <= now) {
        return Err(invalid("invalid expiration time (exp) claim: token is expired"));
    }
    if claims.seconds("nbf").is_some_and(|start| start - LEEWAY > now) {
        return Err(invalid("invalid not before (nbf) claim: token not yet valid"));
    }
    if role.bound_audiences.is_empty() && !audiences.is_empty() {
        return Err(refuse(400, "audience claim found in JWT but no audiences bound to the role"));
    }
    Ok(claims)
}

fn identify(role: &Role, claims: &Claims) -> Result<(), Refusal> {
    let name = &role.user_claim;
    match claims.as_map().get(name) {
        None | Some(Value::Null) => Err(refuse(400, format!("claim \"{name}\" not found in token"))),
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err(refuse(400, format!("claim \"{name}\" could not be converted to string"))),
    }
}

fn bound_claims(role: &Role, claims: &Claims) -> Result<(), Refusal> {
    let glob = role.bound_claims_type.as_deref() == Some("glob");
    let mut bound = role.bound_claims.iter().flatten();
    bound.try_for_each(|(name, bound)| bound_claim(claims, name, bound, glob))
}

fn bound_claim(claims: &Claims, name: &str, bound: &Value, glob: bool) -> Result<(), Refusal> {
    let refused = |text: String| Err(refuse(400, format!("error validating claims: {text}")));
    let Some(seen) = claims.as_map().get(name).filter(|seen| !seen.is_null()) else {
        return refused(format!("claim \"{name}\" is missing"));
    };
    let fits = |bound: &Value, seen: &Value| match (bound.as_str(), seen.as_str()) {
        (Some(bound), Some(seen)) if glob => dataflow_policy::pattern::matches(bound, seen),
        // A number is no text that reads like it.
        _ => !glob && bound == seen,
    };
    if list(bound).iter().any(|bound| list(seen).iter().any(|seen| fits(bound, seen))) {
        return Ok(());
    }
    refused(format!("claim \"{name}\" does not match any associated bound claim values"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn give(state: &mut State, role: &Role, call: &Call<'_>, name: &str, now: DateTime<Utc>) -> Value {
    let batch = role.token_type.as_deref() == Some("batch");
    let seconds = role.token_ttl.filter(|ttl| *ttl > 0).unwrap_or(3600);
    let token = Token {
        value: Secret::new(format!(
            "{}{}{}",
            if batch { "hvb.AAAAAQ" } else { "hvs.CAESI" },
            random(),
            random()
        )),
        accessor: if batch { String::new() } else { random() },
        // Without its namespace.
        path: call.path.find("auth/").map(|at| call.path.split_at(at).1.to_owned()).unwrap_or_default(),
        role: name.to_owned(),
        made: now,
        batch,
        ends: now + TimeDelta::seconds(seconds),
        revoked: false,
    };
    let given = json!({
        "client_token": token.value.expose(), "accessor": token.accessor,
        "policies": ["default"], "token_policies": ["default"], "metadata": { "role": name },
        "lease_duration": seconds, "renewable": !batch, "entity_id": uuid::Uuid::new_v4().to_string(),
        "token_type": if batch { "batch" } else { "service" }, "orphan": true, "mfa_requirement": null, "num_uses": 0,
    });
    state.tokens.push(token);
    answer(json!({ "auth": given }))
}
