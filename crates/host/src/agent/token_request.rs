//! What a job asks the agent's OIDC endpoint for.

use serde::Serialize;

/// What a token should be like. Equal requests share one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TokenRequest {
    /// Who should believe it (`aud`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How long it should live, in seconds; 300 when absent, 7200 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// Optional claims to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// Claims to add as AWS session tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aws_session_tags: Vec<String>,
    /// The claim to use as `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_claim: Option<String>,
}
