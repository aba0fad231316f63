//! The `oauth` block of a credential: any server that speaks OAuth 2.0.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::address::check_url;
use super::field::{Field, OneOrMore};
use super::key::PrivateKey;
use super::kind::Kind;
use super::token::Token;
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

/// Asks an OAuth 2.0 token endpoint for an access token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OAuth {
    /// What is sent for the token. The job's token goes as subject token (RFC 8693), as grant (RFC 7523, 2.1) or as
    /// the client's authentication (RFC 7523, 2.2); else the client's secret does, or an assertion signed with the
    /// client's key.
    pub grant: Grant,
    /// The server's issuer, whose metadata names the endpoints; the host config must allow it (`endpoints`), and an
    /// endpoint elsewhere. It is read by OpenID Connect Discovery or RFC 8414, whichever document is there.
    pub issuer: Option<Url>,
    /// The token endpoint, where no metadata is asked; the host config must allow it (`endpoints`). Default: the
    /// metadata's.
    pub token_endpoint: Option<Url>,
    /// The revocation endpoint (RFC 7009), where the token is given back; the host config must allow it (`endpoints`).
    /// Default: the metadata's.
    pub revocation_endpoint: Option<Url>,
    /// The introspection endpoint (RFC 7662), where it is asked whether that had an effect; the host config must allow
    /// it (`endpoints`). Default: the metadata's.
    pub introspection_endpoint: Option<Url>,
    /// The client's name at the server.
    pub client_id: Option<String>,
    /// The client's secret, held by another credential; of two that overlap the newest first. The other is sent where
    /// that one is an `invalid_client`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 2)))]
    pub client_secret: OneOrMore<Field>,
    /// Whether id and secret are sent in the header or in the form. Default: `basic`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where the client's private key is (RSA of 2048 to 4096 bits, or P-256). It is a `file`, or a `source` with one
    /// of `field`, `transit` and `kms` ([private keys](#private-keys)).
    pub private_key: Option<PrivateKey>,
    /// What the server calls that key (`kid`).
    pub key_id: Option<String>,
    /// Who should believe the new token.
    #[serde(default)]
    pub audience: OneOrMore<String>,
    /// What the new token is for, by URI (RFC 8707).
    #[serde(default)]
    pub resource: OneOrMore<String>,
    /// Scopes, separated by spaces. Default: the server's.
    pub scope: Option<String>,
    /// What kind of token is wanted: `access_token`, another last word of RFC 8693's, or a URI. Default: the server's.
    pub requested_token_type: Option<String>,
    /// What the job's token is called: the last word of one of RFC 8693's, or a URI. Default: `jwt`.
    pub subject_token_type: Option<String>,
    /// Further fields of the form.
    #[serde(default)]
    pub form: BTreeMap<String, String>,
    /// The variable that holds the access token. It or `file` is needed, unless `export: false`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))
    )]
    pub env: Option<EnvName>,
    /// The variable that holds the path of a private file with the access token.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))
    )]
    pub file: Option<EnvName>,
    /// How long the server's tokens live, where neither its answer nor the token says. Default: `1h`.
    pub duration: Option<Span>,
    /// Where the subject token comes from and what it is like. Its audience is by default the issuer ([the subject
    /// token](#the-subject-token)).
    pub token: Option<Token>,
}

/// What is sent for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// The job's token as subject token (RFC 8693).
    TokenExchange,
    /// The job's token as grant (RFC 7523, section 2.1).
    JwtBearer,
    /// The job's token as the client's authentication (RFC 7523, section 2.2).
    ClientAssertion,
    /// The client's id and secret (RFC 6749, section 4.4).
    ClientCredentials,
    /// An assertion signed with the client's private key.
    PrivateKeyJwt,
}

impl Grant {
    /// Whether the job's own token is what the server judges.
    pub const fn sends_the_jobs_token(self) -> bool {
        matches!(self, Self::TokenExchange | Self::JwtBearer | Self::ClientAssertion)
    }
}

/// How a client's id and secret are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// The fields that this program sends itself.
const OURS: [&str; 11] = [
    "grant_type",
    "assertion",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "token",
];

type Wrong = (String, String);

fn wrong<T>(key: &str, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((key.to_owned(), problem.into()))
}

impl Kind for OAuth {
    fn provider(&self) -> &'static str {
        "oauth"
    }

    fn check(&self) -> Result<(), Wrong> {
        for (key, url) in self.named() {
            check_url(key, url)?;
        }
        if self.issuer.is_none() && self.token_endpoint.is_none() {
            return wrong("issuer", "is missing: name the `issuer` or the `token-endpoint`");
        }
        if let Some(field) = self.form.keys().find(|field| OURS.contains(&field.as_str())) {
            return wrong("form", format!("`{field}` is sent by this program: it has a key of its own"));
        }
        self.check_client()?;
        self.private_key.as_ref().map_or(Ok(()), PrivateKey::check)?;
        match &self.token {
            Some(_) if !self.grant.sends_the_jobs_token() => {
                wrong("token", "this grant does not send the job's token")
            }
            Some(token) => token.check().map_err(|(key, problem)| (format!("token.{key}"), problem)),
            None => Ok(()),
        }
    }

    fn check_exported(&self) -> Result<(), Wrong> {
        if self.exports().is_empty() {
            return wrong("env", "is missing: name a variable, or say `export: false` beside `oauth`");
        }
        Ok(())
    }

    fn exports(&self) -> Vec<String> {
        self.env.iter().chain(&self.file).map(ToString::to_string).collect()
    }

    fn target(&self) -> String {
        let at = self.issuer.as_ref().or(self.token_endpoint.as_ref());
        let at = at.and_then(Url::host_str).unwrap_or_default();
        match &self.client_id {
            Some(client) => format!("{client} at {at}"),
            None => at.to_owned(),
        }
    }

    fn token(&self) -> Option<(&Token, String)> {
        static USUAL: Token = Token::USUAL;
        let audience = self.issuer.as_ref().or(self.token_endpoint.as_ref()).map(name_of)?;
        self.grant.sends_the_jobs_token().then(|| (self.token.as_ref().unwrap_or(&USUAL), audience))
    }

    fn duration(&self) -> Option<Span> {
        self.duration
    }

    fn endpoints(&self) -> Vec<&Url> {
        let key = self.private_key.as_ref().and_then(PrivateKey::endpoint);
        self.named().into_iter().map(|(_, url)| url).chain(key).collect()
    }

    fn private_key(&self) -> Option<&PrivateKey> {
        self.private_key.as_ref()
    }

    fn sources(&self) -> Vec<(&'static str, &str)> {
        let secrets = self.client_secret.0.iter().map(|field| ("client-secret", field.source.as_str()));
        let key = self.private_key.iter().filter_map(|key| Some(("private-key", key.source()?)));
        secrets.chain(key).collect()
    }
}

