//! Reading configuration so that an error names the place, what was seen and what would be right.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{Class, Failure};

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{problem}", ticked(.place))]
pub struct Error {
    /// Which configuration: `step config`, or a file.
    pub file: String,
    /// Where in it: `credentials[1].aws.role`.
    pub place: String,
    /// What was seen and what was expected.
    pub problem: String,
    /// What would be right.
    pub hint: Option<String>,
}

fn ticked(place: &str) -> String {
    if place.is_empty() || place == "." { String::new() } else { format!("`{place}`: ") }
}

impl Error {
    /// An error at a place.
    pub fn at(file: &str, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place.into(), problem: problem.into(), hint: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let failure = Failure::of("bad-configuration", Class::Configuration, self);
        match &self.hint {
            Some(hint) => failure.hinted(hint.clone()),
            None => failure,
        }
    }
}

/// Reads a value that the agent gave as JSON.
pub fn from_json<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        explain(file, place, &error.into_inner().to_string())
    })
}

/// Reads a file written in YAML.
pub fn from_yaml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    let mut track = serde_path_to_error::Track::new();
    let yaml = serde_yaml::Deserializer::from_str(text);
    let tracked = serde_path_to_error::Deserializer::new(yaml, &mut track);
    // An enum is a map of one key (`aws: {...}`), as in JSON, and not a YAML tag.
    let read = serde_yaml::with::singleton_map_recursive::deserialize(tracked);
    read.map_err(|error: serde_yaml::Error| {
        let place = track.path().to_string();
        let line = error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
        // The parser ends its messages with a place of its own, which stands at the front here.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let message = message.strip_prefix(&format!("{place}: ")).unwrap_or(message);
        explain(&format!("{file}{line}"), place, message)
    })
}

/// The first `null`, at which the agent would drop the whole configuration of a plugin.
pub fn first_null(value: &Value) -> Option<String> {
    fn walk(value: &Value, place: &str) -> Option<String> {
        match value {
            Value::Null => Some(place.to_owned()),
            Value::Array(items) => {
                items.iter().enumerate().find_map(|(i, item)| walk(item, &format!("{place}[{i}]")))
            }
            Value::Object(members) => members.iter().find_map(|(key, item)| {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                walk(item, &place)
            }),
            _ => None,
        }
    }
    walk(value, "")
}

/// Turns serde's words into ours. Its forms are stable enough to read, and a test below holds them.
fn explain(file: &str, place: String, message: &str) -> Error {
    let mut ticked = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field `") || message.starts_with("unknown variant `");
    let Some(seen) = ticked.next().filter(|_| unknown) else {
        return Error::at(file, place, seen_and_expected(message));
    };
    let known: Vec<&str> = ticked.collect();
    let error = Error::at(file, parent(&place, seen), format!("unknown key `{seen}`"));
    match nearest(seen, &known) {
        Some(near) => error.hinted(format!("did you mean `{near}`?")),
        None => error.hinted(format!("known here: `{}`", known.join("`, `"))),
    }
}

// serde says where the key is as if it were known: the place is the thing that holds it.
fn parent(place: &str, key: &str) -> String {
    place.strip_suffix(key).map_or(place, |rest| rest.trim_end_matches('.')).to_owned()
}

fn seen_and_expected(message: &str) -> String {
    for (prefix, seen) in [("invalid type: ", "saw "), ("invalid value: ", "saw ")] {
        if let Some(rest) = message.strip_prefix(prefix) {
            return format!("{seen}{rest}");
        }
    }
    message
        .strip_prefix("missing field ")
        .map_or_else(|| message.to_owned(), |key| format!("{key} is missing"))
}

/// The known word that the author probably meant.
pub fn nearest<'a>(seen: &str, known: &[&'a str]) -> Option<&'a str> {
    let seen = seen.replace('_', "-").to_lowercase();
    let distance = |word: &&str| strsim::damerau_levenshtein(&seen, word);
    known.iter().copied().min_by_key(distance).filter(|word| distance(word) <= (word.len() / 3).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only read")]
    struct Block {
        session_name: String,
        items: Option<Vec<Item>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Item {
        #[expect(dead_code, reason = "only read")]
        Aws(u8),
    }

    fn check(value: Value, place: &str, problem: &str, hint: Option<&str>) {
        let error = from_json::<Block>("step config", value).unwrap_err();
        assert_eq!(
            (error.place.as_str(), error.problem.as_str(), error.hint.as_deref()),
            (place, problem, hint)
        );
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let value = json!({"session-name": "x", "item": []});
        check(value, "", "unknown key `item`", Some("did you mean `items`?"));
        let value = json!({"session-name": "x", "items": [{"awss": 1}]});
        check(value, "items[0]", "unknown key `awss`", Some("did you mean `aws`?"));
        let value = json!({"session_name": "x"});
        check(value, "", "unknown key `session_name`", Some("did you mean `session-name`?"));
    }

    #[test]
    fn a_key_that_resembles_nothing_is_answered_with_what_is_known() {
        let value = json!({"session-name": "x", "zebra": 1});
        check(value, "", "unknown key `zebra`", Some("known here: `session-name`, `items`"));
    }

    #[test]
    fn a_wrong_type_names_the_place_what_was_seen_and_what_would_be_right() {
        let value = json!({"session-name": "x", "items": [{"aws": "y"}]});
        check(value, "items[0].aws", "saw string \"y\", expected u8", None);
        check(json!({}), ".", "`session-name` is missing", None);
    }

    #[test]
    fn yaml_errors_carry_line_and_column_in_front() {
        let error = from_yaml::<Block>("config.yml", "session-name: x\nitems:\n  - aws: y\n").unwrap_err();
        let expected = "config.yml:3:10: `items[0].aws`: saw string \"y\", expected u8";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_first_null_is_found_wherever_it_is() {
        assert_eq!(first_null(&json!({"a": [1, {"b": null}]})).unwrap(), "a[1].b");
        assert_eq!(first_null(&json!({"a": [1, {"b": ""}]})), None);
    }
}
