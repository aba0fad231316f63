//! Data that a step reads or writes, named by URI.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A dataset: `s3://bucket/prefix/`, `artifact://model/*.bin`, any URI with a scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Dataset(String);

impl Dataset {
    /// The URI as written.
    pub fn uri(&self) -> &str {
        &self.0
    }
}

/// The text is no URI of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADataset {
    /// No scheme, or nothing behind it.
    #[error("expected a URI such as `s3://bucket/prefix/`, saw `{0}`")]
    NoUri(String),
    /// Credentials in a URI would end in the record.
    #[error("a dataset's URI must not carry a user name or password")]
    UserInfo,
    /// So would a signature.
    #[error("a dataset's URI must not carry a query, a fragment or parameters, which can hold a secret")]
    Parameters,
}

impl FromStr for Dataset {
    type Err = NotADataset;

    fn from_str(text: &str) -> Result<Self, NotADataset> {
        // A secret in what was seen is not repeated.
        let wrong = || {
            let seen = text.split(['?', '#', ';']).next().unwrap_or_default();
            NotADataset::NoUri(seen.rsplit('@').next().unwrap_or_default().to_owned())
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letters) {
            return Err(wrong());
        }
        if rest.is_empty() || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong());
        }
        let plain = decoded(rest);
        let sets = |mark: char| plain.split_once(mark).is_some_and(|(_, after)| after.contains('='));
        let is_signed = plain.to_ascii_lowercase().contains("-signature=");
        if plain.contains(['?', '#']) || sets(';') || sets('&') || is_signed {
            return Err(NotADataset::Parameters);
        }
        // A URL without a host is read with the next part as its host by many.
        let plain = plain.trim_start_matches('/');
        if plain.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(NotADataset::UserInfo);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A text without percent escapes, also where these were escaped again.
fn decoded(text: &str) -> String {
    (0..8).fold(text.to_owned(), |plain, _| {
        percent_encoding::percent_decode_str(&plain).decode_utf8_lossy().into_owned()
    })
}

impl<'de> Deserialize<'de> for Dataset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_is_any_uri_with_something_behind_the_scheme() {
        for good in ["s3://raw/events/", "artifact://model/*.bin", "postgres://db:5432/app.public.users"] {
            assert_eq!(good.parse::<Dataset>().unwrap().uri(), good);
        }
        for bad in ["", "raw/events", "s3://", "://x", "s3://a b"] {
            assert!(bad.parse::<Dataset>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signature_in_a_uri_is_refused_without_repeating_it() {
        for text in [
            "s3://b/k?X-Amz-Signature=hunter2",
            "s3://b/k#hunter2",
            "s3://b/k%3FX-Amz-Signature=hunter2",
            "jdbc:sqlserver://h;password=hunter2",
            "artifact://a?hunter2",
            "s3://b/k%3Bpassword%3Dhunter2",
            "s3://b/k%253FX-Amz-Signature=hunter2",
            "s3://b/k&X-Amz-Signature=hunter2",
            "https://b/k/X-Amz-Signature=hunter2",
            "s3://%75:%68unter2%40h/k",
            "s3:////u:hunter2@h",
            "https:/u:hunter2@h",
            "s3:/b?hunter2",
        ] {
            let error = text.parse::<Dataset>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_in_a_uri_is_refused_without_repeating_it() {
        let error = "postgres://me:hunter2@db/app".parse::<Dataset>().unwrap_err();
        assert_eq!(error, NotADataset::UserInfo);
        assert!(!error.to_string().contains("hunter2"));
    }
}
