//! Where in a text of YAML a value stands.
//!
//! The parser tells places in its errors only: where something is wrong, the text is walked through once more and the
//! walk fails at the place. What is right costs nothing.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::path::Segment;
use super::yaml::{Key, without_bom};

/// What of the last segment is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The value.
    Value,
    /// The key before it.
    Key,
}

/// Line and column, both from 1, of a value or key, or of the nearest thing around it that the text spells out.
pub(super) fn mark(text: &str, path: &[Segment], of: Of) -> Option<(usize, usize)> {
    let text = without_bom(text);
    if of == Of::Key
        && let Some(at) = walk(text, path, of)
    {
        return Some(at);
    }
    (0..=path.len()).rev().find_map(|length| walk(text, path.get(..length)?, Of::Value))
}

fn walk(text: &str, path: &[Segment], of: Of) -> Option<(usize, usize)> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    let error = Walk { path, of }.deserialize(document).err()?;
    error.to_string().contains(ARRIVED).then_some(())?;
    error.location().map(|at| (at.line(), at.column()))
}

const ARRIVED: &str = "\u{1}arrived\u{2}";

#[derive(Clone, Copy)]
struct Walk<'p> {
    path: &'p [Segment],
    of: Of,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            deserializer.deserialize_any(Here)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

/// Fails at whatever it meets.
struct Here;

macro_rules! here {
    ($($method:ident($($kind:ty)?))*) => {$(
        fn $method<E: serde::de::Error>(self $(, _: $kind)?) -> Result<(), E> {
            Err(E::custom(ARRIVED))
        }
    )*};
}

impl<'de> Visitor<'de> for Here {
    type Value = ();

    here!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_i128(i128) visit_u128(u128) visit_str(&str)
          visit_unit() visit_none());

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(ARRIVED))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(ARRIVED))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(ARRIVED))
    }
}

fn same(text: &str, value: impl fmt::Display) -> bool {
    format!("{value}") == text
}

/// A key at which the walk ends.
struct Last<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Last<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! last {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<bool, E> {
            if same(self.0, value) { Err(E::custom(ARRIVED)) } else { Ok(false) }
        }
    )*};
}

impl Visitor<'_> for Last<'_> {
    type Value = bool;

    last!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list on the way")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.path {
            [Segment::Key(key), rest @ ..] => (key.as_str(), rest),
            _ => return Ok(()),
        };
        if rest.is_empty() && self.of == Of::Key {
            while map.next_key_seed(Last(wanted))?.is_some() {
                map.next_value::<IgnoredAny>()?;
            }
            return Ok(());
        }
        while let Some(key) = map.next_key_seed(Key(None))? {
            if key == wanted {
                map.next_value_seed(Walk { path: rest, of: self.of })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (before, rest) = match self.path {
            [Segment::Index(index), rest @ ..] => (*index, rest),
            _ => return Ok(()),
        };
        for _ in 0..before {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(Walk { path: rest, of: self.of })?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_and_its_key_are_found_by_line_and_column() {
        let text = "\u{feff}a:\n  - b: 1\n    c: {d: x}\n";
        let path =
            [Segment::Key("a".into()), Segment::Index(0), Segment::Key("c".into()), Segment::Key("d".into())];
        assert_eq!(mark(text, &path, Of::Value), Some((3, 12)));
        assert_eq!(mark(text, &path, Of::Key), Some((3, 9)));
        assert_eq!(mark(text, &path[..2], Of::Value), Some((2, 5)));
        let missing = [Segment::Key("a".into()), Segment::Index(7)];
        assert_eq!(mark(text, &missing, Of::Value), Some((2, 3)));
    }
}
