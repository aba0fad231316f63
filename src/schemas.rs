//! The published JSON Schemas are made from the types that are read and written: `schemas/*.json` must
//! be what the types say. `UPDATE_SCHEMAS=1 cargo test schemas` writes them anew.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use dataflow_config::host::HostConfig;
use dataflow_config::step::Step;
use dataflow_record::Link;

fn schema_of<T: JsonSchema>(title: &str) -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".into(), Value::from(title));
    schema
}

/// The agent drops a block at a null: no key of a step may have one.
fn step_schema() -> Schema {
    let mut schema: Value = schema_of::<Step>("Step config: the plugin's block in pipeline.yml").into();
    without_nulls(&mut schema);
    schema["$defs"]["Anything"] = serde_json::json!({
        "description": "Anything but a null, at any depth.",
        "type": ["object", "array", "string", "number", "boolean"],
        "items": {"$ref": "#/$defs/Anything"},
        "additionalProperties": {"$ref": "#/$defs/Anything"},
    });
    Schema::try_from(schema).unwrap()
}

fn without_nulls(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".to_owned(), one);
                }
            }
            if map.get("additionalProperties") == Some(&Value::Bool(true)) {
                map.insert(
                    "additionalProperties".to_owned(),
                    serde_json::json!({"$ref": "#/$defs/Anything"}),
                );
            }
            for key in ["anyOf", "enum"] {
                if let Some(Value::Array(all)) = map.get_mut(key) {
                    all.retain(|one| !one.is_null() && *one != serde_json::json!({"type": "null"}));
                }
            }
            if map.get("anyOf").and_then(Value::as_array).is_some_and(|all| all.len() == 1)
                && let Some(Value::Array(all)) = map.remove("anyOf")
            {
                map.extend(all.into_iter().filter_map(|one| one.as_object().cloned()).flatten());
            }
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[track_caller]
fn held(file: &str, schema: &Schema) {
    let path = format!("{}/schemas/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == text,
        "schemas/{file} is not what the types say: UPDATE_SCHEMAS=1 cargo test schemas"
    );
}

#[test]
fn the_published_schema_of_the_step_config_is_what_is_read() {
    held("step.json", &step_schema());
}

#[test]
fn the_published_schema_of_the_host_config_is_what_is_read() {
    held("host.json", &schema_of::<HostConfig>("Host config"));
}

#[test]
fn the_published_schema_of_the_record_is_what_is_written() {
    held("record.json", &schema_of::<Link>("A link of a record"));
}

/// The properties of a schema's object, through `$ref`, `allOf` and optional types.
fn properties(root: &Value, schema: &Value, found: &mut Vec<String>, place: &str) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return properties(root, root.pointer(name.trim_start_matches('#')).unwrap(), found, place);
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        for one in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            properties(root, one, found, place);
        }
    }
    if let Some(items) = schema.get("items") {
        properties(root, items, found, &format!("{place}[]"));
    }
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let place = format!("{place}.{key}");
        found.push(place.clone());
        properties(root, inner, found, &place);
    }
}

#[test]
fn plugin_yml_has_the_keys_that_are_read_and_no_others() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.yml")).unwrap();
    let plugin: Value = serde_yaml::from_str(&text).unwrap();
    let published: Value = schema_of::<Step>("").into();
    let (mut ours, mut read) = (Vec::new(), Vec::new());
    properties(&plugin, &plugin["configuration"], &mut ours, "");
    properties(&published, &published, &mut read, "");
    ours.sort();
    read.sort();
    assert_eq!(ours, read);
}
