//! A value that another credential of the block holds: a client secret, a private key.

use serde::Deserialize;

/// One field of another credential: `{source: NAME, field: KEY}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Field {
    /// The other credential's `name`.
    pub source: String,
    /// Its field; `token` where it is a token.
    pub field: String,
}

/// One of a kind, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "Few<T>", bound(deserialize = "T: Deserialize<'de>"))]
pub struct OneOrMore<T>(#[cfg_attr(test, schemars(with = "Few<T>"))] pub Vec<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// As it is written.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, bound(deserialize = "T: Deserialize<'de>"), expecting = "expected one or a list")]
enum Few<T> {
    /// One.
    One(T),
    /// Several.
    More(Vec<T>),
}

/// A list of nothing.
#[derive(Debug, thiserror::Error)]
#[error("expected at least one, saw an empty list")]
struct Nothing;

impl<T> TryFrom<Few<T>> for OneOrMore<T> {
    type Error = Nothing;

    fn try_from(few: Few<T>) -> Result<Self, Nothing> {
        match few {
            Few::One(one) => Ok(Self(vec![one])),
            Few::More(more) if more.is_empty() => Err(Nothing),
            Few::More(more) => Ok(Self(more)),
        }
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
        assert!(read("{a: b}").unwrap_err().contains("expected one or a list"));
    }
}
