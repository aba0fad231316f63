//! Reading configuration so that an error names the place, what was seen and what would be right.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Fault, Wrong, one_of};
use super::hint::meant;
use super::mark::{Of, mark};
use super::path::{Segment, get, locate, written};
use super::shown::{self, shown};
use super::{collect, de, template, yaml};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::near_name::nearest;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{problem}", ticked(.place))]
pub struct Error {
    /// Which configuration: `step config`, or a file with line and column.
    pub file: String,
    /// Where in it: `credentials[1].aws.role`.
    pub place: String,
    /// What was seen and what was expected.
    pub problem: String,
    /// What would be right.
    pub hint: Option<String>,
    /// What only the finding of further errors needs.
    pub more: Option<Box<More>>,
}

/// What only the finding of further errors needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    mend: Mend,
    others: Vec<Error>,
}

/// What would make the error go away, so that what is behind it is found too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mend {
    /// Another value.
    #[default]
    Value,
    /// Another key, or none; with the keys that are known there.
    Key(String, Option<&'static str>, &'static [&'static str]),
    /// One key more.
    Missing(&'static str),
    /// This word.
    Word(&'static str),
}

fn ticked(place: &str) -> String {
    if place.is_empty() || place == "." { String::new() } else { format!("`{place}`: ") }
}

impl Error {
    /// An error at a place.
    pub fn at(file: &str, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place.into(), problem: problem.into(), hint: None, more: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn mended_by(mut self, mend: Mend) -> Self {
        self.more = Some(Box::new(More { mend, others: Vec::new() }));
        self
    }

    pub(super) fn mend(&self) -> Mend {
        self.more.as_ref().map(|more| more.mend.clone()).unwrap_or_default()
    }

    /// The first of several errors of one configuration; `None` for none.
    pub(super) fn first(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        let others: Vec<Self> = errors.collect();
        if !others.is_empty() {
            first.more.get_or_insert_default().others = others;
        }
        Some(first)
    }

    /// This error and the others of the same configuration, in their order, each by itself.
    pub fn each(mut self) -> Vec<Self> {
        let others = self.more.as_mut().map(|more| std::mem::take(&mut more.others)).unwrap_or_default();
        std::iter::once(self).chain(others).collect()
    }

    /// A line for each error.
    pub fn lines(&self) -> Vec<String> {
        let line = |error: &Self| match &error.hint {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        self.clone().each().iter().map(line).collect()
    }

    /// The failure as it is reported.
    pub fn failure(&self) -> Failure {
        let several = self.more.as_ref().is_some_and(|more| !more.others.is_empty());
        if several {
            let lines = self.lines();
            let more = if lines.len() < collect::MOST { "" } else { " and maybe more" };
            let what = format!("the configuration has {} errors{more}", lines.len());
            return Failure::new(Ident::BadConfiguration, what).caused_by(lines);
        }
        let failure = Failure::of(Ident::BadConfiguration, self);
        match &self.hint {
            Some(hint) => failure.hinted(hint.clone()),
            None => failure,
        }
    }

    /// The same error where `filled` was read instead of what was written: it is reported for the latter.
    pub(super) fn for_written(mut self, filled: &Value, written: &Value) -> Self {
        let (path, _) = locate(filled, &self.place);
        if let (Some(Value::String(stand_in)), Some(Value::String(text))) =
            (get(filled, &path), get(written, &path))
        {
            // Plain text is shown as it is read, with one dollar less.
            if template::has_claim(text) {
                let quoted = format!("`{}`", shown::escaped(text));
                self.problem = self.problem.replace(&format!("`{stand_in}`"), &quoted);
            }
        }
        self
    }

    /// The same errors with line and column in `text`, in its order; `tree` is what the text says below `prefix`.
    #[must_use]
    pub fn located(self, file: &str, text: &str, prefix: &[Segment], tree: &Value) -> Self {
        let position = |error: &Self| {
            let (path, missing) = locate(tree, &error.place);
            let mut path = [prefix, &path].concat();
            if let Mend::Key(key, ..) = error.mend() {
                path.push(Segment::Key(key));
                return mark(text, &path, Of::Key);
            }
            // A key that is not there is missed in the map whose own key is shown.
            let of = if missing.is_some() || matches!(error.mend(), Mend::Missing(_)) {
                Of::Key
            } else {
                Of::Value
            };
            mark(text, &path, of)
        };
        let mut errors: Vec<(Option<(usize, usize)>, Self)> =
            self.each().into_iter().map(|error| (position(&error), error)).collect();
        errors.sort_by_key(|(at, _)| *at);
        let placed = errors.into_iter().map(|(at, error)| match at {
            Some((line, column)) => Self { file: format!("{file}:{line}:{column}"), ..error },
            None => Self { file: file.to_owned(), ..error },
        });
        // There is at least this one.
        Self::first(placed.collect()).unwrap_or_else(|| Self::at("", "", ""))
    }
}

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
