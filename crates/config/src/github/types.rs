//! The types of a `github` block: who mints, an app's id, how much a permission allows, a host's name.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use url::Url;

/// Who mints the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// This program, with the app's key.
    #[default]
    App,
    /// An octo-sts.
    OctoSts,
    /// A chinmina-bridge.
    Chinmina,
}

impl Via {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::OctoSts => "octo-sts",
            Self::Chinmina => "chinmina",
        }
    }
}

/// An app's number, or its client id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub enum AppId {
    /// Its number.
    Number(u64),
    /// Its client id.
    ClientId(String),
}

impl<'de> Deserialize<'de> for AppId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AppIdVisitor)
    }
}

struct AppIdVisitor;

impl Visitor<'_> for AppIdVisitor {
    type Value = AppId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an app's id or client id")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<AppId, E> {
        Ok(AppId::Number(number))
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<AppId, E> {
        Ok(AppId::ClientId(id.to_owned()))
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::ClientId(id) => f.write_str(id),
        }
    }
}

/// How much a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// To look.
    Read,
    /// To change.
    Write,
    /// To administer.
    Admin,
}

impl Access {
    /// As the API writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// As it is written.
    pub name: String,
    /// With its scheme.
    pub url: Url,
}

/// The text is no host's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a host's name such as `octo-sts.dev`, saw `{0}`")]
pub struct NotADomain(String);

impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        let wrong = || NotADomain(text.to_owned());
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b));
        let url = Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
        if plain && !text.is_empty() { Ok(Self { name: text.to_owned(), url }) } else { Err(wrong()) }
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
