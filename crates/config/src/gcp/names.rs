//! The names in a `gcp` block: checked, because they become parts of URLs.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use url::Url;

/// The full name of a provider of a workload identity pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProviderName(String);

impl ProviderName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not what the block wants in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, saw `{seen}`")]
pub struct NotThat {
    expected: &'static str,
    seen: String,
}

impl TryFrom<String> for ProviderName {
    type Error = NotThat;

    fn try_from(text: String) -> Result<Self, NotThat> {
        let id = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let parts: Vec<&str> = text.split('/').collect();
        let right = match parts.as_slice() {
            ["projects", number, "locations", "global", "workloadIdentityPools", pool, "providers", name] => {
                number.parse::<u64>().is_ok() && id(pool) && id(name)
            }
            _ => false,
        };
        let expected = "`projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME`, with the project's number";
        if right { Ok(Self(text)) } else { Err(NotThat { expected, seen: text }) }
    }
}

/// The email of a service account: it becomes part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceAccount(String);

impl ServiceAccount {
    /// The email as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceAccount {
    type Error = NotThat;

    fn try_from(text: String) -> Result<Self, NotThat> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let right = text.split_once('@').is_some_and(|(name, domain)| {
            plain(name) && plain(domain) && domain.ends_with(".gserviceaccount.com")
        });
        let expected = "the email of a service account such as `NAME@PROJECT.iam.gserviceaccount.com`";
        if right { Ok(Self(text)) } else { Err(NotThat { expected, seen: text }) }
    }
}

/// One of Google Cloud's separate worlds, and the two services of it that are asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Universe {
    name: String,
    /// Exchanges tokens.
    pub sts: Url,
    /// Lends service accounts.
    pub credentials: Url,
}

/// The universe that needs no naming.
pub(super) const USUAL: &str = "googleapis.com";

/// Google's own two services.
pub(super) const STS: &str = "https://sts.googleapis.com/";
/// The second.
pub(super) const CREDENTIALS: &str = "https://iamcredentials.googleapis.com/";

impl Universe {
    /// Its domain.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl FromStr for Universe {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let wrong = || NotThat { expected: "a domain such as `googleapis.com`", seen: text.to_owned() };
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !text.contains('.') || !text.split('.').all(plain) {
            return Err(wrong());
        }
        let host = |service: &str| Url::parse(&format!("https://{service}.{text}/")).map_err(|_| wrong());
        Ok(Self { name: text.to_owned(), sts: host("sts")?, credentials: host("iamcredentials")? })
    }
}

impl TryFrom<String> for Universe {
    type Error = NotThat;

    fn try_from(text: String) -> Result<Self, NotThat> {
        text.parse()
    }
}

macro_rules! show {
    ($($name:ident . $field:tt),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$field)
            }
        }
    )*};
}
show!(ProviderName.0, ServiceAccount.0);
