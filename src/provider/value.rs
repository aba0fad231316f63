//! One value out of what a secrets manager answered, as it is handed to the step.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::Error;
use crate::config::value::Destination;
use crate::credential::{PrivateFile, Value, Variable};
use crate::secret::Secret;

/// What was read for one credential, on its way to the step.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) variables: Vec<Variable>,
    pub(super) files: Vec<PrivateFile>,
    pub(super) fields: BTreeMap<String, Secret>,
}

impl Values {
    /// Adds one value; its file will be in `folder`.
    pub(super) fn add(&mut self, to: Destination<'_>, value: &Secret, folder: &Path) {
        let secret = || Value::Secret(value.clone());
        let in_variable = match to.file {
            Some(file) => {
                let (name, content) = (file.to_string(), value.clone());
                self.files.push(PrivateFile { name, content, secret: true });
                Value::Plain(folder.join(file.as_str()).display().to_string())
            }
            None => secret(),
        };
        if let Some(name) = to.env {
            self.variables.push(Variable { name: name.clone(), value: in_variable });
        }
        if let Some(field) = to.field {
            self.fields.entry(field.to_owned()).or_insert_with(|| value.clone());
        }
    }
}

/// The value that `key` names in `data`: a key, or a JSON pointer (RFC 6901); the whole where there is none.
/// A text is handed over as it is, anything else as JSON.
pub(super) fn pick(data: &Json, key: Option<&str>, place: &str) -> Result<Secret, Error> {
    let found = match key {
        None => Some(data),
        Some(pointer) if pointer.starts_with('/') => data.pointer(pointer),
        Some(key) => data.get(key),
    };
    match found.filter(|value| !value.is_null()) {
        Some(Json::String(text)) => Ok(Secret::new(text.clone())),
        Some(value) => Ok(Secret::new(value.to_string())),
        None => Err(Error::Value { problem: lacking(data, key.unwrap_or_default(), place) }),
    }
}

/// The keys are names and no secrets: whoever may read the values may see them.
fn lacking(data: &Json, key: &str, place: &str) -> String {
    let keys = data.as_object().map(|map| map.keys().map(String::as_str).collect::<Vec<_>>());
    match keys.filter(|keys| !keys.is_empty()) {
        Some(keys) => format!("`{place}` has no `{key}`; it has `{}`", keys.join("`, `")),
        None => format!("`{place}` has no `{key}`: it is no JSON with keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_found_by_its_key_or_by_a_pointer() {
        let data = json!({"key": "text", "a.b": "dots", "db": {"password": "deep"}, "port": 5432});
        let picked = |key| pick(&data, key, "kv/x").unwrap().expose().to_owned();
        assert_eq!(picked(Some("key")), "text");
        assert_eq!(picked(Some("a.b")), "dots");
        assert_eq!(picked(Some("/db/password")), "deep");
        assert_eq!(picked(Some("port")), "5432");
        assert_eq!(picked(Some("db")), r#"{"password":"deep"}"#);
        assert_eq!(serde_json::from_str::<Json>(&picked(None)).unwrap(), data);
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_those_that_are_and_no_value() {
        let said = |data: &Json, key| pick(data, Some(key), "kv/x").unwrap_err().to_string();
        let data = json!({"api_key": "hunter2hunter2", "user": null});
        assert_eq!(said(&data, "apikey"), "`kv/x` has no `apikey`; it has `api_key`, `user`");
        assert!(said(&data, "user").starts_with("`kv/x` has no `user`"));
        assert_eq!(said(&json!("hunter2hunter2"), "a"), "`kv/x` has no `a`: it is no JSON with keys");
    }
}
