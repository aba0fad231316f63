//! What operators set up: for a rehearsal, whatever its steps ask for; for tests, through the root token.

use serde_json::{Map, Value, json};

use super::engine::Engine;
use super::login::Role;
use super::{Call, Refusal, State, answer, random, refuse};
use crate::keys;
use dataflow_config::credential::Kind as _;
use dataflow_config::key::{Algorithm, Transit};
use dataflow_config::secrets::Secrets;
use dataflow_config::vault::{Read, Vault};

/// Makes the role and the paths that a step asks for, where they are not there already.
pub(super) fn prepare(state: &mut State, vault: &Vault) {
    let namespace = prefix(vault.namespace.as_deref());
    let audience = vault.token().map(|(token, usual)| token.audience.clone().unwrap_or(usual));
    let role =
        Role { bound_audiences: audience.into_iter().collect(), user_claim: "sub".into(), ..Role::default() };
    let path = format!("{namespace}auth/{}/role/{}", vault.mount, vault.role);
    state.roles.entry(path).or_insert(role);
    for read in &vault.secrets {
        mount(state, &namespace, read);
    }
}

/// The same for what is read with a login that another credential of the step holds.
pub(super) fn prepare_stored(state: &mut State, secrets: &Secrets) {
    for one in &secrets.values {
        let read = Read { key: one.key.clone(), ..Read::of(&one.name) };
        mount(state, &prefix(secrets.namespace.as_deref()), &read);
    }
}

/// The same for a key that is to sign.
pub(super) fn prepare_key(state: &mut State, transit: &Transit) {
    let path = format!("{}{}/sign/{}", prefix(transit.namespace.as_deref()), transit.mount, transit.key);
    state.engines.entry(path).or_insert(Engine::Signs(transit.algorithm));
}

fn prefix(namespace: Option<&str>) -> String {
    namespace.map(|text| format!("{}/", text.trim_matches('/'))).unwrap_or_default()
}

fn mount(state: &mut State, namespace: &str, read: &Read) {
    let path = format!("{namespace}{}", read.path);
    let engine = state.engines.entry(path).or_insert_with(|| engine(read));
    add(engine, read.key.as_deref().unwrap_or("value"));
}

/// By the usual names of paths.
fn engine(read: &Read) -> Engine {
    let path = format!("/{}", read.path);
    if path.contains("/data/") {
        Engine::Versioned(vec![Map::new(); read.version.map_or(1, |version| version.clamp(1, 100) as usize)])
    } else if path.contains("/creds/") {
        Engine::Leased(Vec::new())
    } else if read.data.is_some() {
        Engine::Made(Vec::new())
    } else {
        Engine::Kept(Map::new())
    }
}

fn add(engine: &mut Engine, key: &str) {
    match engine {
        Engine::Kept(values) => set(values, key),
        Engine::Versioned(versions) => versions.iter_mut().for_each(|values| set(values, key)),
        Engine::Leased(keys) | Engine::Made(keys) => keys.push(key.to_owned()),
        Engine::Signs(_) => {}
    }
}

/// A random value behind a key, or behind a pointer.
pub(crate) fn set(values: &mut Map<String, Value>, key: &str) {
    let mut parts = key.strip_prefix('/').map_or_else(|| vec![key], |path| path.split('/').collect());
    let last = parts.pop().unwrap_or_default();
    let mut inner = values;
    for part in parts {
        let next = inner.entry(part).or_insert_with(|| json!({}));
        let Value::Object(map) = next else { return };
        inner = map;
    }
    inner.entry(last).or_insert_with(|| json!(format!("{last}-{}", random())));
}

/// What the root token writes: roles, and values of KV.
pub(super) fn by_root(state: &mut State, call: &Call<'_>) -> Result<Value, Refusal> {
    let path = call.path.as_str();
    if path.contains("auth/") && path.contains("/role/") {
        if !call.writes() {
            let role = state.roles.get(path).ok_or_else(Refusal::nothing_there)?;
            return Ok(answer(json!({ "data": role })));
        }
        let mut body = call.body.clone();
        if let Some(body) = body.as_object_mut() {
            // Clients send a `null` for what they were not told.
            body.retain(|_, value| !value.is_null());
        }
        let role: Role = serde_json::from_value(body).map_err(|error| refuse(400, error.to_string()))?;
        let bound = |claims: &Map<String, Value>| !claims.is_empty();
        if role.bound_audiences.is_empty()
            && role.bound_subject.is_none()
            && !role.bound_claims.as_ref().is_some_and(bound)
        {
            return Err(refuse(400, "must have at least one bound constraint when creating/updating a role"));
        }
        state.roles.insert(path.to_owned(), role);
        return Ok(Value::Null);
    }
    if let Some((mount, key)) = path.split_once("/keys/") {
        return transit_key(state, call, &format!("{mount}/sign/{key}"));
    }
    let values = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    match (call.writes(), values(call.body.get("data")).filter(|_| path.contains("/data/"))) {
        (false, _) => super::engine::call(state, call, chrono::DateTime::UNIX_EPOCH),
        (true, Some(inner)) => {
            let engine =
                state.engines.entry(path.to_owned()).or_insert_with(|| Engine::Versioned(Vec::new()));
            let Engine::Versioned(versions) = engine else { return Err(Refusal::denied()) };
            versions.push(inner);
            Ok(answer(json!({"data": {"version": versions.len()}})))
        }
        (true, None) => {
            let values = values(Some(&call.body)).ok_or_else(|| refuse(400, "error parsing JSON"))?;
            state.engines.insert(path.to_owned(), Engine::Kept(values));
            Ok(Value::Null)
        }
    }
}

/// A key of `transit`: made by writing, told by reading.
fn transit_key(state: &mut State, call: &Call<'_>, at: &str) -> Result<Value, Refusal> {
    let kind = call.body.get("type").and_then(Value::as_str).unwrap_or_default();
    let algorithm = match kind {
        "rsa-2048" => Algorithm::Rs256,
        "ecdsa-p256" => Algorithm::Es256,
        _ if call.writes() => return Err(refuse(400, format!("unknown key type {kind}"))),
        _ => match state.engines.get(at) {
            Some(Engine::Signs(algorithm)) => *algorithm,
            _ => return Err(Refusal::nothing_there()),
        },
    };
    state.engines.insert(at.to_owned(), Engine::Signs(algorithm));
    let kept = json!({"1": {"public_key": keys::public_pem(algorithm)}});
    Ok(answer(json!({"data": {"keys": kept, "latest_version": 1, "supports_signing": true}})))
}
