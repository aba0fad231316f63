//! What STS says when it says no, by what to do about it.
//!
//! Codes: STS API reference, `AssumeRoleWithWebIdentity` and `AssumeRole`, "Errors" and "Common Errors".

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use chrono::{DateTime, Utc};

use dataflow_config::aws::Unfit;
use dataflow_host::http;
use dataflow_host::retry::{Verdict, retry_after};
use dataflow_types::secret::Mask;

/// The most of AWS's words that is told, in characters.
const MAX_MESSAGE: usize = 300;

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
        /// How long it asks to be left alone.
        later: Option<Duration>,
    },
    /// It answered that it could not, and not in AWS's words: what stands before it may have lost the answer.
    #[error("{host} answered {status} and no code of AWS")]
    Busy {
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long it asks to be left alone.
        later: Option<Duration>,
    },
    /// It answered something that is no answer of STS.
    #[error("{host} {problem}")]
    Malformed {
        /// Who answered.
        host: String,
        /// What was wrong.
        problem: String,
    },
    /// A further role of a chain was not assumed.
    #[error("`chain[{at}]` was not assumed by `{by}`")]
    Hop {
        /// Which of the chain.
        at: usize,
        /// The role.
        role: String,
        /// The session that asked.
        by: String,
        /// Until when the sessions before it live.
        ends: DateTime<Utc>,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The file of a session policy is of no use.
    #[error("the session policy in `{}` cannot be used", .path.display())]
    Policy {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The session policy is not one that STS takes.
    #[error("the session policy cannot be used")]
    Unfit(#[source] Unfit),
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

impl Error {
    /// Reads what the SDK made of an answer, or of none. AWS's words may repeat what was sent: a signature
    /// that does not match is told with every signed header.
    pub(super) fn of<E>(
        error: &SdkError<E, HttpResponse>,
        host: &str,
        mask: &Mask,
        now: DateTime<Utc>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let host = host.to_owned();
        let Some(answer) = error.raw_response() else {
            return Self::unreachable(error, host);
        };
        let status = answer.status().as_u16();
        let later = answer.headers().get("retry-after").and_then(|value| retry_after(value, now));
        match error.code() {
            Some(code) => Self::Refused {
                host,
                status,
                code: code.to_owned(),
                // Masked before it is cut: half a secret would not be known for one.
                message: mask.apply(error.message().unwrap_or_default()).chars().take(MAX_MESSAGE).collect(),
                request_id: error.request_id().map(str::to_owned),
                later,
            },
            None if status >= 500 || status == 429 => Self::Busy { host, status, later },
            None => {
                Self::Malformed { host, problem: format!("answered {status} and nothing that STS would say") }
            }
        }
    }

    fn unreachable(error: &(dyn std::error::Error + 'static), host: String) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut words = Vec::new();
        let mut sent = true;
        while let Some(inner) = cause {
            if let Some(http::Error::Unreachable { source, .. }) = inner.downcast_ref() {
                sent = !source.is_connect();
            }
            if let Some(problem) = inner.downcast_ref::<http::Error>().filter(|error| error.is_answer()) {
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
            Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Malformed { .. } | Self::Policy { .. } | Self::Unfit(_) => false,
            Self::Hop { source, .. } => return source.verdict(),
            Self::Refused { code, status, .. } => {
                self.wants_fresh_token()
                    || *status >= 500
                    || *status == 429
                    || code == "IDPCommunicationError"
                    || code.starts_with("Throttl")
                    || code == "RequestLimitExceeded"
            }
        };
        match self {
            _ if !again => Verdict::Stop,
            Self::Refused { later: Some(time), .. } | Self::Busy { later: Some(time), .. } => {
                Verdict::After(*time)
            }
            _ => Verdict::Again,
        }
    }

    /// Whether it is what a role answers that not every server of AWS knows yet.
    pub(super) fn is_access_denied(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == "AccessDenied" || code == "AccessDeniedException",
            _ => false,
        }
    }

    /// Whether it is certain that no session was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Policy { .. } | Self::Unfit(_) => true,
            // The sessions before it were made.
            Self::Malformed { .. } | Self::Busy { .. } | Self::Hop { .. } => false,
            Self::Unreachable { sent, .. } => !sent,
        }
    }

    /// Until when sessions live that were made on the way, where it is certain that no other was.
    pub fn left_until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Hop { ends, source, .. } if source.nothing_issued() => Some(*ends),
            _ => None,
        }
    }

    /// In one word, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { code, .. } => code.clone(),
            Self::Busy { status, .. } => format!("http-{status}"),
            Self::Malformed { .. } => "malformed-answer".into(),
            Self::Unreachable { .. } => "unreachable".into(),
            Self::Hop { source, .. } => source.reason(),
            Self::Policy { .. } | Self::Unfit(_) => "no-request".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Error {
        Error::Refused {
            host: "h".into(),
            status,
            code: code.into(),
            message: String::new(),
            request_id: None,
            later: None,
        }
    }

    fn hop(source: Error) -> Error {
        let (role, by) = ("next".into(), "first".into());
        Error::Hop { at: 0, role, by, ends: DateTime::UNIX_EPOCH, source: Box::new(source) }
    }

    #[test]
    fn only_what_aws_says_in_its_own_words_is_known_to_have_made_nothing() {
        assert!(refused(403, "AccessDenied").nothing_issued());
        assert!(!Error::Busy { host: "h".into(), status: 503, later: None }.nothing_issued());
        assert!(!hop(refused(403, "AccessDenied")).nothing_issued());
    }

    #[test]
    fn a_refused_hop_leaves_what_was_made_before_it_and_a_lost_one_nobody_knows_what() {
        assert_eq!(hop(refused(403, "AccessDenied")).left_until(), Some(DateTime::UNIX_EPOCH));
        assert_eq!(hop(Error::Busy { host: "h".into(), status: 503, later: None }).left_until(), None);
        assert_eq!(refused(403, "AccessDenied").left_until(), None);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (error, again) in [
            (refused(400, "Throttling"), true),
            (refused(400, "IDPCommunicationError"), true),
            (refused(500, "InternalFailure"), true),
            (Error::Busy { host: "h".into(), status: 429, later: None }, true),
            (hop(refused(400, "Throttling")), true),
            (refused(403, "AccessDenied"), false),
            (hop(refused(403, "AccessDenied")), false),
        ] {
            assert_eq!(error.verdict() != Verdict::Stop, again, "{error:?}");
        }
    }
}
