//! The `github` block of a credential: an installation token of a GitHub App.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use crate::address::check_url;
use crate::field::OneOrMore;
use crate::key::{Algorithm, PrivateKey};
use crate::kind::Kind;
use crate::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

mod types;

pub use types::{Access, AppId, Domain, NotADomain, Via};

/// Asks for a token of an app's installation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GitHub {
    /// Who mints it: this program with the app's key, an [octo-sts](https://github.com/octo-sts/app), or a
    /// [chinmina-bridge](https://github.com/chinmina/chinmina-bridge). Default: `app`.
    #[serde(default)]
    pub via: Via,
    /// The REST API of an Enterprise, such as `https://HOST/api/v3`; the host config must allow it (`endpoints`). A
    /// token is also given back there. Default: `https://api.github.com`.
    pub api_url: Option<Url>,
    /// `app`, required: the app's id or client id.
    pub app_id: Option<AppId>,
    /// `app`, required: where its private key is. The keys are those of `oauth.private-key`; GitHub knows RS256 alone.
    pub private_key: Option<PrivateKey>,
    /// `app`: whose installation it is. Default: the first repository's.
    pub owner: Option<String>,
    /// `app`: what it reaches, `OWNER/NAME`, or `NAME` beside an `owner`. One owner only. Default: all of the
    /// installation's.
    #[serde(default)]
    pub repositories: OneOrMore<String>,
    /// `app`: what it may do: `contents: read`. Default: all of the app's.
    #[serde(default)]
    pub permissions: BTreeMap<String, Access>,
    /// `octo-sts`: its host, and the job's token's audience; another one the host config must allow (`endpoints`).
    /// Default: `octo-sts.dev`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub domain: Option<Domain>,
    /// `octo-sts`, required: the repository or organization that holds the trust policy.
    pub scope: Option<String>,
    /// `octo-sts`, required: the policy's name, `.github/chainguard/NAME.sts.yaml`.
    pub identity: Option<String>,
    /// `chinmina`, required: the bridge; the host config must allow it (`endpoints`).
    pub url: Option<Url>,
    /// `chinmina`: `pipeline:NAME` or `org:NAME`. Default: `pipeline:default`.
    pub profile: Option<String>,
    /// The variables that hold the token. Default: `GITHUB_TOKEN`.
    #[cfg_attr(feature = "schema", schemars(with = "OneOrMore<String>"))]
    #[serde(default)]
    pub env: OneOrMore<EnvName>,
    /// Where the subject token comes from and what it is like. Not for `app`. Its audience is by default the `domain`,
    /// or `chinmina:default` ([the subject token](#the-subject-token)).
    pub token: Option<Token>,
}

/// Where octo-sts is where the step names no other.
pub const OCTO_STS: &str = "octo-sts.dev";
/// The audience that a chinmina-bridge expects by convention.
const CHINMINA: &str = "chinmina:default";

type Wrong = (String, String);

impl Kind for GitHub {
    fn provider(&self) -> &'static str {
        "github"
    }

    fn check(&self) -> Result<(), Wrong> {
        for (key, url) in [("api-url", &self.api_url), ("url", &self.url)] {
            url.as_ref().map_or(Ok(()), |url| check_url(key, url))?;
        }
        for (key, of, there) in self.keys() {
            if there && of != self.via {
                return Err((key.to_owned(), format!("belongs to `via: {}`", of.word())));
            }
        }
        self.check_needed()?;
        self.check_key()?;
        for name in &self.repositories.0 {
            if !is_repository(name) || (!name.contains('/') && self.owner.is_none()) {
                let problem = format!("expected `OWNER/NAME`, or `NAME` beside an `owner`, saw `{name}`");
                return Err(("repositories".into(), problem));
            }
        }
        if let Some(name) = self.repositories.0.iter().find(|name| self.of_another_owner(name)) {
            return Err((
                "repositories".into(),
                format!("`{name}` is of another owner: one token is of one installation"),
            ));
        }
        match &self.token {
            Some(_) if self.via == Via::App => {
                Err(("token".into(), "an app's key is used, and not the job's token".into()))
            }
            Some(token) => token.check().map_err(|(key, problem)| (format!("token.{key}"), problem)),
            None => Ok(()),
        }
    }

    fn exports(&self) -> Vec<String> {
        self.variables().iter().map(ToString::to_string).collect()
    }

    fn target(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        match self.via {
            Via::App if self.repositories.0.is_empty() => text(&self.owner),
            Via::App => self.repositories.0.join(", "),
            Via::OctoSts => format!("{} of {}", text(&self.identity), text(&self.scope)),
            Via::Chinmina => self.profile().to_owned(),
        }
    }

    fn token(&self) -> Option<(&Token, String)> {
        static USUAL: Token = Token::USUAL;
        let audience = match self.via {
            Via::App => return None,
            Via::OctoSts => self.domain.as_ref().map_or(OCTO_STS, |domain| domain.name.as_str()),
            Via::Chinmina => CHINMINA,
        };
        Some((self.token.as_ref().unwrap_or(&USUAL), audience.to_owned()))
    }

    fn duration(&self) -> Option<Span> {
        // Every installation's token lives an hour: a host that allows less allows none.
        Some(Span::seconds(3600))
    }

    fn endpoints(&self) -> Vec<&Url> {
        let domain = self.domain.as_ref().map(|domain| &domain.url);
        let key = self.private_key.as_ref().and_then(PrivateKey::endpoint);
        self.api_url.iter().chain(domain).chain(&self.url).chain(key).collect()
    }

    fn private_key(&self) -> Option<&PrivateKey> {
        self.private_key.as_ref()
    }

    fn sources(&self) -> Vec<(&'static str, &str)> {
        self.private_key.iter().filter_map(|key| Some(("private-key", key.source()?))).collect()
    }
}

