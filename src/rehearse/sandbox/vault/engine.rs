//! Secrets engines: values that are kept, and values that are made for whoever asks.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{Call, Lent, Refusal, State, answer, random, refuse};
use crate::secret::Secret;

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
}

pub(super) fn call(state: &mut State, call: &Call<'_>, now: DateTime<Utc>) -> Result<Value, Refusal> {
    let Some(engine) = state.engines.get(&call.path).cloned() else {
        return Err(Refusal::nothing_there());
    };
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
