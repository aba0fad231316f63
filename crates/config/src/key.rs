//! The `private-key` of a block: where the key of an application, a client or an app signs.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::address::{check_url, is_path};
use super::aws::partition::Partition;
use super::aws::region::Region;
use super::field::Field;

/// Where the key is that signs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub enum PrivateKey {
    /// In a field of another credential of the block, as PEM.
    Held(Field),
    /// In a file of the host, as PEM.
    File(PathBuf),
    /// In Vault, which signs for a login of the block.
    Transit(String, Transit),
    /// In AWS, which signs for keys of the block.
    Kms(String, Kms),
}

/// A key of Vault's engine `transit`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Transit {
    /// Where Vault is; the host config must allow it (`endpoints`).
    pub address: Url,
    /// The namespace.
    pub namespace: Option<String>,
    /// Where the engine is mounted.
    #[serde(default = "usual_mount")]
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// The key's version. Name the one that the server knows before you rotate. Default: the newest.
    pub version: Option<u32>,
    /// How it signs. The key is `rsa-2048` to `rsa-4096`, or `ecdsa-p256`. Default: `RS256`.
    #[serde(default)]
    pub algorithm: Algorithm,
}

/// A key of AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kms {
    /// The key: its id, its ARN, or `alias/NAME`.
    pub key: String,
    /// The key's region.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub region: Region,
    /// Another endpoint; the host config must allow it (`endpoints`). Default: the region's.
    pub address: Option<Url>,
    /// How it signs. The key is `RSA_2048` to `RSA_4096`, or `ECC_NIST_P256`, of the usage `SIGN_VERIFY`. Default:
    /// `RS256`.
    #[serde(default)]
    pub algorithm: Algorithm,
}

/// How a key signs, as the header of a JWT says it (RFC 7518).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// P-256.
    #[serde(rename = "ES256")]
    Es256,
}

impl Algorithm {
    /// The word in a header.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

fn usual_mount() -> String {
    "transit".to_owned()
}

/// As it is written: `source` with one of the places that it opens, or a `file`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    /// The `name` of the credential that holds the key, or that may have it sign. With `transit` it is a login of
    /// Vault, with `kms` keys of AWS.
    source: Option<String>,
    /// The field of that credential that holds it, PEM (an EC key in PKCS #8); `token` where it is one token.
    field: Option<String>,
    /// A file of the host that holds it, PEM; `key-files` in the host config must name it, unless the host's own grant
    /// does.
    file: Option<PathBuf>,
    /// A key of Vault's engine `transit`, which signs and stays there.
    transit: Option<Transit>,
    /// A key of AWS KMS, which signs and stays there.
    kms: Option<Kms>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for PrivateKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PrivateKey".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

/// A key that is nowhere, or in two places.
#[derive(Debug, thiserror::Error)]
#[error("expected a `file`, or a `source` with one of `field`, `transit` and `kms`, saw {0}")]
struct NotOne(&'static str);

impl TryFrom<Wire> for PrivateKey {
    type Error = NotOne;

    fn try_from(wire: Wire) -> Result<Self, NotOne> {
        match (wire.source, wire.field, wire.file, wire.transit, wire.kms) {
            (None, None, Some(file), None, None) => Ok(Self::File(file)),
            (Some(source), Some(field), None, None, None) => Ok(Self::Held(Field { source, field })),
            (Some(source), None, None, Some(transit), None) => Ok(Self::Transit(source, transit)),
            (Some(source), None, None, None, Some(kms)) => Ok(Self::Kms(source, kms)),
            (None, None, None, None, None) => Err(NotOne("none of them")),
            (Some(_), None, None, None, None) => Err(NotOne("a `source` alone")),
            (None, ..) => Err(NotOne("no `source`")),
            _ => Err(NotOne("more than one")),
        }
    }
}

type Wrong = (String, String);

impl PrivateKey {
    /// What is wrong, with the key that is wrong.
    pub fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, problem: String| Err((format!("private-key.{key}"), problem));
        match self {
            Self::File(path) if !path.is_absolute() => {
                wrong("file", format!("expected an absolute path, saw `{}`", path.display()))
            }
            // A claim may stand in a grant's path, and a branch may be called `../other`.
            Self::File(path) if path.components().any(|part| part == Component::ParentDir) => {
                wrong("file", format!("expected a path without `..`, saw `{}`", path.display()))
            }
            Self::Transit(_, transit) => {
                check_url("private-key.transit.address", &transit.address)?;
                let named = [("mount", &transit.mount), ("key", &transit.key)];
                match named.into_iter().find(|(_, text)| !is_path(text)) {
                    Some((key, seen)) => {
                        wrong(&format!("transit.{key}"), format!("expected a name, saw `{seen}`"))
                    }
                    None => Ok(()),
                }
            }
            Self::Kms(_, kms) => {
                match &kms.address {
                    Some(url) => check_url("private-key.kms.address", url)?,
                    None => drop(
                        Partition::check_region(&kms.region)
                            .map_err(|problem| ("private-key.kms.region".to_owned(), problem))?,
                    ),
                }
                if !(1..=2048).contains(&kms.key.len()) || kms.key.chars().any(char::is_control) {
                    return wrong(
                        "kms.key",
                        format!("expected an id, an ARN or an alias, saw `{}`", kms.key),
                    );
                }
                Ok(())
            }
            Self::File(_) | Self::Held(_) => Ok(()),
        }
    }

    /// The credential that it is read or used with.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Held(field) => Some(&field.source),
            Self::Transit(source, _) | Self::Kms(source, _) => Some(source),
        }
    }

    /// The file of the host that it is in.
    pub fn file(&self) -> Option<&Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }

    /// Where a login or a signed request is sent because the block says so.
    pub fn endpoint(&self) -> Option<&Url> {
        match self {
            Self::Transit(_, transit) => Some(&transit.address),
            Self::Kms(_, kms) => kms.address.as_ref(),
            Self::File(_) | Self::Held(_) => None,
        }
    }

    /// The server by AWS's own convention.
    pub fn host(&self) -> Option<Url> {
        if let Self::Kms(_, kms) = self { kms.url() } else { None }
    }

    /// How it signs, where the block says so and not the key itself.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Transit(_, transit) => Some(transit.algorithm),
            Self::Kms(_, kms) => Some(kms.algorithm),
            Self::File(_) | Self::Held(_) => None,
        }
    }

    /// Where it is, for people; no secret.
    pub fn place(&self) -> String {
        match self {
            Self::Held(field) => field.source.clone(),
            Self::File(path) => path.display().to_string(),
            Self::Transit(_, transit) => format!("{}/keys/{}", transit.mount, transit.key),
            Self::Kms(_, kms) => kms.key.clone(),
        }
    }
}

