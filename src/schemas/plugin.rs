//! The configuration of plugin.yml, made from the schema of a step: what Ajv and the agent know of JSON Schema, each
//! option with the first sentence of its doc comment.

use serde_json::Value as Json;
use serde_yaml::{Mapping, Value};

use super::resolved;
use super::words::Words;

/// The configuration as a tree, its keys in the order in which `old` has them.
pub(super) fn configuration(root: &Json, old: &Value) -> Value {
    node(root, root, old).into_iter().filter(|(key, _)| key != "type").collect::<Mapping>().into()
}

fn node(root: &Json, schema: &Json, old: &Value) -> Mapping {
    let schema = resolved(root, schema);
    let choices = ["anyOf", "oneOf"].iter().filter_map(|list| schema[list].as_array()).flatten();
    if schema["properties"].is_null() && choices.clone().next().is_some() {
        let old = |at: usize| old.get("oneOf").and_then(|list| list.get(at)).unwrap_or(&Value::Null);
        let mut made = chosen(choices.enumerate().map(|(at, one)| node(root, one, old(at))).collect());
        made.extend(
            schema.get("maxItems").map(|most| ("maxItems".into(), serde_yaml::to_value(most).unwrap())),
        );
        return made;
    }
    let mut made = Mapping::new();
    for key in ["type", "enum", "pattern", "minLength", "maxLength", "minimum", "minItems", "maxItems"] {
        if let Some(value) = schema.get(key).filter(|value| value.as_u64() != Some(0)) {
            made.insert(key.into(), serde_yaml::to_value(value).unwrap());
        }
    }
    if let Some(word) = schema.get("const") {
        made.insert("enum".into(), Value::Sequence(vec![serde_yaml::to_value(word).unwrap()]));
    }
    if schema["items"].is_object() {
        made.insert("items".into(), node(root, &schema["items"], &old["items"]).into());
    }
    if schema["properties"].is_object() {
        object(root, &schema, old, &mut made);
    } else if schema["additionalProperties"].is_object() && !is_anything(&schema["additionalProperties"]) {
        made.insert("additionalProperties".into(), node(root, &schema["additionalProperties"], old).into());
    }
    made
}

fn is_anything(schema: &Json) -> bool {
    schema["$ref"] == "#/$defs/Anything"
}

fn object(root: &Json, schema: &Json, old: &Value, made: &mut Mapping) {
    let old = &old["properties"];
    let known = |key: &str| old.as_mapping().and_then(|old| old.keys().position(|one| one == key));
    let mut keys: Vec<(&String, &Json)> = schema["properties"].as_object().unwrap().iter().collect();
    keys.sort_by_key(|(key, _)| known(key).unwrap_or(usize::MAX));
    let mut properties = Mapping::new();
    for (key, inner) in keys {
        // Of a variant's one field the variant's own comment tells.
        let told = if inner["description"].is_string() { inner } else { schema };
        let (kind, rest): (Mapping, Mapping) =
            node(root, inner, &old[key.as_str()]).into_iter().partition(|(key, _)| key == "type");
        let mut whole = kind;
        whole.insert("description".into(), Words::of(told).short().into());
        whole.extend(rest);
        properties.insert(key.as_str().into(), whole.into());
    }
    made.insert("properties".into(), properties.into());
    for key in ["oneOf", "required", "additionalProperties"] {
        if let Some(value) = schema.get(key) {
            made.insert(key.into(), serde_yaml::to_value(value).unwrap());
        }
    }
}

/// One of several: words of one list, or types that one schema can name, or a choice.
fn chosen(all: Vec<Mapping>) -> Mapping {
    let mut merged = Mapping::new();
    let words = all.iter().all(|one| one.contains_key("enum"));
    let plain = |one: &Mapping| ["properties", "oneOf", "enum"].iter().all(|key| !one.contains_key(*key));
    let objects = |one: &Mapping| one.get("items").is_some_and(|items| items.get("properties").is_some());
    if !words && !all.iter().all(|one| plain(one) && !objects(one)) {
        let all = all.into_iter().map(Value::Mapping).collect();
        return [("oneOf".into(), Value::Sequence(all))].into_iter().collect();
    }
    for (key, value) in all.into_iter().flatten() {
        match (merged.get_mut(&key), key.as_str()) {
            (Some(seen), Some("type" | "enum")) if *seen != value => {
                let mut both = listed(std::mem::take(seen));
                both.extend(listed(value));
                *seen = Value::Sequence(both);
            }
            (Some(_), _) => {}
            (None, _) => drop(merged.insert(key, value)),
        }
    }
    merged
}

fn listed(value: Value) -> Vec<Value> {
    match value {
        Value::Sequence(all) => all,
        one => vec![one],
    }
}
