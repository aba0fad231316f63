//! Secrets engines: values that are kept, and values that are made for whoever asks.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::{Call, Lent, Refusal, State, answer, random, refuse};
use crate::keys;
use dataflow_config::key::Algorithm;
use dataflow_types::secret::Secret;

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    /// KV v1.
    Kept(Map<String, Value>),
    /// KV v2: its versions, the first first.
    Versioned(Vec<Map<String, Value>>),
    /// Values with these keys, made anew for each reader, with a lease.
    Leased(Vec<String>),
    /// Values with these keys, made for whoever writes parameters, without a lease: PKI.
    Made(Vec<String>),
    /// A key of `transit` that signs.
    Signs(Algorithm),
}

pub(super) fn call(state: &mut State, call: &Call<'_>, now: DateTime<Utc>) -> Result<Value, Refusal> {
    let Some(engine) = state.engines.get(&call.path).cloned() else {
        let signs = call.writes() && call.path.contains("/sign/");
        return Err(if signs { refuse(400, "signing key not found") } else { Refusal::nothing_there() });
    };
    if let Engine::Signs(algorithm) = engine {
        return sign(algorithm, call);
    }
    let unsupported = || refuse(405, "1 error occurred:\n\t* unsupported operation\n\n");
    let (fields, data) = match (engine, call.writes()) {
        (Engine::Kept(values), false) => (json!({"lease_duration": 2_764_800}), values),
        (Engine::Versioned(versions), false) => return version(state, &versions, call, now),
        (Engine::Leased(keys), _) => {
            let lease = format!("{}/{}", call.path, random());
            (json!({"lease_id": lease, "lease_duration": 3600, "renewable": true}), made(&keys))
        }
        (Engine::Made(keys), true) => (json!({}), made(&keys)),
        _ => return Err(unsupported()),
    };
    let leased_to = fields.get("lease_id").map(|_| call.token.to_owned());
    lend(state, &data, leased_to.as_deref());
    let mut whole = answer(fields);
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("data".into(), Value::Object(data));
    }
    Ok(whole)
}

/// An error that the real one does not look into, whoever made it.
fn internal(what: &str) -> Refusal {
    refuse(500, format!("1 error occurred:\n\t* {what}\n\n"))
}

/// In the words of Vault's `builtin/logical/transit`.
fn sign(algorithm: Algorithm, call: &Call<'_>) -> Result<Value, Refusal> {
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).unwrap_or_default();
    let input = STANDARD
        .decode(text("input"))
        .map_err(|error| refuse(400, format!("unable to decode input: {error}")))?;
    let hashed = call.body.get("prehashed").and_then(Value::as_bool).unwrap_or_default();
    let digest = if hashed { input } else { digest(&SHA256, &input).as_ref().to_vec() };
    if digest.len() != 32 || !["", "sha2-256"].contains(&text("hash_algorithm")) {
        return Err(internal("crypto/rsa: input must be hashed message"));
    }
    let version = call.body.get("key_version").and_then(Value::as_i64).unwrap_or_default();
    if ![0, 1].contains(&version) {
        return Err(internal("requested version for signing is higher than the latest key version"));
    }
    // Without a word of it Vault signs by RSA-PSS, which is no RS256.
    if algorithm == Algorithm::Rs256 && text("signature_algorithm") != "pkcs1v15" {
        return Err(refuse(400, "this rehearsal signs by pkcs1v15 alone"));
    }
    let jws = text("marshaling_algorithm") == "jws";
    let signature = keys::sign(algorithm, &digest, !jws).ok_or_else(|| refuse(500, "no key"))?;
    let encoded = if jws { URL_SAFE_NO_PAD.encode(signature) } else { STANDARD.encode(signature) };
    Ok(answer(json!({"data": {"signature": format!("vault:v1:{encoded}"), "key_version": 1}})))
}

fn version(
    state: &mut State,
    versions: &[Map<String, Value>],
    call: &Call<'_>,
    now: DateTime<Utc>,
) -> Result<Value, Refusal> {
    let asked = call.query.get("version").and_then(|text| text.parse().ok()).filter(|asked| *asked > 0);
    let number: usize = asked.unwrap_or(versions.len());
    let data =
        number.checked_sub(1).and_then(|index| versions.get(index)).ok_or_else(Refusal::nothing_there)?;
    lend(state, data, None);
    let metadata = json!({
        "version": number, "created_time": now.to_rfc3339_opts(SecondsFormat::Nanos, true),
        "deletion_time": "", "destroyed": false, "custom_metadata": null,
    });
    Ok(answer(json!({"data": {"data": data, "metadata": metadata}})))
}

fn made(keys: &[String]) -> Map<String, Value> {
    keys.iter().map(|key| (key.clone(), json!(format!("{key}-{}", random())))).collect()
}

/// Remembers every text that was given, however deep.
fn lend(state: &mut State, data: &Map<String, Value>, leased_to: Option<&str>) {
    let mut waiting: Vec<&Value> = data.values().collect();
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => {
                let leased_to = leased_to.map(str::to_owned);
                state.values.push(Lent { value: Secret::new(text.as_str()), leased_to });
            }
            Value::Object(inner) => waiting.extend(inner.values()),
            _ => {}
        }
    }
}
