//! The `buildkite` block of a credential: a scoped token of Buildkite's own API.

use serde::Deserialize;
use url::Url;

use super::address::check_url;
use super::field::OneOrMore;
use super::key::PrivateKey;
use super::kind::Kind;
use super::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

/// Asks Buildkite's token exchange for an API token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Buildkite {
    /// The organization's slug.
    pub organization: String,
    /// The OAuth application's client id.
    pub client_id: String,
    /// Where the application's private key is. The keys are those of `oauth.private-key`.
    pub private_key: PrivateKey,
    /// What Buildkite calls that key.
    pub key_id: String,
    /// The user that the token acts as, by email address or UUID: a service user.
    pub subject: String,
    /// What the token may do: `[read_builds, write_builds]`.
    pub scopes: OneOrMore<String>,
    /// How long it lives: `30s` to `24h`. Default: `1h`.
    pub duration: Option<Span>,
    /// Another token endpoint; the host config must allow it (`endpoints`). Default:
    /// `https://buildkite.com/oauth/token`.
    pub endpoint: Option<Url>,
    /// Another REST API, where the token is given back; the host config must allow it (`endpoints`). Default:
    /// `https://api.buildkite.com`.
    pub api_url: Option<Url>,
    /// The variable that holds the token. Default: `BUILDKITE_API_TOKEN`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub env: Option<EnvName>,
}

/// The lives that Buildkite gives a token.
const LIVES: (Span, Span) = (Span::seconds(30), Span::seconds(24 * 3600));

impl Kind for Buildkite {
    fn provider(&self) -> &'static str {
        "buildkite"
    }

    fn check(&self) -> Result<(), (String, String)> {
        for (key, url) in [("endpoint", &self.endpoint), ("api-url", &self.api_url)] {
            url.as_ref().map_or(Ok(()), |url| check_url(key, url))?;
        }
        let (shortest, longest) = LIVES;
        if let Some(duration) = self.duration
            && !(shortest..=longest).contains(&duration)
        {
            return Err(("duration".into(), format!("expected {shortest} to {longest}, saw `{duration}`")));
        }
        if !self.subject.contains('@') && uuid::Uuid::parse_str(&self.subject).is_err() {
            let problem = format!("expected an email address or a UUID, saw `{}`", self.subject);
            return Err(("subject".into(), problem));
        }
        self.private_key.check()
    }

    fn exports(&self) -> Vec<String> {
        self.variable().map(|name| name.to_string()).into_iter().collect()
    }

    fn target(&self) -> String {
        format!("{} ({})", self.organization, self.scopes.0.join(" "))
    }

    fn token(&self) -> Option<(&Token, String)> {
        None
    }

    fn duration(&self) -> Option<Span> {
        self.duration
    }

    fn endpoints(&self) -> Vec<&Url> {
        self.endpoint.iter().chain(&self.api_url).chain(self.private_key.endpoint()).collect()
    }

    fn private_key(&self) -> Option<&PrivateKey> {
        Some(&self.private_key)
    }

    fn sources(&self) -> Vec<(&'static str, &str)> {
        self.private_key.source().map(|source| ("private-key", source)).into_iter().collect()
    }
}

impl Buildkite {
    /// The variable that holds the token.
    pub fn variable(&self) -> Option<EnvName> {
        self.env.clone().or_else(|| "BUILDKITE_API_TOKEN".parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buildkite(more: &str) -> Buildkite {
        let key = "client-id: app\nkey-id: k1\nprivate-key: {source: vault, field: key}";
        serde_yaml::from_str(&format!(
            "organization: acme\n{key}\nscopes: [read_builds, write_builds]\n{more}"
        ))
        .unwrap()
    }

    #[test]
    fn a_life_and_a_subject_are_as_buildkite_wants_them() {
        let check = |more: &str| buildkite(more).check().map_err(|(key, _)| key);
        assert_eq!(check("subject: bot@acme.test\nduration: 24h"), Ok(()));
        assert_eq!(check("subject: 0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e5f"), Ok(()));
        assert_eq!(check("subject: bot@acme.test\nduration: 29s"), Err("duration".into()));
        assert_eq!(check("subject: bot@acme.test\nduration: 25h"), Err("duration".into()));
        assert_eq!(check("subject: bot"), Err("subject".into()));
        assert_eq!(check("subject: a@b\nendpoint: http://buildkite.test"), Err("endpoint".into()));
    }

    #[test]
    fn a_block_says_whom_it_asks_for_what() {
        let asked = buildkite("subject: bot@acme.test");
        assert_eq!(asked.target(), "acme (read_builds write_builds)");
        assert_eq!(asked.exports(), ["BUILDKITE_API_TOKEN"]);
        assert_eq!(asked.sources(), [("private-key", "vault")]);
    }
}
