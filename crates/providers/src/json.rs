//! JSON as servers write it: a byte order mark before it, null for what is absent, types of their own.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

/// What JSON calls white space.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The text of a body. What is no UTF-8 becomes `U+FFFD`, which no token holds.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A body of JSON in which null, and what is of another type, is as absent.
#[derive(Debug)]
pub(super) struct Tree(Value);

impl Tree {
    /// Reads a body. Of a name that stands in it twice the last counts.
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&text(body)).map(Self)
    }

    /// Reads a body that may be anything: what is no JSON holds nothing.
    pub(super) fn of(body: &[u8]) -> Self {
        Self::read(body).unwrap_or(Self(Value::Null))
    }

    /// The first of these pointers (RFC 6901) that leads to something.
    pub(super) fn first(&self, pointers: &[&str]) -> Option<&Value> {
        pointers.iter().find_map(|pointer| self.0.pointer(pointer).filter(|value| !value.is_null()))
    }

    /// The first of these pointers that leads to a text that is not empty.
    pub(super) fn text(&self, pointers: &[&str]) -> Option<&str> {
        let text = |pointer: &&str| self.0.pointer(pointer)?.as_str().filter(|text| !text.is_empty());
        pointers.iter().find_map(text)
    }

    /// The texts of a list, or one text that stands in its place.
    pub(super) fn texts(&self, pointer: &str) -> Vec<&str> {
        match self.0.pointer(pointer) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => vec![text],
            _ => Vec::new(),
        }
    }

    /// A number, or a number as text.
    pub(super) fn number(&self, pointer: &str) -> Option<u64> {
        let value = self.first(&[pointer])?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    }
}

/// How long something lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// This many seconds from now on.
    Seconds(i64),
    /// Until then.
    Until(DateTime<Utc>),
}

impl Life {
    /// The lifetime that a server wrote: a number, a number as text with or without `s`, or a time (RFC 3339).
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)).map(Self::Seconds),
            Value::String(text) => {
                let text = text.trim();
                if let Some(until) = time(text) {
                    return Some(Self::Until(until));
                }
                let digits = text.strip_suffix('s').unwrap_or(text);
                digits.parse().ok().or_else(|| whole(digits.parse().ok()?)).map(Self::Seconds)
            }
            _ => None,
        }
    }

    /// The end that a server wrote: a time (RFC 3339), or seconds or milliseconds since 1970.
    pub(super) fn end_of(value: &Value) -> Option<Self> {
        let seconds = match Self::of(value)? {
            Self::Seconds(seconds) => seconds,
            until @ Self::Until(_) => return Some(until),
        };
        // In milliseconds, from 1973 on, it is more than the year 5000 is in seconds.
        let seconds = if seconds.unsigned_abs() >= 100_000_000_000 { seconds / 1000 } else { seconds };
        let bound = if seconds > 0 { DateTime::<Utc>::MAX_UTC } else { DateTime::<Utc>::MIN_UTC };
        Some(Self::Until(DateTime::from_timestamp(seconds, 0).unwrap_or(bound)))
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

/// A number without its fraction; one past all bounds is at them.
fn whole(number: f64) -> Option<i64> {
    if number.is_nan() {
        return None;
    }
    let bound = if number > 0.0 { i64::MAX } else { i64::MIN };
    Some(format!("{:.0}", number.trunc()).parse().unwrap_or(bound))
}

/// One value of JSON as it was written, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The one value that a text is; `None` for what is no JSON.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}');
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Some(Self(text.trim_matches(BLANKS)))
    }

    /// The value that this key names, or this pointer (RFC 6901). Of a name that stands there twice the last counts.
    pub(super) fn at(self, key: &str) -> Option<Self> {
        let Some(path) = key.strip_prefix('/') else { return self.member(key) };
        path.split('/').try_fold(self, |value, part| {
            let part = part.replace("~1", "/").replace("~0", "~");
            value.member(&part).or_else(|| value.items()?.get(part.parse::<usize>().ok()?).copied())
        })
    }

    fn member(self, key: &str) -> Option<Self> {
        self.members()?.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The members of an object, in their order.
    pub(super) fn members(self) -> Option<Vec<(String, Self)>> {
        let mut rest = self.0.strip_prefix('{')?.trim_start_matches(BLANKS);
        let mut members = Vec::new();
        while !rest.starts_with('}') {
            let (name, after) = first(rest)?;
            let name = serde_json::from_str(name.0).ok()?;
            let (value, after) = first(after.trim_start_matches(BLANKS).strip_prefix(':')?)?;
            members.push((name, value));
            rest = next(after);
        }
        Some(members)
    }

    fn items(self) -> Option<Vec<Self>> {
        let mut rest = self.0.strip_prefix('[')?.trim_start_matches(BLANKS);
        let mut items = Vec::new();
        while !rest.starts_with(']') {
            let (item, after) = first(rest)?;
            items.push(item);
            rest = next(after);
        }
        Some(items)
    }

    /// What it holds: a text without its quotes and escapes, everything else as it is written. `None` for null, and for
    /// a text that is none.
    pub(super) fn value(self) -> Option<String> {
        match self.0 {
            "null" => None,
            text if text.starts_with('"') => serde_json::from_str(text).ok(),
            other => Some(other.to_owned()),
        }
    }

    /// As it was written.
    pub(super) fn written(self) -> &'a str {
        self.0
    }
}