impl OAuth {
    fn named(&self) -> Vec<(&'static str, &Url)> {
        let all = [
            ("issuer", &self.issuer),
            ("token-endpoint", &self.token_endpoint),
            ("revocation-endpoint", &self.revocation_endpoint),
            ("introspection-endpoint", &self.introspection_endpoint),
        ];
        all.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?))).collect()
    }

    fn check_client(&self) -> Result<(), Wrong> {
        let (secret, key) = (!self.client_secret.0.is_empty(), self.private_key.is_some());
        if self.client_id.is_none()
            && (secret || key || matches!(self.grant, Grant::ClientCredentials | Grant::PrivateKeyJwt))
        {
            return wrong("client-id", "is missing: whose secret or key is it?");
        }
        match self.grant {
            Grant::ClientCredentials if !secret => wrong("client-secret", "is missing"),
            Grant::PrivateKeyJwt if !key => wrong("private-key", "is missing"),
            Grant::ClientAssertion if secret || key => {
                wrong("grant", "`client-assertion` needs no secret and no key: the job's token is both")
            }
            Grant::ClientCredentials if key => wrong("private-key", "belongs to `grant: private-key-jwt`"),
            _ if secret && key => wrong("client-secret", "and `private-key` say two things: keep one"),
            _ if self.client_secret.0.len() > 2 => {
                wrong("client-secret", "expected one or two, the newest first")
            }
            _ => Ok(()),
        }
    }
}

/// A server's name as servers write it: a URL with no path has no slash at its end.
pub fn name_of(url: &Url) -> String {
    if url.path() == "/" && url.query().is_none() {
        url.as_str().trim_end_matches('/').to_owned()
    } else {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oauth(more: &str) -> OAuth {
        serde_yaml::from_str(&format!("issuer: https://login.example.test\n{more}")).unwrap()
    }

    #[track_caller]
    fn refused(more: &str, key: &str, problem: &str) {
        let (place, seen) = oauth(more).check().unwrap_err();
        assert_eq!(place, key);
        assert!(seen.contains(problem), "{seen}");
    }

    const SECRET: &str = "client-id: svc\nclient-secret: {source: vault, field: secret}";

    #[test]
    fn what_each_grant_needs_is_asked_for() {
        refused("grant: client-credentials", "client-id", "is missing");
        refused("grant: client-credentials\nclient-id: svc", "client-secret", "is missing");
        refused("grant: private-key-jwt\nclient-id: svc", "private-key", "is missing");
        refused(&format!("grant: client-assertion\n{SECRET}"), "grant", "needs no secret");
        refused(
            "grant: client-credentials\ntoken: {}\nclient-id: a\nclient-secret: {source: a, field: b}",
            "token",
            "does not send",
        );
        assert!(oauth(&format!("grant: client-credentials\n{SECRET}")).check().is_ok());
        assert!(oauth("grant: token-exchange").check().is_ok());
        let three = "client-id: a\nclient-secret: [{source: a, field: b}, {source: a, field: c}, {source: a, field: d}]";
        refused(&format!("grant: client-credentials\n{three}"), "client-secret", "one or two");
    }

    #[test]
    fn a_token_does_not_travel_in_clear() {
        refused(
            "grant: token-exchange\ntoken-endpoint: http://login.example.test/token",
            "token-endpoint",
            "https",
        );
        refused(
            "grant: token-exchange\nrevocation-endpoint: https://a:b@x.test/",
            "revocation-endpoint",
            "password",
        );
    }

    #[test]
    fn a_form_says_nothing_twice() {
        refused("grant: token-exchange\nform: {subject_token: x}", "form", "`subject_token`");
        assert!(oauth("grant: token-exchange\nform: {connector_id: buildkite}").check().is_ok());
    }

    #[test]
    fn a_token_that_is_exported_has_a_variable() {
        assert_eq!(oauth("grant: jwt-bearer").check_exported().unwrap_err().0, "env");
        let exported = oauth("grant: jwt-bearer\nenv: A\nfile: B");
        assert!(exported.check_exported().is_ok());
        assert_eq!(exported.exports(), ["A", "B"]);
    }

    #[test]
    fn the_jobs_token_is_for_the_issuer_where_nothing_else_is_said() {
        let asked = oauth("grant: jwt-bearer");
        assert_eq!(asked.token().unwrap().1, "https://login.example.test");
        assert!(oauth(&format!("grant: client-credentials\n{SECRET}")).token().is_none());
    }

    #[test]
    fn what_it_is_made_with_is_named_with_its_key() {
        let asked = oauth(&format!("grant: client-credentials\n{SECRET}"));
        assert_eq!(asked.sources(), [("client-secret", "vault")]);
    }
}
