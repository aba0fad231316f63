//! A value that another credential of the block holds: a client secret, a private key.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};

/// One field of another credential: `{source: NAME, field: KEY}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Field {
    /// The other credential's `name`.
    pub source: String,
    /// Its field; `token` where it is a token.
    pub field: String,
}

/// One of a kind, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OneOrMore<T>(#[cfg_attr(feature = "schema", schemars(with = "Few<T>"))] pub Vec<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// As it is written.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only a schema")]
enum Few<T> {
    /// One.
    One(T),
    /// Several.
    More(#[schemars(length(min = 1))] Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written(PhantomData))
    }
}

struct Written<T>(PhantomData<T>);

/// One is read as what it is.
macro_rules! one {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<OneOrMore<T>, E> {
            T::deserialize(value.into_deserializer()).map(|one| OneOrMore(vec![one]))
        }
    )*};
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Written<T> {
    type Value = OneOrMore<T>;

    one!(visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one (a string in quotes, or a map) or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMore<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMore(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            return Err(serde::de::Error::custom("expected at least one, saw an empty list"));
        }
        Ok(OneOrMore(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<String>, String> {
        let few: Result<OneOrMore<String>, _> = serde_yaml::from_str(yaml);
        few.map(|few| few.0).map_err(|error| error.to_string())
    }

    #[test]
    fn one_is_a_list_of_one_and_a_list_holds_at_least_one() {
        assert_eq!(read("a").unwrap(), ["a"]);
        assert_eq!(read("[a, b]").unwrap(), ["a", "b"]);
        assert!(read("[]").unwrap_err().contains("at least one"));
        assert!(read("7").unwrap_err().contains("or a list of them"));
    }
}
