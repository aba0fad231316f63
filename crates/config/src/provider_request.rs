//! What is asked for, by provider.

use super::aws::Aws;
use super::azure::Azure;
use super::bitbucket::Bitbucket;
use super::buildkite::Buildkite;
use super::gcp::Gcp;
use super::github::GitHub;
use super::kind::Kind;
use super::oauth::OAuth;
use super::secrets::Secrets;
use super::vault::Vault;

/// A credential, by provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderRequest {
    /// A role of AWS.
    Aws(Box<Aws>),
    /// An identity of Google Cloud.
    Gcp(Box<Gcp>),
    /// An identity of Azure.
    Azure(Box<Azure>),
    /// A token of an OAuth 2.0 server.
    OAuth(Box<OAuth>),
    /// A token of a GitHub App's installation.
    GitHub(Box<GitHub>),
    /// A token of Bitbucket.
    Bitbucket(Box<Bitbucket>),
    /// A token of Buildkite's API.
    Buildkite(Box<Buildkite>),
    /// A login of Vault and what it reads.
    Vault(Box<Vault>),
    /// Values of a secrets manager.
    Secrets(Box<Secrets>),
}

impl ProviderRequest {
    /// What it has in common with the others.
    pub fn kind(&self) -> &dyn Kind {
        match self {
            Self::Aws(aws) => aws.as_ref(),
            Self::Gcp(gcp) => gcp.as_ref(),
            Self::Azure(azure) => azure.as_ref(),
            Self::OAuth(oauth) => oauth.as_ref(),
            Self::GitHub(github) => github.as_ref(),
            Self::Bitbucket(bitbucket) => bitbucket.as_ref(),
            Self::Buildkite(buildkite) => buildkite.as_ref(),
            Self::Vault(vault) => vault.as_ref(),
            Self::Secrets(secrets) => secrets.as_ref(),
        }
    }
}
