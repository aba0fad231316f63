//! The tables of options in a document, made from the doc comments of the types.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolved;
use super::words::Words;

const END: &str = "<!-- end of options -->";

/// Every option of a schema by its place, with its row: type, default, meaning.
pub(super) fn rows(root: &Value) -> BTreeMap<String, [String; 3]> {
    let mut rows = BTreeMap::new();
    descend(root, root, "", &mut rows);
    rows
}

fn descend(root: &Value, schema: &Value, place: &str, rows: &mut BTreeMap<String, [String; 3]>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        if !is_elsewhere(name, place) {
            descend(root, &root["$defs"][name], place, rows);
        }
        return;
    }
    for one in ["anyOf", "oneOf"].iter().filter_map(|list| schema[list].as_array()).flatten() {
        descend(root, one, place, rows);
    }
    if schema["items"].is_object() {
        descend(root, &schema["items"], &format!("{place}[]"), rows);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (key, inner) in properties {
        let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
        // Of a variant's one field the variant's own comment tells.
        let is_variant = !inner["description"].is_string();
        let words = Words::of(if is_variant { schema } else { inner });
        rows.insert(below.clone(), row(root, inner, &words, (required, is_variant)));
        descend(root, inner, &below, rows);
    }
}

/// What is the same wherever it stands is told of once.
fn is_elsewhere(definition: &str, place: &str) -> bool {
    match definition {
        "Field" => true,
        "Credential" => place != "credentials[]",
        "Token" => place != "credentials[].aws.token",
        "PrivateKey" => place != "credentials[].oauth.private-key",
        _ => false,
    }
}

fn row(root: &Value, schema: &Value, words: &Words, (required, is_variant): (bool, bool)) -> [String; 3] {
    let mut types = Vec::new();
    collect_types(root, schema, &mut types);
    let separator = if types.iter().all(|one| one.starts_with('`')) { ", " } else { " or " };
    let goes_without_saying = required || is_variant || types == ["object"];
    let kind = types.join(separator) + if required && !is_variant { ", required" } else { "" };
    let none = if goes_without_saying { "" } else { "none" };
    [kind, words.default.clone().unwrap_or_else(|| none.to_owned()), words.whole.clone()]
}

/// What a value may be, in words.
fn collect_types(root: &Value, schema: &Value, types: &mut Vec<String>) {
    let mut add = |one: String| {
        if !types.contains(&one) {
            types.push(one);
        }
    };
    if schema["$ref"] == "#/$defs/Span" {
        return add("duration".to_owned());
    }
    let schema = resolved(root, schema);
    if let Some(word) = schema["const"].as_str() {
        return add(format!("`{word}`"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).for_each(|word| add(format!("`{word}`")));
    }
    let one = schema["type"].as_str().into_iter();
    for name in one.chain(schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str)) {
        add(match name {
            "string" if schema["format"] == "uri" => "URL".to_owned(),
            "object" if schema["additionalProperties"]["type"].is_string() => "map".to_owned(),
            "object" if schema["additionalProperties"]["$ref"] == "#/$defs/Access" => "map".to_owned(),
            "array" => {
                let mut items = Vec::new();
                collect_types(root, &schema["items"], &mut items);
                match items.as_slice() {
                    [item] if item == "string" || item == "URL" => format!("array of {item}s"),
                    _ => "array".to_owned(),
                }
            }
            other => other.to_owned(),
        });
    }
    if schema["properties"].is_null() {
        let choices = ["anyOf", "oneOf"].iter().filter_map(|list| schema[list].as_array()).flatten();
        choices.for_each(|one| collect_types(root, one, types));
    }
}

/// The document with its tables as the schemas say. A table's own order stays; what is new comes last.
pub(super) fn refreshed(document: &str, schemas: &[(&str, &Value)]) -> String {
    let markers: Vec<(&str, &str)> = document.lines().filter_map(marker).collect();
    let mut text = String::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        text.extend([line, "\n"]);
        let Some((name, prefix)) = marker(line) else { continue };
        let old: Vec<&str> = lines.by_ref().take_while(|line| *line != END).collect();
        let known = |key: &str| old.iter().position(|row| row.starts_with(&format!("| `{key}` |")));
        let (_, schema) = schemas.iter().find(|(one, _)| *one == name).unwrap();
        let mut rows: Vec<_> = rows(schema).into_iter().collect();
        rows.retain(|(key, _)| {
            let fits = markers.iter().filter(|(one, prefix)| *one == name && is_below(key, prefix));
            fits.map(|(_, prefix)| *prefix).max_by_key(|prefix| prefix.len()) == Some(prefix)
        });
        rows.sort_by_key(|(key, _)| known(key).unwrap_or(usize::MAX));
        text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for (key, [kind, default, meaning]) in rows {
            let default = if default.is_empty() { String::new() } else { format!("{default} ") };
            text.extend(["| `", &key, "` | ", &kind, " | ", &default, "| ", &meaning, " |\n"]);
        }
        text.extend([END, "\n"]);
    }
    text
}

/// Which schema's options stand below a line, and below which of its places.
fn marker(line: &str) -> Option<(&str, &str)> {
    let inner = line.strip_prefix("<!-- options: ")?.strip_suffix(" -->")?;
    Some(inner.split_once(' ').unwrap_or((inner, "")))
}

fn is_below(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix(prefix);
    prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn a_table_keeps_its_order_and_what_is_new_comes_last() {
    let schema = serde_json::json!({
        "required": ["a"],
        "properties": {
            "a": { "type": "string", "format": "uri", "description": "Where." },
            "b": { "type": ["string", "array"], "items": { "type": "string" }, "description": "Who. Default: `me`." },
            "c": { "enum": ["on", "off"], "description": "Whether." },
        }
    });
    let document = "x\n<!-- options: s -->\n| `c` | a | stale | row |\n| `b` |\n<!-- end of options -->\ny\n";
    let rows = "| `c` | `on`, `off` | none | Whether. |\n| `b` | string or array of strings | `me` | Who. |\n\
                | `a` | URL, required | | Where. |\n";
    let head = "| key | type | default | meaning |\n|---|---|---|---|\n";
    assert_eq!(
        refreshed(document, &[("s", &schema)]),
        format!("x\n<!-- options: s -->\n{head}{rows}<!-- end of options -->\ny\n")
    );
}
