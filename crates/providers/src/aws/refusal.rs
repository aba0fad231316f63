//! What a person is told of an error, and what to do about it.

use super::Error;
use dataflow_host::retry::Verdict;
use dataflow_policy::Request;
use dataflow_types::failure::{Failure, Ident};

impl Error {
    /// The failure as a person is told it.
    pub fn failure(&self, request: &Request) -> Failure {
        let kind = request.ask.kind();
        let (leaf, role, chained) = match self {
            Self::Hop { source, role, .. } => (source.as_ref(), role.clone(), true),
            _ => (self, kind.token_target(), false),
        };
        let transient = leaf.verdict() != Verdict::Stop;
        let (ident, what) = match leaf {
            Self::Refused { .. } | Self::Busy { .. } if transient => {
                (Ident::ProviderBusy, format!("AWS could not lend `{role}` now"))
            }
            Self::Refused { code, .. } if !chained && about_token(code) => {
                (Ident::TokenRejected, format!("AWS did not accept this job's token for `{role}`"))
            }
            Self::Refused { .. } | Self::Busy { .. } | Self::Hop { .. } => {
                (Ident::ProviderRefused, format!("AWS refused to lend `{role}`"))
            }
            Self::Malformed { .. } => {
                (Ident::ProviderMalformed, format!("no answer of AWS came for `{role}`"))
            }
            Self::Unreachable { .. } => {
                (Ident::ProviderUnreachable, format!("AWS could not be asked for `{role}`"))
            }
            Self::Policy { .. } | Self::Unfit(_) => (
                Ident::BadConfiguration,
                format!("the session of `{}` cannot be narrowed as asked", kind.target()),
            ),
        };
        let mut failure = Failure::of(ident, self);
        failure.causes.insert(0, std::mem::replace(&mut failure.what, what));
        failure.hint = leaf.hint(chained).map(str::to_owned);
        failure
    }

    fn hint(&self, chained: bool) -> Option<&'static str> {
        match self {
            Self::Refused { code, message, .. } => of_code(code, message, chained),
            Self::Unreachable { .. } => {
                Some("the host must reach STS: see `network` and `aws.sts-endpoint` in the host config")
            }
            _ => None,
        }
    }
}

fn about_token(code: &str) -> bool {
    matches!(code, "AccessDenied" | "InvalidIdentityToken" | "ExpiredTokenException" | "IDPRejectedClaim")
}

fn of_code(code: &str, message: &str, chained: bool) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" if message.contains("TagSession") => {
            "the role's trust policy must allow `sts:TagSession`"
        }
        "AccessDenied" if message.contains("SetSourceIdentity") => {
            "the role's trust policy must allow `sts:SetSourceIdentity`"
        }
        "AccessDenied" if chained => {
            "this role's trust policy must allow `sts:AssumeRole` to the role before it, with this `external-id`, \
             and the policy of the role before it must allow `sts:AssumeRole` on this one"
        }
        "AccessDenied" => {
            "the role's trust policy must allow this `iss`, `aud` and `sub`, and `sts:TagSession` if session tags are asked for"
        }
        "InvalidIdentityToken" => {
            "the account needs an OIDC provider for this `iss` with this `aud` as client id"
        }
        "IDPRejectedClaim" => "the issuer refused the token, or it had ended before AWS looked at it",
        "ExpiredTokenException" => {
            "the token had ended before AWS looked at it: is `token.lifetime` very short?"
        }
        "IDPCommunicationError" => "AWS could not reach the issuer's keys: another try may help",
        "MalformedPolicyDocument" => "the session policy is not as STS wants it: AWS's words name the fault",
        "PackedPolicyTooLarge" => {
            "session policy, `policy-arns` and session tags together take more than STS packs: shorten the \
             policy, use wildcards, or leave out tags"
        }
        "RegionDisabledException" => {
            "STS is not enabled in this region: enable it in the account, or name another `region`"
        }
        "ValidationError" if message.contains("role chaining") => {
            "a role of a `chain` lives for at most 1h, whatever its `MaxSessionDuration`: ask for a shorter `duration`"
        }
        "ValidationError" if message.to_lowercase().contains("duration") => {
            "`duration` is more than the role's maximum session duration (`MaxSessionDuration`, 1h where it is not set): ask \
             for less, or have the role allow more (`aws iam update-role --max-session-duration SECONDS`)"
        }
        _ => return None,
    })
}
