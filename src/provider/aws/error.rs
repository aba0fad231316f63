//! What STS says when it says no, by what to do about it.
//!
//! Codes: STS API reference, `AssumeRoleWithWebIdentity`, "Errors" and "Common Errors".

use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::RequestId as _;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::failure::{Class, Failure};
use crate::host::http;
use crate::host::retry::Verdict;
use crate::policy::Request;

/// Why STS gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answered no.
    #[error("{host} answered {status} `{code}`{}{}", told(.message), request(.request_id.as_deref()))]
    Refused {
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
        /// To find the request in AWS's own logs.
        request_id: Option<String>,
    },
    /// It answered something that is no answer of STS.
    #[error("{host} {problem}")]
    Malformed {
        /// Who answered.
        host: String,
        /// What was wrong.
        problem: String,
    },
    /// It could not be asked, or its answer was lost.
    #[error("{host} gave no answer")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Whether the request can have arrived.
        sent: bool,
        /// Why.
        #[source]
        source: Told,
    },
}

/// A cause that is kept as the words it said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Told(String);

fn told(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn request(id: Option<&str>) -> String {
    id.map(|id| format!(" (request {id})")).unwrap_or_default()
}

type Answer = SdkError<AssumeRoleWithWebIdentityError, HttpResponse>;

impl Error {
    /// Reads what the SDK made of an answer, or of none.
    pub(super) fn of(error: &Answer, host: &str) -> Self {
        let host = host.to_owned();
        let Some(answer) = error.raw_response() else {
            return Self::unreachable(error, host);
        };
        let status = answer.status().as_u16();
        match error.code() {
            Some(code) => Self::Refused {
                host,
                status,
                code: code.to_owned(),
                message: error.message().unwrap_or_default().chars().take(300).collect(),
                request_id: error.request_id().map(str::to_owned),
            },
            None if status >= 500 || status == 429 => Self::Refused {
                host,
                status,
                code: "ServiceUnavailable".into(),
                message: String::new(),
                request_id: None,
            },
            None => {
                Self::Malformed { host, problem: format!("answered {status} and nothing that STS would say") }
            }
        }
    }

    fn unreachable(error: &Answer, host: String) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut words = Vec::new();
        let mut sent = true;
        while let Some(inner) = cause {
            if let Some(http::Error::Unreachable { source, .. }) = inner.downcast_ref() {
                sent = !source.is_connect();
            }
            if let Some(problem @ (http::Error::Redirect { .. } | http::Error::TooLong { .. })) =
                inner.downcast_ref()
            {
                return Self::Malformed { host, problem: format!("is not STS: {problem}") };
            }
            words.push(inner.to_string());
            cause = inner.source();
        }
        // The SDK's own layers ("dispatch failure") say nothing; the innermost words are the reason.
        let reason = words.split_off(words.len().saturating_sub(2)).join(": ");
        Self::Unreachable { host, sent, source: Told(reason) }
    }

    /// Whether a token that STS has seen is of no use any more and a fresh one may be.
    pub(super) fn wants_fresh_token(&self) -> bool {
        match self {
            Self::Refused { code, message, .. } => {
                code == "ExpiredTokenException"
                    || (code == "InvalidIdentityToken" && message.contains("verification key"))
            }
            _ => false,
        }
    }

    /// Whether to try again.
    pub(super) fn verdict(&self) -> Verdict {
        let again = match self {
            Self::Unreachable { .. } => true,
            Self::Malformed { .. } => false,
            Self::Refused { code, status, .. } => {
                self.wants_fresh_token()
                    || *status >= 500
                    || *status == 429
                    || code == "IDPCommunicationError"
                    || code.starts_with("Throttl")
                    || code == "RequestLimitExceeded"
            }
        };
        if again { Verdict::Again } else { Verdict::Stop }
    }

    /// Whether it is certain that no session was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Malformed { .. } => false,
            Self::Unreachable { sent, .. } => !sent,
        }
    }

    /// In one word, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { code, .. } => code.clone(),
            Self::Malformed { .. } => "malformed-answer".into(),
            Self::Unreachable { .. } => "unreachable".into(),
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self, request: &Request) -> Failure {
        let target = request.ask.kind().target();
        let transient = self.verdict() == Verdict::Again;
        let (ident, class, what) = match self {
            Self::Refused { .. } if transient => {
                ("provider-busy", Class::Unreachable, format!("AWS could not lend `{target}` now"))
            }
            Self::Refused { code, .. } if about_token(code) => (
                "token-rejected",
                Class::Refused,
                format!("AWS did not accept this job's token for `{target}`"),
            ),
            Self::Refused { .. } => {
                ("provider-refused", Class::Refused, format!("AWS refused to lend `{target}`"))
            }
            Self::Malformed { .. } => {
                ("provider-malformed", Class::Refused, format!("no answer of AWS came for `{target}`"))
            }
            Self::Unreachable { .. } => {
                ("provider-unreachable", Class::Unreachable, format!("AWS could not be asked for `{target}`"))
            }
        };
        let mut failure = Failure::of(ident, class, self);
        failure.causes.insert(0, std::mem::replace(&mut failure.what, what));
        failure.hint = self.hint().map(str::to_owned);
        failure
    }

    fn hint(&self) -> Option<&'static str> {
        let Self::Refused { code, message, .. } = self else {
            return matches!(self, Self::Unreachable { .. }).then_some(
                "the host must reach STS: see `network` and `aws.sts-endpoint` in the host config",
            );
        };
        Some(match code.as_str() {
            "AccessDenied" if message.contains("TagSession") => {
                "the role's trust policy must allow `sts:TagSession`"
            }
            "AccessDenied" => {
                "the role's trust policy must allow this `iss`, `aud` and `sub`, and `sts:TagSession` if session tags are asked for"
            }
            "InvalidIdentityToken" => {
                "the account needs an OIDC provider for this `iss` with this `aud` as client id"
            }
            "IDPRejectedClaim" => "the issuer refused the token, or it had ended before AWS looked at it",
            "MalformedPolicyDocument" | "PackedPolicyTooLarge" => {
                "the role, its session policy or its tags are not as STS wants them"
            }
            "RegionDisabledException" => {
                "STS is not enabled in this region: enable it in the account, or name another `region`"
            }
            "ValidationError" if message.to_lowercase().contains("duration") => {
                "`duration` is more than the role's maximum session duration"
            }
            _ => return None,
        })
    }
}

fn about_token(code: &str) -> bool {
    matches!(code, "AccessDenied" | "InvalidIdentityToken" | "ExpiredTokenException" | "IDPRejectedClaim")
}
