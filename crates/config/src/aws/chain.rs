//! Further roles, each assumed with the session of the one before (`AssumeRole`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::session::SessionPolicy;
use super::types::{PolicyArn, RoleArn, SessionName};
use dataflow_types::span::Span;

/// The shortest duration that STS gives.
pub const MIN_DURATION: Span = Span::seconds(900);
/// The longest duration that any role allows.
pub const MAX_DURATION: Span = Span::seconds(12 * 3600);
/// The longest that STS lets a session live which was had from another session.
pub const MAX_CHAINED: Span = Span::seconds(3600);

/// One further role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hop {
    /// The role's ARN, of the same partition.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", regex(pattern = r"^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/.+$"))
    )]
    pub role: RoleArn,
    /// What the role's trust policy expects as `sts:ExternalId`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 2, max = 1224), regex(pattern = r"^[A-Za-z0-9_+=,.@:/-]*$"))
    )]
    pub external_id: Option<String>,
    /// The session's name in CloudTrail. Default: the first session's.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_+=,.@-]{2,64}$"))
    )]
    pub session_name: Option<SessionName>,
    /// How long the credentials live: `15m` to `1h`; only at the last role. Default: `1h`.
    pub duration: Option<Span>,
    /// A policy that narrows the session, as for the first role; only at the last role, whose session is lent.
    pub session_policy: Option<SessionPolicy>,
    /// Managed policies that narrow the session, ten at most; only at the last role.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub policy_arns: Vec<PolicyArn>,
    /// Session tags as names and values. The role's trust policy must allow `sts:TagSession`.
    #[serde(default)]
    pub session_tags: BTreeMap<String, String>,
    /// Names of session tags that go on to the roles that follow.
    #[serde(default)]
    pub transitive_tag_keys: Vec<String>,
    /// The source identity, which every later session keeps. The role's trust policy must allow
    /// `sts:SetSourceIdentity`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_+=,.@-]{2,64}$"))
    )]
    pub source_identity: Option<SessionName>,
}

impl Hop {
    /// What is wrong with it alone, with the key that is wrong.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b));
        if let Some(id) = self.external_id.as_ref().filter(|id| !(2..=1224).contains(&id.len()) || !plain(id))
        {
            let problem = format!("expected 2 to 1224 of `[A-Za-z0-9_+=,.@:/-]`, saw `{id}`");
            return Err(("external-id", problem));
        }
        super::tags::check(&self.session_tags, &self.transitive_tag_keys)
    }

    /// The first key that only the last role may have.
    pub(super) fn of_the_last(&self) -> Option<&'static str> {
        let said = [
            ("duration", self.duration.is_some()),
            ("session-policy", self.session_policy.is_some()),
            ("policy-arns", !self.policy_arns.is_empty()),
        ];
        said.into_iter().find_map(|(key, there)| there.then_some(key))
    }
}
