//! One entry of `credentials`: what is asked for, and what all kinds of request have in common.

use serde::Deserialize;
use url::Url;

use super::aws::Aws;
use super::azure::Azure;
use super::bitbucket::Bitbucket;
use super::buildkite::Buildkite;
use super::gcp::Gcp;
use super::git_ssh::GitSsh;
use super::github::GitHub;
pub use super::kind::Kind;
use super::oauth::OAuth;
pub use super::provider_request::ProviderRequest;
use super::secrets::Secrets;
pub use super::together::{Entry, check_together};
use super::vault::Vault;
use dataflow_pipeline::condition::Condition;

/// One credential of a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Credential {
    /// What other credentials of the block call it.
    pub name: Option<String>,
    /// Whether the step sees it.
    pub export: bool,
    /// Whether callbacks may renew it while the step runs.
    pub refresh: bool,
    /// The remotes for which git is given it.
    pub git: Vec<Url>,
    /// Whether what is written for SSH goes to these remotes by HTTPS.
    pub git_ssh: GitSsh,
    /// What becomes of it when the step has ended.
    pub settle: Settle,
    /// When it is asked for at all.
    pub condition: Option<Condition>,
    /// What is asked for.
    pub source: CredentialSource,
}

/// What becomes of a credential when the step has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Settle {
    /// It is given back, as far as its provider can.
    #[default]
    Always,
    /// It lives until it ends by itself, for something that outlasts the step.
    Leave,
}

/// What one entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A credential.
    Request(ProviderRequest),
    /// A grant that the host config names.
    Grant(String),
}

/// One entry as it is written: one provider or a grant, and what all have in common.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    /// What other credentials of the block call it, as their `source`.
    name: Option<String>,
    /// Whether the step sees it; `false` for one that others are made with.
    #[serde(default = "yes")]
    export: bool,
    /// Whether SDKs and scripts may call back for a fresh one while the step runs ([callbacks](#callbacks)); needs a
    /// `name`.
    #[serde(default)]
    refresh: bool,
    /// Remotes for which git is given it, renewed as needed; it needs a `name`, and must be one token. Each remote is
    /// a host, an owner or a repository, with or without `.git`; of several that fit, the narrowest counts. git-lfs is
    /// served too.
    #[serde(default)]
    git: Vec<Url>,
    /// Whether what is written for SSH goes to the remotes of `git` by HTTPS (`insteadOf`), or which further addresses
    /// do. `true` is for `git@HOST:PATH`, `HOST:PATH` and `ssh://git@HOST/PATH`, also with port 22 or without a user:
    /// submodules are often written so. Git replaces beginnings and knows no pattern, so other users and ports are
    /// named as `USER@HOST`, `HOST:PORT` or `USER@HOST:PORT` (`git-ssh: [org-123@github.com,
    /// "git@git.acme.com:7999"]`). A single repository must be written there with its `.git`. Default: `false`.
    #[serde(default)]
    git_ssh: GitSsh,
    /// Whether it is given back when the step has ended, or left to live until it ends by itself. `leave` is for
    /// something that outlasts the step, and the record says `left` and until when. One that was never handed over is
    /// given back all the same. Default: `always`.
    #[serde(default)]
    settle: Settle,
    /// When it is asked for: a [condition](#conditions) as those of steps, such as `build.branch == "main"`. It
    /// narrows, and the host's policy alone allows.
    #[serde(rename = "if")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    condition: Option<Condition>,
    /// A role of AWS, by `AssumeRoleWithWebIdentity`. Two items that export one variable are refused. For several
    /// roles in one step see `profile` and `prefix`.
    aws: Option<Box<Aws>>,
    /// An identity of Google Cloud, by workload identity federation.
    gcp: Option<Box<Gcp>>,
    /// An identity of Azure, by a federated credential of Entra.
    azure: Option<Box<Azure>>,
    /// A token of any server that speaks OAuth 2.0 ([recipes](identity-providers.md)).
    oauth: Option<Box<OAuth>>,
    /// A token of a GitHub App's installation. It lives an hour, so a host whose `limits.duration` is less lends none.
    github: Option<Box<GitHub>>,
    /// A token of Bitbucket, by `consumer` or `data-center`.
    bitbucket: Option<Box<Bitbucket>>,
    /// A scoped token of Buildkite's API. Its token exchange takes no job's token: an application's key signs.
    buildkite: Option<Box<Buildkite>>,
    /// A login of HashiCorp Vault or OpenBao by the method `jwt`, and what it reads.
    vault: Option<Box<Vault>>,
    /// Values of a secrets manager, read with another credential of the block.
    secrets: Option<Box<Secrets>>,
    /// The name of a grant in the host config, whose credentials are lent.
    grant: Option<String>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Credential {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Credential".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Wire::json_schema(generator);
        let keys = schema
            .get("properties")
            .and_then(|keys| keys.as_object())
            .into_iter()
            .flat_map(|keys| keys.keys());
        let common = ["name", "export", "refresh", "git", "git-ssh", "settle", "if"];
        let one = keys.filter(|key| !common.contains(&key.as_str()));
        let one: Vec<_> = one.map(|key| serde_json::json!({ "required": [key] })).collect();
        schema.insert("oneOf".to_owned(), one.into());
        schema
    }
}

