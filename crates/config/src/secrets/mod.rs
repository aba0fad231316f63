//! The `secrets` block of a credential: values of a secrets manager, read with another credential of the block.

use std::fmt;

use serde::Deserialize;
use url::Url;

use super::address::is_path;
use super::address::is_safe;
use super::aws::{Partition, Region};
use super::kind::Kind;
use super::token::Token;
use super::value::{self, Destination, FileName};
use dataflow_types::credential::EnvName;
use dataflow_types::span::Span;

pub use version::Version;

pub mod names;
mod version;

/// How the addresses of Azure's own key vaults end, in each of its clouds.
const KEY_VAULTS: [&str; 3] = [".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net"];

/// Reads values of a secrets manager.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Secrets {
    /// The `name` of the credential that they are read with. `export: false` keeps it from the step.
    pub source: String,
    /// Which secrets manager. `aws-secrets-manager` and `aws-ssm` are read with a source `aws`, the others with a
    /// source that is a token.
    pub store: Store,
    /// The region, required for AWS.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub region: Option<Region>,
    /// Where it is, for Azure (`https://NAME.vault.azure.net`) and Vault; another endpoint, for AWS and Google. The
    /// host config must allow it, unless it is a key vault of Azure's own. Default: the store's own.
    pub address: Option<Url>,
    /// The namespace, for `vault`.
    pub namespace: Option<String>,
    /// What is read and where it goes. Each distinct secret is read once.
    #[serde(deserialize_with = "names::taken_apart")]
    pub values: Vec<Stored>,
}

/// A secrets manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// AWS Secrets Manager.
    AwsSecretsManager,
    /// Parameters of AWS Systems Manager.
    AwsSsm,
    /// Google Secret Manager.
    GcpSecretManager,
    /// Azure Key Vault.
    AzureKeyVault,
    /// KV of Vault.
    Vault,
}

/// One value of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stored {
    /// The secret: a name or ARN of AWS, `projects/P/secrets/NAME` or `projects/P/locations/L/secrets/NAME` of Google,
    /// a name in the key vault, a path of Vault such as `secret/data/train`. A longer name is taken apart:
    /// `…/versions/V`, an ARN with `:KEY:STAGE:VERSION`, a secret identifier of Azure.
    pub name: String,
    /// Which value, where the secret is JSON: a key, or a JSON pointer such as `/db/password`. Default: the whole.
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
    /// The version: a number, an id, or a label (`AWSPREVIOUS`). Default: the current one.
    pub version: Option<Version>,
    /// What else its name said, where it was a longer one.
    #[serde(skip)]
    pub said: names::Said,
}

fn yes() -> bool {
    true
}

impl Kind for Secrets {
    fn provider(&self) -> &'static str {
        "secrets"
    }

    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((key.to_owned(), problem));
        let (aws, vault) = (self.store.is_aws(), self.store == Store::Vault);
        if aws != self.region.is_some() {
            let problem = if aws { "AWS needs a `region`" } else { "only AWS has a `region`" };
            return wrong("region", problem.to_owned());
        }
        if let (Some(region), None) = (&self.region, &self.address) {
            Partition::check_region(region).map_err(|problem| ("region".to_owned(), problem))?;
        }
        if self.namespace.is_some() && !vault {
            return wrong("namespace", "only Vault has namespaces".to_owned());
        }
        match &self.address {
            None if vault || self.store == Store::AzureKeyVault => {
                return wrong("address", format!("{} needs the `address` of the server", self.store));
            }
            Some(url) if !is_safe(url) || !url.username().is_empty() || url.query().is_some() => {
                let seen = url.origin().ascii_serialization();
                return wrong("address", format!("expected a plain https URL, saw `{seen}`"));
            }
            _ => {}
        }
        for (index, one) in self.values.iter().enumerate() {
            one.said.check(self).map_err(|problem| (format!("values[{index}].name"), problem))?;
            one.check(self.store).map_err(|(key, problem)| (format!("values[{index}].{key}"), problem))?;
        }
        let destinations = self.values.iter().map(Stored::destination);
        value::check(destinations).map_err(|(key, problem)| (format!("values{key}"), problem))
    }

    fn exports(&self) -> Vec<String> {
        self.values.iter().filter_map(|one| one.env.as_ref()).map(ToString::to_string).collect()
    }

    fn files(&self) -> Vec<String> {
        self.values.iter().filter_map(|one| one.file.as_ref()).map(ToString::to_string).collect()
    }

    fn target(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for one in &self.values {
            if !names.contains(&one.name.as_str()) {
                names.push(&one.name);
            }
        }
        format!("{}: {}", self.store, names.join(", "))
    }

    fn token(&self) -> Option<(&Token, String)> {
        None
    }

    fn plain(&self) -> Vec<String> {
        self.values.iter().filter(|one| !one.secret).map(|one| one.destination().name()).collect()
    }

    fn duration(&self) -> Option<Span> {
        None
    }

    fn endpoints(&self) -> Vec<&Url> {
        let own = |url: &&Url| {
            let host = url.host_str().unwrap_or_default();
            let known = url.scheme() == "https" && KEY_VAULTS.iter().any(|end| host.ends_with(end));
            known && self.store == Store::AzureKeyVault
        };
        self.address.iter().filter(|url| !own(url)).collect()
    }

    fn hosts(&self) -> Vec<Url> {
        self.values.iter().filter_map(|one| self.url(one)).collect()
    }

    fn sources(&self) -> Vec<(&'static str, &str)> {
        vec![("source", &self.source)]
    }
}

