//! AWS's types: roles, regions, session names, policies, accounts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::partition::Partition;
use dataflow_types::credential::EnvName;

/// The ARN of an IAM role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn(String);

impl RoleArn {
    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account's twelve digits.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// The partition that the role is in.
    pub fn partition(&self) -> Partition {
        self.0.split(':').nth(1).and_then(Partition::named).unwrap_or(Partition::USUAL)
    }
}

/// The text is no role's ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the ARN of a role such as `arn:aws:iam::123456789012:role/NAME`, saw `{0}`")]
pub struct NotARole(String);

impl FromStr for RoleArn {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let right = match parts.as_slice() {
            ["arn", partition, "iam", "", account, role] if Partition::named(partition).is_some() => {
                is_account(account) && role.strip_prefix("role/").is_some_and(is_role_name)
            }
            _ => false,
        };
        if right { Ok(Self(text.to_owned())) } else { Err(NotARole(text.to_owned())) }
    }
}

fn is_role_name(path_and_name: &str) -> bool {
    let name = path_and_name.rsplit('/').next().unwrap_or_default();
    !name.is_empty() && path_and_name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&b))
}

/// A role session's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionName(String);

impl SessionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no session name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 2 to 64 of `[A-Za-z0-9_+=,.@-]`, saw `{0}`")]
pub struct NotASessionName(String);

impl FromStr for SessionName {
    type Err = NotASessionName;

    fn from_str(text: &str) -> Result<Self, NotASessionName> {
        if (2..=64).contains(&text.len()) && is_plain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotASessionName(text.to_owned()))
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

/// The ARN of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyArn(String);

impl PolicyArn {
    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no managed policy's ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the ARN of a managed policy such as `arn:aws:iam::aws:policy/ReadOnlyAccess`, saw `{0}`")]
pub struct NotAPolicy(String);

impl FromStr for PolicyArn {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<Self, NotAPolicy> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let right = match parts.as_slice() {
            ["arn", partition, "iam", "", owner, policy] if Partition::named(partition).is_some() => {
                (*owner == "aws" || is_account(owner))
                    && policy.strip_prefix("policy/").is_some_and(is_role_name)
            }
            _ => false,
        };
        if right { Ok(Self(text.to_owned())) } else { Err(NotAPolicy(text.to_owned())) }
    }
}

/// An account's twelve digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(String);

impl Account {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the twelve digits of an account, in quotes, saw `{0}`")]
pub struct NotAnAccount(String);

impl FromStr for Account {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, NotAnAccount> {
        if is_account(text) { Ok(Self(text.to_owned())) } else { Err(NotAnAccount(text.to_owned())) }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The name of a profile in the AWS tools' files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile(String);

impl Profile {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no profile's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 of `[A-Za-z0-9_+=,.@-]`, saw `{0}`")]
pub struct NotAProfile(String);

impl FromStr for Profile {
    type Err = NotAProfile;

    fn from_str(text: &str) -> Result<Self, NotAProfile> {
        if (1..=64).contains(&text.len()) && is_plain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAProfile(text.to_owned()))
        }
    }
}

/// What stands before the usual names of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// A name with the prefix.
    pub fn before(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }
}

/// The text can begin no variable's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected what a variable's name can begin with, such as `STAGING_`, saw `{0}`")]
pub struct NotAPrefix(String);

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let name: Result<EnvName, _> = text.parse();
        if name.is_ok() { Ok(Self(text.to_owned())) } else { Err(NotAPrefix(text.to_owned())) }
    }
}

macro_rules! read_from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
read_from_text!(RoleArn, SessionName, PolicyArn, Account, Profile, Prefix);

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::*;

    #[test]
    fn a_role_is_an_arn_with_partition_account_and_name() {
        let role: RoleArn = "arn:aws-cn:iam::123456789012:role/path/deploy".parse().unwrap();
        assert_eq!((role.account(), role.partition().id()), ("123456789012", "aws-cn"));
        let role: RoleArn = "arn:aws-iso-b:iam::123456789012:role/x".parse().unwrap();
        assert_eq!(role.partition().id(), "aws-iso-b");
        for bad in [
            "deploy",
            "arn:aws:iam::123:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:sts::123456789012:role/x",
            "arn:aws-mars:iam::123456789012:role/x",
        ] {
            assert!(bad.parse::<RoleArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_region_cannot_smuggle_a_host() {
        for bad in ["evil.test/", "eu west", "", "EU", "-x"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }

    #[test]
    fn words_that_are_none_are_refused() {
        assert!("arn:aws:iam::aws:policy/ReadOnlyAccess".parse::<PolicyArn>().is_ok());
        assert!("arn:aws-cn:iam::123456789012:policy/a/b".parse::<PolicyArn>().is_ok());
        for bad in ["ReadOnlyAccess", "arn:aws:iam::aws:role/x", "arn:aws:iam::12:policy/x"] {
            assert!(bad.parse::<PolicyArn>().is_err(), "{bad}");
        }
        assert!("123456789012".parse::<Account>().is_ok() && "12345678901".parse::<Account>().is_err());
        for bad in ["", "a b", "a]", "a\nb"] {
            assert!(bad.parse::<Profile>().is_err(), "{bad}");
        }
        assert_eq!("STAGING_".parse::<Prefix>().unwrap().before("AWS_REGION"), "STAGING_AWS_REGION");
        assert!("1_".parse::<Prefix>().is_err() && "A-".parse::<Prefix>().is_err());
    }
}
