//! One source of words for options: the doc comments of the types that are read and written. The published JSON Schemas,
//! the configuration in plugin.yml and the tables of docs/configuration.md are made from them, and must be what they say.
//! `UPDATE_SCHEMAS=1 cargo test --lib schemas` writes them anew.
//!
//! A doc comment is one paragraph. Its first sentence says what the option is, and is all that plugin.yml has; where it
//! ends with `Default: ….`, that is the default in words, where the type does not tell it.

mod emit;
mod plugin;
mod tables;
mod words;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use dataflow_config::host::HostConfig;
use dataflow_config::step::Step;
use dataflow_record::Link;

fn schema_of<T: JsonSchema>(title: &str) -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".into(), Value::from(title));
    let mut schema: Value = schema.into();
    each_description(&mut schema, &|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    Schema::try_from(schema).unwrap()
}

fn each_description(schema: &mut Value, change: &impl Fn(&str) -> String) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = change(text);
            }
            map.values_mut().for_each(|inner| each_description(inner, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| each_description(inner, change)),
        _ => {}
    }
}

/// A schema in place of its reference; what stands beside the reference counts.
fn resolved(root: &Value, schema: &Value) -> Value {
    let Some(path) = schema["$ref"].as_str() else { return schema.clone() };
    let mut target = resolved(root, root.pointer(path.trim_start_matches('#')).unwrap());
    let beside = schema.as_object().unwrap().iter().filter(|(key, _)| *key != "$ref");
    target.as_object_mut().unwrap().extend(beside.map(|(key, value)| (key.clone(), value.clone())));
    target
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

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default()
}

#[track_caller]
fn held_text(file: &str, text: &str) {
    if std::env::var_os("UPDATE_SCHEMAS").is_some() && read(file) != text {
        std::fs::write(format!("{}/{file}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
    }
    let stale = "is not what the types say; this writes it anew: UPDATE_SCHEMAS=1 cargo test --lib schemas";
    assert!(read(file) == text, "{file} {stale}");
}

/// The links of doc comments lead somewhere in the documentation alone.
#[track_caller]
fn held(file: &str, schema: &Schema) {
    let mut schema: Value = schema.clone().into();
    each_description(&mut schema, &words::plain);
    let schema = Schema::try_from(schema).unwrap();
    held_text(&format!("schemas/{file}"), &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
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

#[test]
fn the_configuration_of_plugin_yml_is_what_the_types_say() {
    let text = read("plugin.yml");
    let old: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let (head, _) = text.split_once("configuration:").unwrap();
    let tree = plugin::configuration(&step_schema().into(), &old["configuration"]);
    held_text("plugin.yml", &format!("{head}{}", emit::emitted("configuration", &tree)));
}

#[test]
fn the_tables_of_options_are_what_the_types_say() {
    let step: Value = step_schema().into();
    let mut host: Value = schema_of::<HostConfig>("").into();
    without_nulls(&mut host);
    for (place, [_, _, meaning]) in [&step, &host].into_iter().flat_map(tables::rows) {
        assert!(meaning.ends_with(['.', ')']), "`{place}` has no doc comment in whole sentences: {meaning}");
    }
    let document = read("docs/configuration.md");
    held_text("docs/configuration.md", &tables::refreshed(&document, &[("step", &step), ("host", &host)]));
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
