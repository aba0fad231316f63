//! What became of a lease, in words that promise no more than is true.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The end of one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Settlement {
    /// It cannot be given back: whoever copied it can use it until then.
    Expires {
        /// When the provider stops honouring it.
        at: DateTime<Utc>,
    },
    /// A deadline shorter than the provider's own was set beforehand.
    Bounded {
        /// When the credential's own policy stops it.
        at: DateTime<Utc>,
    },
    /// A later, off-host act denied this one session.
    Denied {
        /// When the denial was written; it takes effect some minutes later.
        at: DateTime<Utc>,
    },
    /// The provider confirmed that it no longer works.
    Revoked {
        /// When the provider confirmed it.
        at: DateTime<Utc>,
    },
    /// The provider said that it was gone after an attempt of ours whose answer was lost.
    RevokedInferred {
        /// When that was seen.
        at: DateTime<Utc>,
    },
    /// The provider confirmed that the credential no longer works; values that were read with it live on.
    RevokedInPart {
        /// When the provider confirmed it.
        at: DateTime<Utc>,
        /// What lives on: stored values, certificates, and whatever else has no lease of its own.
        living: Vec<String>,
    },
    /// It is a stored value, or has no lease: only its owner can end it.
    Stored {
        /// Where it is stored.
        living: Vec<String>,
    },
    /// The server took the revocation (RFC 7009) but nothing confirms its effect.
    RevokeAccepted {
        /// When the server answered.
        at: DateTime<Utc>,
    },
    /// It was gone before anyone here tried to give it back: it had run out, or somebody else took it back.
    AlreadyExpired {
        /// When it ran out, or else when it was seen to be gone.
        at: DateTime<Utc>,
    },
    /// The configuration asked to leave it alive (`settle: leave`).
    Left {
        /// When the provider stops honouring it.
        until: DateTime<Utc>,
    },
    /// The exchange failed, and the provider's answer shows that no credential was made.
    NotIssued {
        /// The provider's own code, or what else proves it.
        reason: String,
    },
    /// The exchange's answer was lost: a credential may exist that nobody holds.
    Unknown {
        /// The latest time at which it could still live.
        until: DateTime<Utc>,
    },
    /// It should have been given back and was not.
    Failed {
        /// Why.
        reason: String,
        /// When the provider stops honouring it by itself.
        until: DateTime<Utc>,
    },
}

impl Settlement {
    /// The outcome's word, as in the record.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Expires { .. } => "expires",
            Self::Bounded { .. } => "bounded",
            Self::Denied { .. } => "denied",
            Self::Revoked { .. } => "revoked",
            Self::RevokedInferred { .. } => "revoked-inferred",
            Self::RevokedInPart { .. } => "revoked-in-part",
            Self::Stored { .. } => "stored",
            Self::RevokeAccepted { .. } => "revoke-accepted",
            Self::AlreadyExpired { .. } => "already-expired",
            Self::Left { .. } => "left",
            Self::NotIssued { .. } => "not-issued",
            Self::Unknown { .. } => "unknown",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether it is the last word: what failed can be tried again.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }

    /// Whether somebody should look: the lease is not in the state that was promised.
    pub fn needs_attention(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Failed { .. })
    }
}

impl fmt::Display for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Expires { at } | Self::Bounded { at } => write!(f, "{word} {}", clock(at)),
            Self::Left { until } | Self::Unknown { until } => write!(f, "{word} until {}", clock(until)),
            Self::RevokedInPart { living, .. } => write!(f, "{word}: {} lives on", living.join(", ")),
            Self::NotIssued { reason } => write!(f, "{word}: {reason}"),
            Self::Failed { reason, until } => write!(f, "{word}: {reason}; lives until {}", clock(until)),
            _ => f.write_str(word),
        }
    }
}

fn clock(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_one_that_the_record_carries() {
        let at = DateTime::UNIX_EPOCH;
        for settlement in [
            Settlement::Expires { at },
            Settlement::RevokedInferred { at },
            Settlement::Left { until: at },
            Settlement::RevokedInPart { at, living: vec!["kv/x".into()] },
            Settlement::Stored { living: vec!["kv/x".into()] },
            Settlement::NotIssued { reason: "AccessDenied".into() },
            Settlement::Failed { reason: "403".into(), until: at },
        ] {
            let json = serde_json::to_value(&settlement).unwrap();
            assert_eq!(json["outcome"], settlement.word());
            assert_eq!(serde_json::from_value::<Settlement>(json).unwrap(), settlement);
        }
    }
}
