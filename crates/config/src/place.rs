//! Reading configuration so that an error names the place, what was seen and what would be right.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Mend;
pub use super::error::{Error, More};
use super::fault::{Fault, Wrong, one_of};
use super::hint::meant;
use super::path::{get, written};
use super::shown::{self, shown};
use super::{collect, de, yaml};
use dataflow_types::near_name::nearest;

/// Reads a value that the agent gave as JSON.
#[expect(clippy::needless_pass_by_value, reason = "callers have no use for it any more")]
pub fn from_json<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, Error> {
    from_tree(file, &value)
}

/// Reads a tree up to the first error.
pub(super) fn from_tree<T: DeserializeOwned>(file: &str, tree: &Value) -> Result<T, Error> {
    de::read(tree).map_err(|fault| explain(file, tree, fault))
}

/// The untyped tree of a file written in YAML.
pub(super) fn tree(file: &str, text: &str) -> Result<Value, Error> {
    yaml::read(text).map_err(|error| Error::at(&at(file, error.at), "", error.problem))
}

/// The text of a file's bytes.
pub(super) fn text<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, Error> {
    yaml::text(bytes).map_err(|error| Error::at(&at(file, error.at), "", error.problem))
}

fn at(file: &str, at: Option<(usize, usize)>) -> String {
    at.map_or_else(|| file.to_owned(), |(line, column)| format!("{file}:{line}:{column}"))
}

/// Reads a file written in YAML, and tells every error in it.
pub fn from_yaml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    let tree = tree(file, text)?;
    collect::every(&tree, |tree| from_tree(file, tree)).map_err(|error| error.located(file, text, &[], &tree))
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

fn explain(file: &str, tree: &Value, fault: Fault) -> Error {
    let (path, wrong) = fault.parts();
    let value = get(tree, &path).unwrap_or(&Value::Null);
    let error = |problem: String| Error::at(file, written(&path), problem);
    match wrong {
        Wrong::Key(key, known) => unknown_key(error(format!("unknown key {}", shown::key(&key))), key, known),
        Wrong::Missing(key) => error(format!("`{key}` is missing")).mended_by(Mend::Missing(key)),
        Wrong::Word(words) => {
            let right = Mend::Word(words.first().copied().unwrap_or_default());
            let error =
                error(format!("saw {}, expected {}", shown(&path, value), one_of(words))).mended_by(right);
            match value.as_str().and_then(|seen| nearest(seen, words)) {
                Some(near) => error.hinted(format!("did you mean `{near}`?")),
                None => error,
            }
        }
        Wrong::Kind(expected) => error(format!("saw {}, expected {expected}", shown(&path, value))),
        Wrong::Said(problem) => error(shown::without_secrets(&path, value, problem)),
    }
}

fn unknown_key(error: Error, key: String, known: &'static [&'static str]) -> Error {
    match meant(&key, known) {
        Some(near) => {
            error.hinted(format!("did you mean `{near}`?")).mended_by(Mend::Key(key, Some(near), known))
        }
        None => error
            .hinted(format!("known here: `{}`", known.join("`, `")))
            .mended_by(Mend::Key(key, None, known)),
    }
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
        check(value, "items[0].aws", "saw `y`, expected a whole number from 0 to 255", None);
        check(json!({}), "", "`session-name` is missing", None);
    }

    #[test]
    fn yaml_errors_carry_line_and_column_in_front() {
        let error = from_yaml::<Block>("config.yml", "session-name: x\nitems:\n  - aws: y\n").unwrap_err();
        let expected = "config.yml:3:10: `items[0].aws`: saw `y`, expected a whole number from 0 to 255";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_first_null_is_found_wherever_it_is() {
        assert_eq!(first_null(&json!({"a": [1, {"b": null}]})).unwrap(), "a[1].b");
        assert_eq!(first_null(&json!({"a": [1, {"b": ""}]})), None);
    }
}
