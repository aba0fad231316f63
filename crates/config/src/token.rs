//! Where a subject token comes from and what it should be like.

use std::path::PathBuf;

use serde::Deserialize;

use dataflow_host::agent::oidc::TokenRequest;
use dataflow_types::span::Span;

/// The longest life that the agent's endpoint gives a token (limits page of Buildkite's documentation).
pub const MAX_LIFETIME: Span = Span::seconds(7200);

/// The `token` block of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Token {
    /// Where the token comes from: the agent's OIDC endpoint, a file or a command. Default: `agent`.
    pub from: TokenSource,
    /// Who should believe it (`aud`). Each provider has its own default; that of AWS is `sts.amazonaws.com`, in China
    /// `sts.amazonaws.com.cn`. Default: the provider's own.
    pub audience: Option<String>,
    /// How long the token lives: up to `2h`. Default: `5m`, the agent's.
    pub lifetime: Option<Span>,
    /// Optional claims to add: `organization_id`, `pipeline_id`, `build_id`, `cluster_id`, `agent_tag:NAME` and others
    /// that Buildkite documents.
    pub claims: Vec<String>,
    /// The claim to use as `sub`.
    pub subject_claim: Option<String>,
}

/// Where a subject token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
// The schemas are published with this name.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "From"))]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// The agent's OIDC endpoint.
    #[default]
    Agent,
    /// An absolute path of a file that something else keeps fresh.
    File(PathBuf),
    /// A command that prints it: an absolute path and arguments, started in `/` with an empty environment, 30 s at
    /// most.
    Command(Vec<String>),
}

impl Token {
    /// What it is like where nothing is said.
    pub const USUAL: Self = Self {
        from: TokenSource::Agent,
        audience: None,
        lifetime: None,
        claims: Vec::new(),
        subject_claim: None,
    };

    /// The request that the agent is sent, with the provider's own audience where the step names none.
    pub fn request(&self, default_audience: &str) -> TokenRequest {
        TokenRequest {
            audience: Some(self.audience.clone().unwrap_or_else(|| default_audience.to_owned())),
            lifetime: self.lifetime.map(Span::as_secs),
            claims: self.claims.clone(),
            aws_session_tags: Vec::new(),
            subject_claim: self.subject_claim.clone(),
        }
    }

    /// What is wrong, with the key that is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(lifetime) = self.lifetime
            && (lifetime > MAX_LIFETIME || lifetime.as_secs() == 0)
        {
            return Err(("lifetime", format!("expected 1s to {MAX_LIFETIME}, saw `{lifetime}`")));
        }
        match &self.from {
            TokenSource::File(path) if !path.is_absolute() => {
                Err(("from.file", format!("expected an absolute path, saw `{}`", path.display())))
            }
            TokenSource::Command(words) if !words.first().is_some_and(|program| program.starts_with('/')) => {
                let seen = words.first().map_or("nothing", String::as_str);
                Err((
                    "from.command",
                    format!("expected a command that begins with an absolute path, saw `{seen}`"),
                ))
            }
            _ => Ok(()),
        }
    }
}