impl GitHub {
    /// Each key that belongs to one way alone, and whether it is there.
    fn keys(&self) -> [(&'static str, Via, bool); 10] {
        [
            ("app-id", Via::App, self.app_id.is_some()),
            ("private-key", Via::App, self.private_key.is_some()),
            ("owner", Via::App, self.owner.is_some()),
            ("repositories", Via::App, !self.repositories.0.is_empty()),
            ("permissions", Via::App, !self.permissions.is_empty()),
            ("domain", Via::OctoSts, self.domain.is_some()),
            ("scope", Via::OctoSts, self.scope.is_some()),
            ("identity", Via::OctoSts, self.identity.is_some()),
            ("url", Via::Chinmina, self.url.is_some()),
            ("profile", Via::Chinmina, self.profile.is_some()),
        ]
    }

    fn check_needed(&self) -> Result<(), Wrong> {
        let missing = |key: &str| Err((key.to_owned(), "is missing".to_owned()));
        match self.via {
            Via::App if self.app_id.is_none() => missing("app-id"),
            Via::App if self.private_key.is_none() => missing("private-key"),
            Via::App if self.owner.is_none() && self.repositories.0.is_empty() => missing("repositories"),
            Via::OctoSts if self.scope.is_none() => missing("scope"),
            Via::OctoSts if self.identity.is_none() => missing("identity"),
            Via::Chinmina if self.url.is_none() => missing("url"),
            Via::Chinmina if !is_profile(self.profile()) => {
                let problem = format!("expected `pipeline:NAME` or `org:NAME`, saw `{}`", self.profile());
                Err(("profile".to_owned(), problem))
            }
            _ => match &self.owner {
                Some(owner) if !is_name(owner) => {
                    Err(("owner".to_owned(), format!("expected an organization or a user, saw `{owner}`")))
                }
                _ => Ok(()),
            },
        }
    }

    fn check_key(&self) -> Result<(), Wrong> {
        let Some(key) = &self.private_key else { return Ok(()) };
        if key.algorithm() == Some(Algorithm::Es256) {
            return Err(("private-key".to_owned(), "GitHub knows RS256 alone, saw ES256".to_owned()));
        }
        key.check()
    }

    fn of_another_owner(&self, repository: &str) -> bool {
        repository.split_once('/').is_some_and(|(owner, _)| Some(owner) != self.owner_name())
    }

    /// Whose installation it is.
    pub fn owner_name(&self) -> Option<&str> {
        let first = || Some(self.repositories.0.first()?.split_once('/')?.0);
        self.owner.as_deref().or_else(first)
    }

    /// The profile of a chinmina-bridge.
    pub fn profile(&self) -> &str {
        self.profile.as_deref().unwrap_or("pipeline:default")
    }

    /// The variables that hold the token.
    pub fn variables(&self) -> Vec<EnvName> {
        if self.env.0.is_empty() { "GITHUB_TOKEN".parse().into_iter().collect() } else { self.env.0.clone() }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_repository(text: &str) -> bool {
    text.split_once('/').map_or_else(|| is_name(text), |(owner, name)| is_name(owner) && is_name(name))
}

fn is_profile(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, name)| ["pipeline", "org"].contains(&kind) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github(yaml: &str) -> GitHub {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[track_caller]
    fn refused(yaml: &str, key: &str, problem: &str) {
        let (place, seen) = github(yaml).check().unwrap_err();
        assert_eq!(place, key);
        assert!(seen.contains(problem), "{seen}");
    }

    const APP: &str = "app-id: 7\nprivate-key: {source: vault, field: key}\n";

    #[test]
    fn each_way_has_its_own_keys() {
        refused("via: octo-sts\nscope: acme/web\nidentity: ci\napp-id: 7", "app-id", "belongs to `via: app`");
        refused("via: octo-sts\nscope: acme/web", "identity", "is missing");
        refused("via: chinmina", "url", "is missing");
        refused("via: chinmina\nurl: https://c.test\nprofile: default", "profile", "pipeline:NAME");
        refused(APP, "repositories", "is missing");
        assert!(github("via: octo-sts\nscope: acme/web\nidentity: ci").check().is_ok());
    }

    #[test]
    fn one_token_is_of_one_installation() {
        refused(&format!("{APP}repositories: [acme/web, other/api]"), "repositories", "another owner");
        refused(&format!("{APP}repositories: web"), "repositories", "beside an `owner`");
        refused(&format!("{APP}repositories: acme/../x"), "repositories", "OWNER/NAME");
        let both = github(&format!("{APP}owner: acme\nrepositories: [web, acme/api]"));
        assert!(both.check().is_ok());
        assert_eq!(both.owner_name(), Some("acme"));
    }

    #[test]
    fn a_host_is_only_a_host() {
        for bad in ["", "octo-sts.dev/x", "https://octo-sts.dev", "a@b", "A B"] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
        let octo = github("via: octo-sts\nscope: a/b\nidentity: c\ndomain: octo.example.test");
        assert_eq!(octo.token().unwrap().1, "octo.example.test");
        assert_eq!(octo.endpoints()[0].as_str(), "https://octo.example.test/");
    }

    #[test]
    fn the_usual_variable_can_be_another_or_several() {
        assert_eq!(github(APP).exports(), ["GITHUB_TOKEN"]);
        assert_eq!(
            github(&format!("{APP}env: [GITHUB_TOKEN, GH_TOKEN]")).exports(),
            ["GITHUB_TOKEN", "GH_TOKEN"]
        );
    }
}
