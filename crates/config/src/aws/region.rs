//! Regions of AWS, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// The name of a region: it becomes part of a host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// The region as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a region such as `eu-west-1`, saw `{0}`")]
pub struct NotARegion(String);

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, NotARegion> {
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if plain && edges && (1..=40).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARegion(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
