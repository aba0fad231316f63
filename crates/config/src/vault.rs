//! The `vault` block of a credential: HashiCorp Vault and OpenBao.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::address::{is_path, is_safe};
use super::kind::Kind;
use super::token::Token;
use super::value::{self, Destination, FileName};
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

/// Logs in by the method `jwt`, reads secrets, and gives the login back at the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vault {
    /// Where it is, `https://HOST:PORT`; the host config must allow it (`endpoints`), for the token is sent there.
    pub address: Url,
    /// The role of the login method.
    pub role: String,
    /// Where the login method is mounted, without `auth/`.
    #[serde(default = "usual_mount")]
    pub mount: String,
    /// The namespace, sent with the login and every path.
    pub namespace: Option<String>,
    /// What is read and where it goes. Each distinct request is made once.
    #[serde(default)]
    pub secrets: Vec<Read>,
    /// Whether the step gets the login itself: `VAULT_TOKEN`, `VAULT_ADDR`, and `VAULT_NAMESPACE` where there is one.
    #[serde(default)]
    pub export_token: bool,
    /// Where the subject token comes from and what it is like. Its audience is by default the `address`, without a
    /// slash at its end ([the subject token](#the-subject-token)).
    #[serde(default)]
    pub token: Token,
}

/// One value of one path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Read {
    /// The path as the API has it: `secret/data/train` for KV v2, `kv/train` for v1, `database/creds/train`.
    pub path: String,
    /// Which value: a key, or a JSON pointer such as `/db/password`. Not with `wrap-ttl`. Default: the whole, as JSON.
    pub key: Option<String>,
    /// The variable that holds the value, or the path of its `file`. One of `env`, `file` and `field` must be there,
    /// and a `key` is a `field`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))
    )]
    pub env: Option<EnvName>,
    /// The file in the block's private folder that holds the value, 0600. `DATAFLOW_BLOCK` names the folder. The file
    /// goes at the end.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"))
    )]
    pub file: Option<FileName>,
    /// What credentials whose `source` this one is call the value. Of two equal ones the first counts. Default: the
    /// `key`.
    pub field: Option<String>,
    /// Whether it is hidden in the log; what is no secret (a user name, a port) may be short. The record says so.
    #[serde(default = "yes")]
    pub secret: bool,
    /// The version, for KV v2. Default: the newest.
    pub version: Option<u32>,
    /// Parameters to write, for engines that want them. They are written (POST) where the path would be read (GET);
    /// `{}` for none.
    pub data: Option<BTreeMap<String, Value>>,
    /// Hands over a wrapping token that lives so long, instead of the value.
    pub wrap_ttl: Option<Span>,
}

fn yes() -> bool {
    true
}

fn usual_mount() -> String {
    "jwt".to_owned()
}

impl Kind for Vault {
    fn provider(&self) -> &'static str {
        "vault"
    }

    fn check(&self) -> Result<(), (String, String)> {
        if !is_safe(&self.address) {
            let seen = self.address.origin().ascii_serialization();
            let problem = format!("expected an https URL, saw `{seen}`: a token would travel in clear");
            return Err(("address".into(), problem));
        }
        let (url, path) = (&self.address, "expected a path such as");
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            let problem = "expected an address such as `https://vault.example.test:8200`, saw more than that";
            return Err(("address".into(), problem.to_owned()));
        }
        if !is_path(&self.mount) {
            return Err(("mount".into(), format!("{path} `jwt`, saw `{}`", self.mount)));
        }
        if self.role.is_empty() {
            return Err(("role".into(), "expected the name of a role, saw nothing".into()));
        }
        if let Some(seen) = self.namespace.as_deref().filter(|text| !is_path(text.trim_end_matches('/'))) {
            return Err(("namespace".into(), format!("{path} `team/ci`, saw `{seen}`")));
        }
        for (index, read) in self.secrets.iter().enumerate() {
            read.check().map_err(|(key, problem)| (format!("secrets[{index}].{key}"), problem))?;
        }
        let destinations = self.secrets.iter().map(Read::destination);
        value::check(destinations).map_err(|(key, problem)| (format!("secrets{key}"), problem))?;
        self.token.check().map_err(|(key, problem)| (format!("token.{key}"), problem))
    }

    fn exports(&self) -> Vec<String> {
        let ours = ["VAULT_TOKEN", "VAULT_ADDR"].into_iter().filter(|_| self.export_token);
        let namespace = (self.export_token && self.namespace.is_some()).then_some("VAULT_NAMESPACE");
        let values = self.secrets.iter().filter_map(|read| read.env.as_ref());
        ours.chain(namespace).map(str::to_owned).chain(values.map(ToString::to_string)).collect()
    }

    fn files(&self) -> Vec<String> {
        self.secrets.iter().filter_map(|read| read.file.as_ref()).map(ToString::to_string).collect()
    }

    /// Vault's own name for the role: where its API has it.
    fn target(&self) -> String {
        let namespace = self.namespace.as_deref().map(|text| format!("{}/", text.trim_end_matches('/')));
        let namespace = namespace.unwrap_or_default();
        format!("{}/v1/{namespace}auth/{}/role/{}", self.base(), self.mount, self.role)
    }

    fn token(&self) -> Option<(&Token, String)> {
        Some((&self.token, self.base()))
    }

    fn plain(&self) -> Vec<String> {
        self.secrets.iter().filter(|read| !read.secret).map(|read| read.destination().name()).collect()
    }

    fn duration(&self) -> Option<Span> {
        None
    }

    /// The role decides, up to Vault's own limit for every token, which is 768 hours where nobody changed it.
    fn usual_duration(&self) -> Span {
        Span::seconds(768 * 3600)
    }

    fn longest(&self) -> Option<Span> {
        Some(self.usual_duration())
    }

    fn endpoints(&self) -> Vec<&Url> {
        vec![&self.address]
    }
}