fn yes() -> bool {
    true
}

/// An entry that asks for nothing, or for several things at once.
#[derive(Debug, thiserror::Error)]
#[error("expected one provider or one grant, saw {0}")]
struct NotOne(String);

impl TryFrom<Wire> for Credential {
    type Error = NotOne;

    fn try_from(wire: Wire) -> Result<Self, NotOne> {
        let Wire {
            name,
            export,
            refresh,
            git,
            git_ssh,
            settle,
            condition,
            aws,
            gcp,
            azure,
            vault,
            secrets,
            oauth,
            github,
            bitbucket,
            buildkite,
            grant,
        } = wire;
        let asked = [
            aws.map(|aws| CredentialSource::Request(ProviderRequest::Aws(aws))),
            gcp.map(|gcp| CredentialSource::Request(ProviderRequest::Gcp(gcp))),
            azure.map(|azure| CredentialSource::Request(ProviderRequest::Azure(azure))),
            vault.map(|vault| CredentialSource::Request(ProviderRequest::Vault(vault))),
            secrets.map(|secrets| CredentialSource::Request(ProviderRequest::Secrets(secrets))),
            oauth.map(|oauth| CredentialSource::Request(ProviderRequest::OAuth(oauth))),
            github.map(|github| CredentialSource::Request(ProviderRequest::GitHub(github))),
            bitbucket.map(|bitbucket| CredentialSource::Request(ProviderRequest::Bitbucket(bitbucket))),
            buildkite.map(|buildkite| CredentialSource::Request(ProviderRequest::Buildkite(buildkite))),
            grant.map(CredentialSource::Grant),
        ];
        let mut asked: Vec<CredentialSource> = asked.into_iter().flatten().collect();
        match (asked.pop(), asked.len()) {
            (Some(source), 0) => Ok(Self { name, export, refresh, git, git_ssh, settle, condition, source }),
            (None, _) => Err(NotOne("none".to_owned())),
            (_, others) => Err(NotOne((others + 1).to_string())),
        }
    }
}

impl Credential {
    /// What is wrong with what all kinds have in common, with the key that is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |name: &String| {
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match &self.name {
            Some(name) if name.is_empty() || !plain(name) => {
                return Err(("name", format!("expected 1 to 64 of `[A-Za-z0-9_-]`, saw `{name}`")));
            }
            None if self.refresh => return Err(("refresh", "a callback needs a `name` to ask for".into())),
            None if !self.git.is_empty() => return Err(("git", "git needs a `name` to ask for".into())),
            _ if self.git_ssh.is_asked() && self.git.is_empty() => {
                return Err(("git-ssh", "it is for the remotes of `git`, and there are none".into()));
            }
            _ => {}
        }
        if let Some(url) = self.git.iter().find(|url| !super::address::is_safe(url)) {
            let seen = url.origin().ascii_serialization();
            return Err((
                "git",
                format!("expected an https URL, saw `{seen}`: a token would travel in clear"),
            ));
        }
        if let Some(Err(problem)) = self.condition.as_ref().map(Condition::in_a_job) {
            return Err(("if", problem));
        }
        match self.source {
            CredentialSource::Request(ref ask) if ask.kind().calls_back() && !self.refresh => {
                Err(("refresh", "what SDKs are handed calls back: write a `name` and `refresh: true`".into()))
            }
            CredentialSource::Grant(_) if self.name.is_some() => {
                Err(("name", "a grant's credentials have names of their own".into()))
            }
            _ => Ok(()),
        }
    }
}
