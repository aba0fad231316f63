//! One value out of what a secrets manager answered, as it is handed to the step.

use std::collections::BTreeMap;
use std::path::Path;

use super::Error;
use super::json::Raw;
use dataflow_config::value::Destination;
use dataflow_types::credential::{Content, PrivateFile, Value, Variable};
use dataflow_types::secret::Secret;

/// What was read for one credential, on its way to the step.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) variables: Vec<Variable>,
    pub(super) files: Vec<PrivateFile>,
    pub(super) fields: BTreeMap<String, Value>,
}

impl Values {
    /// Adds one value, read at `place`; its file will be in `folder`.
    pub(super) fn add(
        &mut self,
        to: Destination<'_>,
        value: &Content,
        folder: &Path,
        place: &str,
    ) -> Result<(), Error> {
        let kind = |text: &Secret| {
            if to.secret { Value::Secret(text.clone()) } else { Value::Plain(text.expose().to_owned()) }
        };
        let text = || {
            let problem = || format!("`{place}` holds bytes that are no text: only a `file` can hold them");
            value.text().map(kind).ok_or_else(|| Error::Value { problem: problem() })
        };
        let in_variable = match to.file {
            Some(file) => {
                let (name, content) = (file.to_string(), value.clone());
                self.files.push(PrivateFile { name, content, secret: to.secret });
                Value::Plain(folder.join(file.as_str()).display().to_string())
            }
            None => text()?,
        };
        if let Some(name) = to.env {
            self.variables.push(Variable { name: name.clone(), value: in_variable });
        }
        if let Some(field) = to.field {
            let value = text()?;
            self.fields.entry(field.to_owned()).or_insert(value);
        }
        Ok(())
    }
}

/// What a store holds under one name.
#[derive(Debug)]
pub(super) enum Found {
    /// A text, which may be JSON.
    Text(Secret),
    /// JSON, as it was written.
    Json(Secret),
    /// Bytes that are no text.
    Bytes(Content),
}

/// The value that `key` names in what was `found`: a key, or a JSON pointer (RFC 6901); the whole where there is none.
/// A text is handed over as it is, anything else byte for byte as it is stored.
pub(super) fn pick(found: &Found, key: Option<&str>, place: &str) -> Result<Content, Error> {
    let raw = match (found, key) {
        (Found::Text(text), None) => return Ok(text.clone().into()),
        (Found::Bytes(bytes), None) => return Ok(bytes.clone()),
        (Found::Text(text) | Found::Json(text), _) => Raw::of(text.expose()),
        (Found::Bytes(_), Some(_)) => {
            let problem = format!("`{place}` holds bytes that are no text");
            return Err(Error::Value { problem });
        }
    };
    let value = raw.and_then(|raw| key.map_or(Some(raw), |key| raw.at(key))).and_then(Raw::value);
    value
        .map(|text| Secret::new(text).into())
        .ok_or_else(|| Error::Value { problem: lacking(raw, key.unwrap_or_default(), place) })
}

/// The keys are names and no secrets: whoever may read the values may see them.
fn lacking(raw: Option<Raw<'_>>, key: &str, place: &str) -> String {
    let members = raw.and_then(Raw::members).unwrap_or_default();
    let mut keys: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.contains(&key) {
        return format!("`{place}` has `{key}`, and its value is null");
    }
    match Some(keys).filter(|keys| !keys.is_empty()) {
        Some(keys) => format!("`{place}` has no `{key}`; it has `{}`", keys.join("`, `")),
        None => format!("`{place}` has no `{key}`: it is no JSON with keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Found {
        Found::Json(Secret::new(text))
    }

    #[test]
    fn a_value_is_found_by_its_key_or_by_a_pointer_and_is_as_it_is_stored() {
        let text = r#"{"key":"text","a.b":"dots","db":{ "password":"deep" },"port":5432,"id":12345678901234567890123,"rate":1e6}"#;
        let data = json(text);
        let picked = |key| String::from_utf8(pick(&data, key, "kv/x").unwrap().expose().to_vec()).unwrap();
        assert_eq!(picked(Some("key")), "text");
        assert_eq!(picked(Some("a.b")), "dots");
        assert_eq!(picked(Some("/db/password")), "deep");
        assert_eq!(picked(Some("port")), "5432");
        assert_eq!(picked(Some("id")), "12345678901234567890123");
        assert_eq!(picked(Some("rate")), "1e6");
        assert_eq!(picked(Some("db")), r#"{ "password":"deep" }"#);
        assert_eq!(picked(None), text);
    }

    #[test]
    fn a_text_is_read_as_json_only_where_a_key_is_asked_for() {
        let text = Found::Text(Secret::new("{\"user\":\"loader\"}\n"));
        assert_eq!(pick(&text, None, "x").unwrap().expose(), b"{\"user\":\"loader\"}\n");
        assert_eq!(pick(&text, Some("user"), "x").unwrap().expose(), b"loader");
        assert!(pick(&Found::Text(Secret::new("no JSON")), Some("user"), "x").is_err());
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_those_that_are_and_no_value() {
        let said = |data: &Found, key| pick(data, Some(key), "kv/x").unwrap_err().to_string();
        let data = json(r#"{"user":null,"api_key":"hunter2hunter2"}"#);
        assert_eq!(said(&data, "apikey"), "`kv/x` has no `apikey`; it has `api_key`, `user`");
        assert_eq!(said(&data, "user"), "`kv/x` has `user`, and its value is null");
        assert_eq!(said(&json(r#""hunter2hunter2""#), "a"), "`kv/x` has no `a`: it is no JSON with keys");
    }
}
