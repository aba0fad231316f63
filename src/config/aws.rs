//! The `aws` block of a credential.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::credential::Kind;
use super::token::Token;
use crate::span::Span;

/// Asks for one role by `AssumeRoleWithWebIdentity`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Aws {
    /// The role's ARN.
    #[cfg_attr(
        test,
        schemars(with = "String", regex(pattern = r"^arn:(aws|aws-cn|aws-us-gov):iam::[0-9]{12}:role/.+$"))
    )]
    pub role: RoleArn,
    /// The region, exported as `AWS_REGION` and `AWS_DEFAULT_REGION`, and whose STS is asked.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub region: Option<Region>,
    /// How long the credentials live: `15m` to `12h`, at most what the role allows; `1h` when absent.
    pub duration: Option<Span>,
    /// The session's name, 2 to 64 of `[A-Za-z0-9_+=,.@-]`; unique and made of the job's id when absent.
    #[cfg_attr(test, schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_+=,.@-]{2,64}$")))]
    pub session_name: Option<SessionName>,
    /// Another STS endpoint; the host config must allow it, for the token is sent there.
    pub endpoint: Option<Url>,
    /// Where the subject token comes from and what it is like.
    #[serde(default)]
    pub token: Token,
}

/// The shortest duration that STS gives.
pub const MIN_DURATION: Span = Span::seconds(900);
/// The longest duration that any role allows.
pub const MAX_DURATION: Span = Span::seconds(12 * 3600);

impl Kind for Aws {
    fn provider(&self) -> &'static str {
        "aws"
    }

    fn check(&self) -> Result<(), (String, String)> {
        if let Some(duration) = self.duration
            && !(MIN_DURATION..=MAX_DURATION).contains(&duration)
        {
            let problem = format!("expected {MIN_DURATION} to {MAX_DURATION}, saw `{duration}`");
            return Err(("duration".into(), problem));
        }
        if let Some(url) = self.endpoint.as_ref().filter(|url| !is_safe(url)) {
            let problem = format!(
                "expected an https URL, saw `{}`: a token would travel in clear",
                url.origin().ascii_serialization()
            );
            return Err(("endpoint".into(), problem));
        }
        self.token.check().map_err(|(key, problem)| (format!("token.{key}"), problem))
    }

    fn exports(&self) -> Vec<String> {
        let region: &[_] = if self.region.is_some() { &["AWS_REGION", "AWS_DEFAULT_REGION"] } else { &[] };
        let names = [&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"], region].concat();
        names.into_iter().map(str::to_owned).collect()
    }

    fn target(&self) -> String {
        self.role.to_string()
    }

    fn token(&self) -> Option<(&Token, String)> {
        Some((&self.token, self.role.partition().audience().to_owned()))
    }

    fn duration(&self) -> Option<Span> {
        self.duration
    }

    fn endpoints(&self) -> Vec<&Url> {
        self.endpoint.iter().collect()
    }
}

impl Aws {
    /// The STS to ask: the one named, or the region's, or the partition's first.
    pub fn sts(&self, overridden: Option<&Url>) -> Result<Url, url::ParseError> {
        if let Some(url) = self.endpoint.as_ref().or(overridden) {
            return Ok(url.clone());
        }
        let partition = self.role.partition();
        let region = self.region.as_ref().map_or(partition.first_region(), Region::as_str);
        Url::parse(&format!("https://sts.{region}.{}/", partition.suffix()))
    }
}

/// Whether nobody on the way can read what is sent there.
pub fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// One of AWS's separate worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// The commercial one.
    Aws,
    /// China.
    China,
    /// The US government's.
    UsGov,
}

impl Partition {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::UsGov => "amazonaws.com",
            Self::China => "amazonaws.com.cn",
        }
    }

    /// The region whose STS is asked where the step names none.
    pub const fn first_region(self) -> &'static str {
        match self {
            Self::Aws => "us-east-1",
            Self::China => "cn-north-1",
            Self::UsGov => "us-gov-west-1",
        }
    }

    /// The audience that trust policies there expect.
    pub const fn audience(self) -> &'static str {
        match self {
            Self::Aws | Self::UsGov => "sts.amazonaws.com",
            Self::China => "sts.amazonaws.com.cn",
        }
    }
}

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

    /// The world the role lives in.
    pub fn partition(&self) -> Partition {
        match self.0.split(':').nth(1) {
            Some("aws-cn") => Partition::China,
            Some("aws-us-gov") => Partition::UsGov,
            _ => Partition::Aws,
        }
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
            ["arn", "aws" | "aws-cn" | "aws-us-gov", "iam", "", account, role] => {
                account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit())
                    && role.strip_prefix("role/").is_some_and(is_role_name)
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
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
        if plain && (2..=64).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotASessionName(text.to_owned()))
        }
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
read_from_text!(RoleArn, Region, SessionName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_an_arn_with_partition_account_and_name() {
        let role: RoleArn = "arn:aws-cn:iam::123456789012:role/path/deploy".parse().unwrap();
        assert_eq!((role.account(), role.partition()), ("123456789012", Partition::China));
        for bad in [
            "deploy",
            "arn:aws:iam::123:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:sts::123456789012:role/x",
        ] {
            assert!(bad.parse::<RoleArn>().is_err(), "{bad}");
        }
    }

    fn aws(yaml: &str) -> Aws {
        serde_yaml::from_str(&format!("role: arn:aws:iam::123456789012:role/x\n{yaml}")).unwrap()
    }

    #[test]
    fn sts_is_the_regions_own_unless_another_is_named() {
        let check = |yaml: &str, expected: &str| assert_eq!(aws(yaml).sts(None).unwrap().as_str(), expected);
        check("", "https://sts.us-east-1.amazonaws.com/");
        check("region: eu-west-1", "https://sts.eu-west-1.amazonaws.com/");
        check("endpoint: https://vpce.example.test", "https://vpce.example.test/");
        let china = Aws { role: "arn:aws-cn:iam::123456789012:role/x".parse().unwrap(), ..aws("") };
        assert_eq!(china.sts(None).unwrap().as_str(), "https://sts.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn a_duration_out_of_range_is_refused_with_the_range() {
        let (place, problem) = aws("duration: 10m").check().unwrap_err();
        assert_eq!((place.as_str(), problem.as_str()), ("duration", "expected 15m to 12h, saw `10m`"));
        assert!(aws("duration: 43200").check().is_ok());
        assert!(aws("duration: 12h1s").check().is_err());
    }

    #[test]
    fn a_token_does_not_travel_in_clear() {
        for bad in ["http://sts.example.test", "ftp://localhost/"] {
            assert_eq!(aws(&format!("endpoint: {bad}")).check().unwrap_err().0, "endpoint", "{bad}");
        }
        for good in
            ["https://sts.example.test", "http://127.0.0.1:7480", "http://[::1]:1", "http://localhost:1"]
        {
            assert!(aws(&format!("endpoint: {good}")).check().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_region_cannot_smuggle_a_host() {
        for bad in ["evil.test/", "eu west", "", "EU", "-x"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }
}
