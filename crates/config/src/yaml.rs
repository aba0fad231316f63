//! Text of YAML as an untyped tree: one document, each key once, no tags and no merge keys.

use std::fmt;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

pub(super) use super::unreadable::text;
use super::unreadable::{Unreadable, explain, ours};

/// The text without the mark that some editors put in front.
pub(super) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads the one document of a text; nothing but comments is null.
pub(super) fn read(text: &str) -> Result<Value, Unreadable> {
    let text = without_bom(text);
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(Value::Null) };
    let tree = first.deserialize_any(Whole).map_err(|error| explain(text, &error))?;
    match documents.next().map(IgnoredAny::deserialize) {
        None => Ok(tree),
        Some(_) if second(text).is_none() => Ok(tree),
        Some(_) => Err(Unreadable {
            at: second(text).map(|line| (line, 1)),
            problem: "saw a second document (`---`), expected one".to_owned(),
        }),
    }
}

/// The line of the `---` before which something stands and after which something stands.
fn second(text: &str) -> Option<usize> {
    let speaks = |line: &str| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "...")
    };
    let mut before = false;
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("---") && before && found.is_none() {
            found = Some(number + 1);
        }
        before |= speaks(line);
        if found.is_some() && speaks(line.trim_start_matches('-')) {
            return found;
        }
    }
    None
}

/// Reads a value of any kind.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Scalars that are what JSON has for them.
macro_rules! scalars {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<Value, E> {
            Ok(Value::from(value))
        }
    )*};
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    scalars!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let written = || {
            if value.is_nan() {
                ".nan"
            } else if value > 0.0 {
                ".inf"
            } else {
                "-.inf"
            }
        };
        Ok(Number::from_f64(value).map_or_else(|| Value::from(written()), Value::Number))
    }

    // Too large for any key of ours: as it is written, for the message.
    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Whole)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key_seed(Key(Some(&members)))? {
            let value = map.next_value_seed(Whole)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom(ours("saw a tag (`!`), expected a plain value")))
    }
}

/// Reads a key; with those before it, refuses one that is there already.
pub(super) struct Key<'m>(pub(super) Option<&'m Map<String, Value>>);

impl Key<'_> {
    fn text<E: serde::de::Error>(&self, key: &str) -> Result<String, E> {
        let Some(before) = self.0 else { return Ok(key.to_owned()) };
        if key == "<<" {
            let problem = "saw a merge key (`<<`), expected the keys themselves; an alias (`*`) may stand for a whole value";
            return Err(E::custom(ours(problem)));
        }
        if before.contains_key(key) {
            return Err(E::custom(ours(&format!("saw the key `{key}` a second time, expected it once"))));
        }
        Ok(key.to_owned())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! keys {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<String, E> {
            self.text(&value.to_string())
        }
    )*};
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    keys!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_i128(i128) visit_u128(u128) visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        if self.0.is_some() {
            Err(E::custom(ours("saw an empty key, expected a name")))
        } else {
            Ok(String::new())
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(A::Error::custom(ours("saw a list as a key, expected a name")))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(A::Error::custom(ours("saw a map as a key, expected a name")))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(A::Error::custom(ours("saw a tag (`!`), expected a plain key")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn refused(text: &str, at: (usize, usize), problem: &str) {
        let error = read(text).unwrap_err();
        assert!(error.problem.contains(problem), "{error:?}");
        assert_eq!(error.at, Some(at), "{error:?}");
    }

    #[test]
    fn a_text_is_one_tree_whatever_its_line_ends_and_its_first_bytes() {
        let tree = json!({"a": [1, {"b": true}], "c": null});
        for text in [
            "a: [1, {b: true}]\nc:\n",
            "\u{feff}a: [1, {b: true}]\r\nc:\r\n",
            "---\na: [1, {b: true}]\nc:\n---\n",
        ] {
            assert_eq!(read(text).unwrap(), tree, "{text:?}");
        }
        assert_eq!(read("# nothing\n").unwrap(), Value::Null);
        assert_eq!(read("x: &a [1]\ny: *a\n").unwrap(), json!({"x": [1], "y": [1]}));
    }

    #[test]
    fn what_would_be_read_in_two_ways_is_refused_with_its_place() {
        refused("a: 1\nb: 2\na: 3\n", (3, 1), "the key `a` a second time");
        refused("a: 1\n---\nb: 2\n", (2, 1), "second document");
        refused("a: &x {b: 1}\nc:\n  <<: *x\n", (3, 3), "merge key");
        refused("a:\n\tb: 1\n", (2, 1), "saw a tab, expected spaces");
        refused("a: !secret x\n", (1, 4), "saw a tag");
        refused("a: *x\n", (1, 4), "alias");
        refused("a: b: c\n", (1, 5), "a second `: `");
    }
}