impl Secrets {
    /// The region that signatures name: of an address that is AWS's own, that one's.
    pub fn signed_for(&self) -> String {
        let named = self.address.as_ref().and_then(Partition::region_of);
        named.as_ref().or(self.region.as_ref()).map(ToString::to_string).unwrap_or_default()
    }

    /// The server that is asked for one value.
    pub fn url(&self, one: &Stored) -> Option<Url> {
        if let Some(address) = &self.address {
            return Some(address.clone());
        }
        let text = match self.store {
            Store::AwsSecretsManager => return Partition::service("secretsmanager", self.region.as_ref()?),
            Store::AwsSsm => return Partition::service("ssm", self.region.as_ref()?),
            Store::GcpSecretManager => match one.name.split('/').collect::<Vec<_>>().as_slice() {
                [_, _, "locations", place, ..] => {
                    format!("https://secretmanager.{place}.rep.googleapis.com/")
                }
                _ => "https://secretmanager.googleapis.com/".to_owned(),
            },
            Store::AzureKeyVault | Store::Vault => return None,
        };
        Url::parse(&text).ok()
    }
}

impl Store {
    /// Whether requests to it are signed with keys of AWS.
    pub fn is_aws(self) -> bool {
        matches!(self, Self::AwsSecretsManager | Self::AwsSsm)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsSecretsManager => "aws-secrets-manager",
            Self::AwsSsm => "aws-ssm",
            Self::GcpSecretManager => "gcp-secret-manager",
            Self::AzureKeyVault => "azure-key-vault",
            Self::Vault => "vault",
        })
    }
}

impl Stored {
    fn check(&self, store: Store) -> Result<(), (&'static str, String)> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let (right, expected) = match store {
            Store::GcpSecretManager => (is_of_google(&self.name), "projects/PROJECT/secrets/NAME"),
            Store::AzureKeyVault => (!self.name.is_empty() && plain(&self.name), "train-api-key"),
            Store::Vault => (is_path(&self.name), "secret/data/train"),
            Store::AwsSecretsManager | Store::AwsSsm => {
                let length = (1..=2048).contains(&self.name.len());
                (length && !self.name.chars().any(char::is_control), "prod/train")
            }
        };
        if !right {
            let hint = names::hint(store, &self.name);
            return Err(("name", format!("expected a name such as `{expected}`, saw `{}`{hint}", self.name)));
        }
        let version = self.version.as_ref().map(ToString::to_string);
        match version {
            Some(seen) if seen.is_empty() || !plain(&seen.replace(['_', '.'], "-")) => {
                Err(("version", format!("expected a number, an id or a label, saw `{seen}`")))
            }
            Some(seen) if store == Store::Vault && seen.parse::<u32>().is_err() => {
                Err(("version", format!("expected a number, saw `{seen}`")))
            }
            _ => Ok(()),
        }
    }

    /// Where the value goes.
    pub fn destination(&self) -> Destination<'_> {
        let field = self.field.as_deref().or(self.key.as_deref());
        Destination { env: self.env.as_ref(), file: self.file.as_ref(), field, secret: self.secret }
    }
}

