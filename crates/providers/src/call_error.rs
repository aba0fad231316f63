//! Why a call of a provider's HTTP API gave nothing.

use crate::refusal::{Refusal, Remedy};
use dataflow_host::http::{self, StatusCode};
use dataflow_host::retry::Verdict;
use dataflow_policy as policy;
use dataflow_types::failure::{Failure, Ident};

/// Why a provider gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It said no.
    #[error("`{host}` answered {status} `{}`{}", .refusal.code, said(&.refusal.message))]
    Refused {
        /// Which host.
        host: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        refusal: Refusal,
    },
    /// It answered something that this program cannot read, or must not believe.
    #[error("`{host}` {problem}")]
    Malformed {
        /// Which host.
        host: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// It gave no whole answer.
    #[error("there is no answer")]
    Unreachable(#[from] http::Error),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl CallError {
    /// Whether it is certain that no credential was made.
    pub fn nothing_issued(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !status.is_server_error(),
            // An answer that is not read may have held a credential.
            Self::Malformed { .. }
            | Self::Unreachable(http::Error::TooLong { .. } | http::Error::Encoding { .. }) => false,
            // A host that was never reached made nothing, but the client cannot always tell.
            Self::Unreachable(error) => !error.is_transient(),
        }
    }

    /// In one word or code, for the record.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { refusal, .. } => refusal.code.clone(),
            Self::Malformed { .. } => "malformed-answer".to_owned(),
            Self::Unreachable(http::Error::Identity { .. } | http::Error::Unwelcome { .. }) => {
                "client-certificate".to_owned()
            }
            Self::Unreachable(error) if error.is_answer() => "malformed-answer".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
        }
    }

    /// Whether the same call may go better later.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { refusal, .. } if matches!(refusal.remedy, Remedy::Wait | Remedy::FreshToken) => {
                Verdict::Again
            }
            Self::Unreachable(error) if error.is_transient() => Verdict::Again,
            _ => Verdict::Stop,
        }
    }

    /// The failure as a person is told it.
    pub fn failure(&self, request: &policy::Request) -> Failure {
        let kind = request.ask.kind();
        let (provider, target) = (kind.provider(), kind.target());
        let (ident, what) = match self {
            Self::Refused { refusal, .. } => match refusal.remedy {
                Remedy::Wait => (Ident::ProviderBusy, format!("{provider} could not lend `{target}` now")),
                Remedy::FreshToken | Remedy::OtherToken => (
                    Ident::TokenRejected,
                    format!("{provider} did not accept this job's token for `{target}`"),
                ),
                Remedy::Stop => (Ident::ProviderRefused, format!("{provider} refused to lend `{target}`")),
            },
            Self::Malformed { .. } => {
                (Ident::ProviderMalformed, format!("no usable answer of {provider} came for `{target}`"))
            }
            Self::Unreachable(error) if error.is_answer() => {
                (Ident::ProviderMalformed, format!("no usable answer of {provider} came for `{target}`"))
            }
            Self::Unreachable(http::Error::Identity { .. }) => {
                (Ident::ClientCertificateUnusable, format!("{provider} was not asked for `{target}`"))
            }
            Self::Unreachable(http::Error::Unwelcome { .. }) => (
                Ident::ClientCertificateRefused,
                format!("{provider} does not speak to this host for `{target}`"),
            ),
            Self::Unreachable(_) => {
                (Ident::ProviderUnreachable, format!("{provider} could not be asked for `{target}`"))
            }
        };
        let mut failure = Failure::of(ident, self);
        failure.causes.insert(0, std::mem::replace(&mut failure.what, what));
        failure.hint = match self {
            Self::Refused { refusal, .. } => refusal.hint.clone(),
            Self::Malformed { .. } => None,
            Self::Unreachable(error) => Some(error.hint()),
        };
        failure
    }
}
