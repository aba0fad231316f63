//! The rules of Buildkite's plugin linter (`lib/` and `bin/lint` of buildkite-plugins/buildkite-plugin-linter),
//! held here so that its container is not needed.

use std::os::unix::fs::PermissionsExt as _;

use buildkite_dataflow::config::step::Step;
use serde_json::Value;

use crate::support::documents::{blocks, read, root};

/// How pipelines name this plugin: the owner, and the repository without `-buildkite-plugin`.
const ID: &str = "acme/dataflow";

/// Every keyword of JSON Schema draft-07 that Ajv knows; in its strict mode any other is an error, and so
/// is `format`, for it has no formats of its own.
const KEYWORDS: [&str; 46] = [
    "$comment",
    "$id",
    "$ref",
    "$schema",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "default",
    "definitions",
    "dependencies",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "nullable",
    "oneOf",
    "pattern",
    "patternProperties",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
];

fn plugin() -> Value {
    serde_yaml::from_str(&read("plugin.yml")).unwrap()
}

/// Keywords of a schema that Ajv in strict mode does not know, with their places.
fn unknown(schema: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, inner) in schema.as_object().into_iter().flatten() {
        let place = format!("{place}.{keyword}");
        if !KEYWORDS.contains(&keyword.as_str()) {
            found.push(place.clone());
        }
        match keyword.as_str() {
            // Names stand here, and a schema behind each.
            "properties" | "patternProperties" | "definitions" => {
                for (name, schema) in inner.as_object().into_iter().flatten() {
                    unknown(schema, &format!("{place}.{name}"), found);
                }
            }
            // Values stand here, and no schema.
            "enum" | "const" | "default" | "examples" | "required" | "type" => {}
            _ => {
                for schema in inner.as_array().map_or(std::slice::from_ref(inner), Vec::as_slice) {
                    unknown(schema, &place, found);
                }
            }
        }
    }
}

/// The blocks of this plugin in the README's examples: the reference as written, and its configuration.
fn examples() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for block in blocks(&read("README.md"), &["yaml", "yml"]) {
        let value: Value = serde_yaml::from_str(&block).unwrap();
        for step in value.get("steps").and_then(Value::as_array).into_iter().flatten() {
            for plugin in step["plugins"].as_array().into_iter().flatten() {
                for (reference, config) in plugin.as_object().into_iter().flatten() {
                    if reference.split('#').next() == Some(ID) {
                        found.push((reference.clone(), config.clone()));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_anchor_is_defined_once_as_pyyaml_wants_it() {
    let text = read("plugin.yml");
    let mut anchors: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with('&')).collect();
    let all = anchors.len();
    anchors.sort_unstable();
    anchors.dedup();
    assert!(all > 0 && anchors.len() == all, "{anchors:?}");
    let Some(python) = crate::support::components::find("venv/bin/python") else { return };
    let program = "import sys, yaml; assert yaml.safe_load(open(sys.argv[1]))['name'] == 'Dataflow'";
    let status =
        std::process::Command::new(python).args(["-c", program]).arg(root().join("plugin.yml")).status();
    assert!(status.unwrap().success());
}

#[test]
fn plugin_yml_has_the_keys_that_the_linter_requires() {
    let plugin = plugin();
    for key in ["name", "description", "author"] {
        assert!(plugin[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert!(plugin["requirements"].is_array());
    assert!(plugin["configuration"]["properties"].is_object());
    assert!(plugin["configuration"]["additionalProperties"].is_boolean());
    let required = &plugin["configuration"]["required"];
    assert!(required.is_null() || required.is_array());
    let known = ["name", "description", "author", "requirements", "configuration"];
    assert!(plugin.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
}

#[test]
fn the_configuration_uses_only_keywords_that_ajv_knows() {
    let mut found = Vec::new();
    unknown(&plugin()["configuration"], "configuration", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn an_unknown_keyword_would_be_seen_wherever_it_is() {
    let schema =
        serde_json::json!({ "properties": { "format": { "oneOf": [{ "format": "uri" }] } }, "nested": 1 });
    let mut found = Vec::new();
    unknown(&schema, "x", &mut found);
    found.sort();
    assert_eq!(found, ["x.nested", "x.properties.format.oneOf.format"]);
}

#[test]
fn every_object_of_the_configuration_is_closed() {
    fn open(schema: &Value, place: &str, found: &mut Vec<String>) {
        if schema.get("properties").is_some() && schema["additionalProperties"] != Value::Bool(false) {
            found.push(place.to_owned());
        }
        for (key, inner) in schema.as_object().into_iter().flatten() {
            open(inner, &format!("{place}.{key}"), found);
        }
        for inner in schema.as_array().into_iter().flatten() {
            open(inner, place, found);
        }
    }
    let mut found = Vec::new();
    open(&plugin()["configuration"], "configuration", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_readme_has_examples_of_this_version_and_plugin_yml_accepts_them() {
    let validator = jsonschema::draft7::new(&plugin()["configuration"]).unwrap();
    let examples = examples();
    assert!(!examples.is_empty());
    for (reference, config) in examples {
        assert_eq!(reference, format!("{ID}#v{}", env!("CARGO_PKG_VERSION")));
        let wrong: Vec<String> = validator.iter_errors(&config).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{reference}: {wrong:?}");
    }
}

#[test]
fn plugin_yml_refuses_what_the_program_refuses() {
    let validator = jsonschema::draft7::new(&plugin()["configuration"]).unwrap();
    let blocks = blocks_of("refused");
    assert_eq!(blocks.len(), 8);
    for bad in blocks {
        assert!(!validator.is_valid(&bad), "{bad}");
        assert!(Step::read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn plugin_yml_accepts_what_the_program_accepts() {
    let validator = jsonschema::draft7::new(&plugin()["configuration"]).unwrap();
    for good in blocks_of("accepted") {
        let wrong: Vec<String> = validator.iter_errors(&good).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{good}: {wrong:?}");
        if let Err(error) = Step::read(good.clone()) {
            panic!("{good}: {error} ({:?})", error.hint);
        }
    }
}

/// Blocks that the agent's own validation judges too, in `tests/agent/go/plugin`.
fn blocks_of(kind: &str) -> Vec<Value> {
    let table: Value = serde_yaml::from_str(&read("tests/scenarios/plugin/blocks.yml")).unwrap();
    table[kind].as_array().unwrap().clone()
}

#[test]
fn each_hook_can_be_executed_and_names_the_binary() {
    for hook in ["environment", "pre-command", "post-command", "pre-exit"] {
        let path = format!("hooks/{hook}");
        assert_eq!(read(&path), "#!/usr/local/bin/buildkite-dataflow\n", "{path}");
        let mode = root().join(&path).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{path} lost its executable bit");
    }
}
