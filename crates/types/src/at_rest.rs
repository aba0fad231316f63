//! Secrets at rest: the one type that writes a secret.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// A secret that is written to the journal, and nowhere else.
#[derive(Clone, Debug)]
pub struct AtRest(pub Secret);

impl Serialize for AtRest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for AtRest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}