impl Kms {
    /// The server that is asked.
    pub fn url(&self) -> Option<Url> {
        self.address.clone().or_else(|| Partition::service("kms", &self.region))
    }

    /// The region that signatures name: of an address that is AWS's own, that one's.
    pub fn signed_for(&self) -> String {
        let named = self.address.as_ref().and_then(Partition::region_of);
        named.as_ref().unwrap_or(&self.region).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<PrivateKey, String> {
        serde_yaml::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_in_one_place() {
        let vault = "{address: https://vault.example.test, key: app}";
        let kms = "{key: alias/app, region: cn-north-1}";
        let source = |yaml: &str| read(yaml).unwrap().source().map(str::to_owned);
        assert_eq!(source("file: /etc/app.pem"), None);
        assert_eq!(source("{source: kv, field: key}"), Some("kv".into()));
        assert_eq!(source(&format!("{{source: login, transit: {vault}}}")), Some("login".into()));
        let aws = read(&format!("{{source: role, kms: {kms}}}")).unwrap();
        assert_eq!(aws.host().unwrap().as_str(), "https://kms.cn-north-1.amazonaws.com.cn/");
        for (bad, saw) in [
            ("{}", "none of them"),
            ("source: kv", "a `source` alone"),
            ("field: key", "no `source`"),
            ("{source: kv, field: key, file: /etc/app.pem}", "more than one"),
            (&format!("{{source: login, field: key, transit: {vault}}}"), "more than one"),
            (&format!("transit: {vault}"), "no `source`"),
        ] {
            assert!(read(bad).unwrap_err().contains(saw), "{bad}");
        }
    }

    #[test]
    fn a_place_that_leads_elsewhere_is_refused() {
        let refused = |yaml: &str| read(yaml).unwrap().check().unwrap_err().0;
        let transit = |more: &str| refused(&format!("{{source: a, transit: {{{more}}}}}"));
        assert_eq!(refused("file: app.pem"), "private-key.file");
        assert_eq!(refused("file: /etc/keys/../app.pem"), "private-key.file");
        assert_eq!(transit("address: http://vault.test, key: app"), "private-key.transit.address");
        assert_eq!(transit("address: https://v.test, key: ../sys/seal"), "private-key.transit.key");
        assert_eq!(transit("address: https://v.test, key: a, mount: a//b"), "private-key.transit.mount");
        let kms = "{source: a, kms: {key: '', region: eu-west-1}}";
        assert_eq!(refused(kms), "private-key.kms.key");
    }
}
