//! Tokens: who asks, what they say of themselves, their end, and those that wrap an answer.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Call, Lent, Refusal, State, Wrapped, answer, random, refuse};
use dataflow_types::secret::Secret;

/// A login.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) accessor: String,
    /// By which path of a login method it was made, and by which role.
    pub(super) path: String,
    pub(super) role: String,
    pub(super) made: DateTime<Utc>,
    pub(super) batch: bool,
    pub(super) ends: DateTime<Utc>,
    pub(super) revoked: bool,
}

/// The place of a token that works.
pub(super) fn known(state: &State, value: &str, now: DateTime<Utc>) -> Result<usize, Refusal> {
    let works = |token: &Token| token.value.expose() == value && !token.revoked && token.ends > now;
    state.tokens.iter().position(works).ok_or_else(Refusal::no_such_token)
}

pub(super) fn about(state: &State, whose: usize, now: DateTime<Utc>) -> Value {
    let about = state.tokens.get(whose).map(|token| {
        json!({
            "id": token.value.expose(), "accessor": token.accessor, "policies": ["default"],
            "ttl": (token.ends - now).num_seconds(), "type": if token.batch { "batch" } else { "service" },
            "renewable": !token.batch, "orphan": true, "path": token.path, "meta": { "role": token.role },
            "creation_time": token.made.timestamp(),
        })
    });
    answer(json!({ "data": about }))
}

/// What an operator is told by an accessor: everything but the token.
pub(super) fn by_accessor(state: &State, call: &Call<'_>, now: DateTime<Utc>) -> Result<Value, Refusal> {
    let accessor = call.body.get("accessor").and_then(Value::as_str).unwrap_or_default();
    let lives = |token: &Token| token.accessor == accessor && !token.batch && !token.revoked;
    let whose = state.tokens.iter().position(lives).ok_or_else(|| refuse(400, "invalid accessor"))?;
    let mut told = about(state, whose, now);
    if let Some(id) = told.pointer_mut("/data/id") {
        *id = json!("");
    }
    Ok(told)
}

pub(super) fn revoke(state: &mut State, whose: usize) -> Result<Value, Refusal> {
    match state.tokens.get_mut(whose) {
        Some(token) if token.batch => Err(refuse(400, "batch tokens cannot be revoked")),
        Some(token) => {
            token.revoked = true;
            Ok(Value::Null)
        }
        None => Err(Refusal::no_such_token()),
    }
}

/// An operator's revocation; what is not there is a warning.
pub(super) fn revoke_by_accessor(state: &mut State, call: &Call<'_>) -> Value {
    let accessor = call.body.get("accessor").and_then(Value::as_str).unwrap_or_default();
    let lives = |token: &&mut Token| token.accessor == accessor && !token.batch && !token.revoked;
    match state.tokens.iter_mut().find(lives) {
        Some(token) => {
            token.revoked = true;
            Value::Null
        }
        None => answer(json!({ "warnings": ["No token found with this accessor"] })),
    }
}

pub(super) fn wrap(state: &mut State, inner: Value, seconds: i64, path: &str, now: DateTime<Utc>) -> Value {
    let token = format!("hvs.CAESW{}{}", random(), random());
    state.values.push(Lent { value: Secret::new(token.as_str()), leased_to: None });
    state.wrapped.insert(token.clone(), Wrapped { answer: inner, ends: now + TimeDelta::seconds(seconds) });
    let wrapped = json!({
        "token": token, "accessor": random(), "ttl": seconds, "creation_path": path,
        "creation_time": now.to_rfc3339_opts(SecondsFormat::Nanos, true),
    });
    answer(json!({ "wrap_info": wrapped }))
}

/// The token is the one that asks, or in the body of a login's request.
pub(super) fn unwrap(state: &mut State, call: &Call<'_>, now: DateTime<Utc>) -> Result<Value, Refusal> {
    let named = call.body.get("token").and_then(Value::as_str);
    if named.is_some() && call.token.is_empty() {
        return Err(Refusal::denied());
    }
    let token = named.unwrap_or(call.token);
    let wrapped = state.wrapped.remove(token).filter(|wrapped| wrapped.ends > now);
    let wrapped = wrapped.ok_or_else(|| refuse(400, "wrapping token is not valid or does not exist"))?;
    Ok(wrapped.answer)
}