/// `projects/P/secrets/S`, or of one region: `projects/P/locations/L/secrets/S`.
fn is_of_google(name: &str) -> bool {
    let plain = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
        !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain)
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "secrets", secret] => plain(project) && plain(secret),
        ["projects", project, "locations", place, "secrets", secret] => {
            let place_is_plain = place.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            plain(project) && plain(secret) && place_is_plain && !place.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(yaml: &str) -> Secrets {
        serde_yaml::from_str(&format!("source: reader\n{yaml}")).unwrap()
    }

    #[track_caller]
    fn refused(yaml: &str, place: &str, problem: &str) {
        let (key, said) = secrets(yaml).check().unwrap_err();
        assert_eq!(key, place);
        assert!(said.contains(problem), "{said}");
    }

    const ONE: &str = "values: [{name: prod/db, env: A}]";

    #[test]
    fn each_store_is_asked_at_its_own_host() {
        let host = |yaml: &str, name: &str| {
            let secrets = secrets(&format!("{yaml}\nvalues: [{{name: {name}, env: A}}]"));
            secrets.check().unwrap();
            secrets.hosts()[0].to_string()
        };
        let aws = "store: aws-secrets-manager\nregion: eu-west-1";
        assert_eq!(host(aws, "prod/db"), "https://secretsmanager.eu-west-1.amazonaws.com/");
        assert_eq!(
            host("store: aws-ssm\nregion: cn-north-1", "/x"),
            "https://ssm.cn-north-1.amazonaws.com.cn/"
        );
        let gcp = "store: gcp-secret-manager";
        assert_eq!(host(gcp, "projects/p/secrets/s"), "https://secretmanager.googleapis.com/");
        let regional = "https://secretmanager.europe-west3.rep.googleapis.com/";
        assert_eq!(host(gcp, "projects/p/locations/europe-west3/secrets/s"), regional);
        let azure = "store: azure-key-vault\naddress: https://team.vault.azure.net";
        assert_eq!(host(azure, "api-key"), "https://team.vault.azure.net/");
    }

    #[test]
    fn a_key_vault_of_azures_own_needs_no_permission_and_any_other_address_does() {
        let named = |store: &str, address: &str| {
            secrets(&format!("store: {store}\naddress: {address}\n{ONE}")).endpoints().len()
        };
        assert_eq!(named("azure-key-vault", "https://team.vault.azure.net"), 0);
        assert_eq!(named("azure-key-vault", "https://team.vault.azure.net.evil.test"), 1);
        assert_eq!(named("vault", "https://team.vault.azure.net"), 1);
        assert_eq!(named("aws-ssm", "https://ssm.example.test"), 1);
    }

    #[test]
    fn what_a_store_needs_and_what_it_does_not_have_is_told() {
        refused(&format!("store: aws-ssm\n{ONE}"), "region", "needs a `region`");
        refused(&format!("store: gcp-secret-manager\nregion: eu-west-1\n{ONE}"), "region", "only AWS");
        refused(&format!("store: vault\n{ONE}"), "address", "vault needs the `address`");
        refused(
            &format!("store: aws-ssm\nregion: eu-west-1\nnamespace: a\n{ONE}"),
            "namespace",
            "only Vault",
        );
        refused(&format!("store: vault\naddress: http://a.test\n{ONE}"), "address", "plain https URL");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let value = |store: &str, value: &str| format!("store: {store}\nvalues: [{{{value}, env: A}}]");
        for name in
            ["prod/db", "projects/../secrets/s", "projects/p/secrets/s:access?x", "projects/p/secrets/"]
        {
            let yaml = value("gcp-secret-manager", &format!("name: '{name}'"));
            refused(&yaml, "values[0].name", "projects/PROJECT/secrets/NAME");
        }
        let azure = "azure-key-vault\naddress: https://team.vault.azure.net";
        refused(&value(azure, "name: a/b"), "values[0].name", "train-api-key");
        refused(&value(azure, "name: a, version: ../b"), "values[0].version", "a number, an id");
        let vault = "vault\naddress: https://vault.example.test";
        refused(&value(vault, "name: ../sys/seal"), "values[0].name", "secret/data/train");
        refused(&value(vault, "name: kv/x, version: newest"), "values[0].version", "a number");
    }
}
