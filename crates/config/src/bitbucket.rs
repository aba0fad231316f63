//! The `bitbucket` block of a credential: Cloud by an OAuth consumer, Data Center by an HTTP access token.

use serde::Deserialize;
use url::Url;

use super::address::check_url;
use super::field::{Field, OneOrMore};
use super::kind::Kind;
use super::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

/// Asks for a token of Bitbucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("oneOf" = [{ "required": ["consumer"] }, { "required": ["data-center"] }]))
)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bitbucket {
    /// Cloud: a private OAuth consumer, by client credentials. Its tokens live two hours and cannot be given back.
    pub consumer: Option<Consumer>,
    /// Data Center: an HTTP access token, made for the step and deleted after it.
    pub data_center: Option<DataCenter>,
    /// The variable that holds the token. Default: `BITBUCKET_TOKEN`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub env: Option<EnvName>,
}

/// An OAuth consumer of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Consumer {
    /// The consumer's key.
    pub key: String,
    /// The consumer's secret, held by another credential.
    pub secret: Field,
}

/// A Data Center, and what a token is to reach there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataCenter {
    /// Where it is; the host config must allow it (`endpoints`).
    pub url: Url,
    /// The project's key.
    pub project: String,
    /// The repository's slug. Default: the whole project.
    pub repository: Option<String>,
    /// What the token may do. Default: `REPO_READ`.
    #[serde(default)]
    pub permissions: OneOrMore<String>,
    /// After how many days it ends by itself where it could not be deleted. `limits.duration` in the host config must
    /// allow it, `24h` at least. Default: `1`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub expiry_days: Option<u16>,
    /// Who makes and deletes it, held by another credential: an OAuth token, or the password of `admin-user`. An HTTP
    /// access token makes no tokens.
    pub admin: Field,
    /// The user whose password `admin` is.
    pub admin_user: Option<String>,
}

const DAY: Span = Span::seconds(24 * 3600);
/// Cloud's tokens live two hours.
const CLOUD_LIFE: Span = Span::seconds(7200);

impl Kind for Bitbucket {
    fn provider(&self) -> &'static str {
        "bitbucket"
    }

    fn check(&self) -> Result<(), (String, String)> {
        let center = match (&self.consumer, &self.data_center) {
            (Some(_), None) => return Ok(()),
            (None, Some(center)) => center,
            _ => {
                return Err((
                    "consumer".into(),
                    "expected a `consumer` or a `data-center`, saw neither or both".into(),
                ));
            }
        };
        check_url("data-center.url", &center.url)?;
        let names = [("project", Some(&center.project)), ("repository", center.repository.as_ref())];
        for (key, name) in names {
            let plain = |name: &str| {
                let known = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
                !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
            };
            if let Some(name) = name.filter(|name| !plain(name)) {
                return Err((
                    format!("data-center.{key}"),
                    format!("expected its key or slug, saw `{name}`"),
                ));
            }
        }
        if center.expiry_days == Some(0) {
            return Err(("data-center.expiry-days".into(), "expected 1 or more, saw `0`".into()));
        }
        Ok(())
    }

    fn exports(&self) -> Vec<String> {
        self.variable().map(|name| name.to_string()).into_iter().collect()
    }

    fn target(&self) -> String {
        match (&self.consumer, &self.data_center) {
            (_, Some(center)) => {
                let host = center.url.host_str().unwrap_or_default();
                let repository =
                    center.repository.as_ref().map(|slug| format!("/{slug}")).unwrap_or_default();
                format!("{}{repository} at {host}", center.project)
            }
            (Some(consumer), None) => format!("consumer {}", consumer.key),
            (None, None) => String::new(),
        }
    }

    fn token(&self) -> Option<(&Token, String)> {
        None
    }

    fn duration(&self) -> Option<Span> {
        // Neither lives less: a host that allows less allows none.
        Some(match &self.data_center {
            Some(center) => Span(DAY.0 * u32::from(center.expiry_days.unwrap_or(1))),
            None => CLOUD_LIFE,
        })
    }

    fn git_username(&self) -> &'static str {
        "x-token-auth"
    }

    fn git_wants_bearer(&self) -> bool {
        self.data_center.is_some()
    }

    fn endpoints(&self) -> Vec<&Url> {
        self.data_center.iter().map(|center| &center.url).collect()
    }

    fn sources(&self) -> Vec<(&'static str, &str)> {
        let secret =
            self.consumer.iter().map(|consumer| ("consumer.secret", consumer.secret.source.as_str()));
        let admin = self.data_center.iter().map(|center| ("data-center.admin", center.admin.source.as_str()));
        secret.chain(admin).collect()
    }
}

impl Bitbucket {
    /// The variable that holds the token.
    pub fn variable(&self) -> Option<EnvName> {
        self.env.clone().or_else(|| "BITBUCKET_TOKEN".parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<(), String> {
        let bitbucket: Bitbucket = serde_yaml::from_str(yaml).unwrap();
        bitbucket.check().map_err(|(key, _)| key)
    }

    const ADMIN: &str = "admin: {source: vault, field: password}";

    #[test]
    fn it_is_cloud_or_data_center() {
        assert_eq!(check("{}"), Err("consumer".into()));
        assert_eq!(check("consumer: {key: k, secret: {source: vault, field: secret}}"), Ok(()));
        assert_eq!(check(&format!("data-center: {{url: https://b.test, project: DATA, {ADMIN}}}")), Ok(()));
    }

    #[test]
    fn what_becomes_part_of_a_path_is_a_name() {
        let center = |more: &str| format!("data-center: {{url: https://b.test, {ADMIN}, {more}}}");
        assert_eq!(check(&center("project: ../admin")), Err("data-center.project".into()));
        assert_eq!(check(&center("project: A, repository: a/b")), Err("data-center.repository".into()));
        assert_eq!(check(&center("project: ~user, expiry-days: 0")), Err("data-center.expiry-days".into()));
    }
}