/// The value at the front of a text, and what comes after it.
fn first(text: &str) -> Option<(Raw<'_>, &str)> {
    let text = text.trim_start_matches(BLANKS);
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (value, rest) = text.split_at_checked(values.byte_offset())?;
    Some((Raw(value), rest))
}

/// What comes after the comma.
fn next(rest: &str) -> &str {
    let rest = rest.trim_start_matches(BLANKS);
    rest.strip_prefix(',').unwrap_or(rest).trim_start_matches(BLANKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lifetime_is_read_however_a_server_writes_it() {
        let check = |written: Value, expected| assert_eq!(Life::of(&written), expected, "{written}");
        let seconds = |seconds| Some(Life::Seconds(seconds));
        for hour in
            [json!(3600), json!(3600.0), json!("3600"), json!("3600.0"), json!("3600s"), json!(" 3600 ")]
        {
            check(hour, seconds(3600));
        }
        check(json!(3599.9), seconds(3599));
        check(json!(0), seconds(0));
        check(json!(-1), seconds(-1));
        check(json!("-1"), seconds(-1));
        check(json!(1e300), seconds(i64::MAX));
        check(json!(u64::MAX), seconds(i64::MAX));
        check(json!("99999999999999999999"), seconds(i64::MAX));
        let until = Life::Until(DateTime::from_timestamp(1_767_225_600, 0).unwrap());
        check(json!("2026-01-01T00:00:00Z"), Some(until));
        for none in [json!(null), json!("soon"), json!("NaN"), json!([]), json!({}), json!(true), json!("")] {
            check(none, None);
        }
        for end in [json!("2026-01-01T00:00:00Z"), json!(1_767_225_600), json!(1_767_225_600_000_i64)] {
            assert_eq!(Life::end_of(&end), Some(until), "{end}");
        }
        for (bound, at) in [(1e300, DateTime::<Utc>::MAX_UTC), (-1e300, DateTime::<Utc>::MIN_UTC)] {
            assert_eq!(Life::end_of(&json!(bound)), Some(Life::Until(at)));
        }
    }

    #[test]
    fn what_a_body_holds_twice_or_in_another_charset_loses_nothing() {
        let body = |bytes: &[u8]| Tree::of(bytes).text(&["/a"]).map(str::to_owned);
        for bytes in [
            &br#"{"a":"b"}"#[..],
            b"{\"a\":\"b\"} \r\n",
            br#"{"a":1,"a":"b"}"#,
            b"{\"a\":\"b\",\"scope\":\"caf\xe9\"}",
        ] {
            assert_eq!(body(bytes).as_deref(), Some("b"), "{bytes:?}");
        }
        assert_eq!(body(br#"{"a":null}"#), None);
        assert_eq!(body(b"<html>"), None);
    }

    #[test]
    fn a_value_is_byte_for_byte_as_it_is_stored() {
        let text = "{ \"n\" : 12345678901234567890123, \"e\":1e6,\"d\":1.10 ,\"s\":\"a\\u00e9\\n\\\"b\",\n\"o\": {\"b\" : 1.0, \"a\":[1E+2 , \"x\"]},\"z\":-0.0,\"n\\u0075ll\":null,\"d\":\"twice\"}";
        let raw = Raw::of(text).unwrap();
        let check = |key, expected: Option<&str>| {
            assert_eq!(raw.at(key).and_then(Raw::value).as_deref(), expected, "{key}");
        };
        check("n", Some("12345678901234567890123"));
        check("e", Some("1e6"));
        check("d", Some("twice"));
        check("s", Some("aé\n\"b"));
        check("o", Some("{\"b\" : 1.0, \"a\":[1E+2 , \"x\"]}"));
        check("/o/b", Some("1.0"));
        check("/o/a/0", Some("1E+2"));
        check("/o/a/1", Some("x"));
        check("/o/a/2", None);
        check("z", Some("-0.0"));
        check("null", None);
        check("absent", None);
        assert_eq!(Raw::of("hunter2"), None);
        assert_eq!(
            Raw::of("\u{feff}{\"n\":\"x\"}").unwrap().at("n").and_then(Raw::value).as_deref(),
            Some("x")
        );
        assert_eq!(Raw::of(" 1e6 ").unwrap().value().as_deref(), Some("1e6"));
        assert_eq!(Raw::of("{}").unwrap().members(), Some(Vec::new()));
        assert_eq!(Raw::of("[ ]").unwrap().items(), Some(Vec::new()));
        assert_eq!(Raw::of(r#""\ud800""#).and_then(Raw::value), None);
    }
}