impl Vault {
    /// The address without a slash at its end: also the audience that a role expects where the block names none.
    pub fn base(&self) -> String {
        self.address.as_str().trim_end_matches('/').to_owned()
    }
}

impl Read {
    /// The whole of the newest version at a path, which goes nowhere.
    pub fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            key: None,
            env: None,
            file: None,
            field: None,
            secret: true,
            version: None,
            data: None,
            wrap_ttl: None,
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        if !is_path(&self.path) {
            let problem = format!("expected a path such as `secret/data/train`, saw `{}`", self.path);
            return Err(("path", problem));
        }
        if self.wrap_ttl.is_some() && self.key.is_some() {
            return Err(("key", "a wrapped answer is handed over whole: leave `key` away".to_owned()));
        }
        if let Some(ttl) = self.wrap_ttl.filter(|ttl| ttl.as_secs() == 0) {
            return Err(("wrap-ttl", format!("expected 1s or more, saw `{ttl}`")));
        }
        if self.version.is_some() && self.data.is_some() {
            return Err(("version", "a version is read and not written: leave `data` away".to_owned()));
        }
        Ok(())
    }

    /// Where the value goes.
    pub fn destination(&self) -> Destination<'_> {
        let field = self.field.as_deref().or(self.key.as_deref());
        Destination { env: self.env.as_ref(), file: self.file.as_ref(), field, secret: self.secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(yaml: &str) -> Vault {
        serde_yaml::from_str(&format!("address: https://vault.example.test:8200/\nrole: train\n{yaml}"))
            .unwrap()
    }

    #[track_caller]
    fn refused(yaml: &str, place: &str, problem: &str) {
        let (key, said) = vault(yaml).check().unwrap_err();
        assert_eq!(key, place);
        assert!(said.contains(problem), "{said}");
    }

    #[test]
    fn the_audience_is_the_address_without_a_slash_at_its_end() {
        let plain = vault("");
        assert_eq!(plain.token().unwrap().1, "https://vault.example.test:8200");
        assert_eq!(plain.target(), "https://vault.example.test:8200/v1/auth/jwt/role/train");
        let named = vault("namespace: team/ci/\nmount: buildkite\n");
        assert_eq!(named.target(), "https://vault.example.test:8200/v1/team/ci/auth/buildkite/role/train");
    }

    #[test]
    fn the_login_is_exported_only_on_request() {
        let read = "secrets: [{path: kv/x, key: a, env: A}, {path: kv/x, key: b, file: b.pem}]\n";
        assert_eq!(vault(read).exports(), ["A"]);
        assert_eq!(vault(read).files(), ["b.pem"]);
        let asked = vault(&format!("{read}export-token: true\nnamespace: ci\n"));
        assert_eq!(asked.exports(), ["VAULT_TOKEN", "VAULT_ADDR", "VAULT_NAMESPACE", "A"]);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in ["../sys/seal", "kv/../sys", "/kv/x", "kv//x", "kv/x?list=true", "kv/x/"] {
            refused(&format!("secrets: [{{path: '{path}', env: A}}]"), "secrets[0].path", "expected a path");
        }
        refused("mount: ../sys", "mount", "expected a path");
        refused("namespace: a//b", "namespace", "expected a path");
    }

    #[test]
    fn what_cannot_be_had_together_is_refused() {
        refused(
            "secrets: [{path: kv/x, key: a, wrap-ttl: 5m, env: A}]",
            "secrets[0].key",
            "handed over whole",
        );
        refused("secrets: [{path: kv/x, wrap-ttl: 0, env: A}]", "secrets[0].wrap-ttl", "1s or more");
        refused(
            "secrets: [{path: kv/x, version: 2, data: {a: b}, env: A}]",
            "secrets[0].version",
            "not written",
        );
        refused("secrets: [{path: kv/x}]", "secrets[0].env", "expected an `env`");
    }

    #[test]
    fn a_token_is_not_sent_in_clear() {
        let block: Vault = serde_yaml::from_str("address: http://vault.example.test\nrole: x").unwrap();
        assert_eq!(block.check().unwrap_err().0, "address");
        let block: Vault =
            serde_yaml::from_str("address: https://user:pw@vault.example.test\nrole: x").unwrap();
        assert_eq!(block.check().unwrap_err().0, "address");
    }
}
