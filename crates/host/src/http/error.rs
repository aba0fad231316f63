//! Why a request was not answered.

use std::time::Duration;

use http::StatusCode;

use crate::files;

/// No answer that this program reads is longer, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Why no usable answer came.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates could not be read.
    #[error("cannot read certificates")]
    Certificates(#[source] files::Untrusted),
    /// No certificate of the host was found.
    #[error("found no CA certificates (looked at {0})")]
    NoCertificates(String),
    /// The client could not be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A client certificate of the host config is of no use.
    #[error("the client certificate for `{endpoint}` cannot be used: {problem}")]
    Identity {
        /// What it is for.
        endpoint: String,
        /// What is wrong with its files.
        problem: String,
    },
    /// The server wants another client certificate, or one at all.
    #[error("`{host}` ended the TLS handshake ({alert}); {shown}")]
    Unwelcome {
        /// Which host.
        host: String,
        /// In TLS's own words.
        alert: String,
        /// Which certificate it was shown.
        shown: String,
    },
    /// A name or value is no HTTP header.
    #[error("`{0}` cannot be sent as a header")]
    Header(String),
    /// Nothing is listening, no such name, the handshake failed, or the connection broke.
    #[error("cannot reach `{host}`")]
    Unreachable {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No whole answer in time.
    #[error("`{host}` did not answer within {}s", .after.as_secs_f32())]
    Timeout {
        /// Which host.
        host: String,
        /// The time it had.
        after: Duration,
    },
    /// A redirect that is not followed: it would carry a token to a host that nobody chose.
    #[error("`{host}` answered {status} and a redirect{to}, which is not followed")]
    Redirect {
        /// Which host.
        host: String,
        /// Its status.
        status: StatusCode,
        /// ` to HOST`, or nothing.
        to: String,
        /// What the host config would have to allow for it to be followed.
        origin: Option<String>,
    },
    /// It sends a request on and on.
    #[error("`{host}` answered one redirect too many")]
    Redirects {
        /// The last host.
        host: String,
    },
    /// A body that cannot be decoded.
    #[error(
        "`{host}` answered with the content encoding `{encoding}`, which was not asked for and cannot be read"
    )]
    Encoding {
        /// Which host.
        host: String,
        /// The encoding.
        encoding: String,
    },
    /// A body past [`MAX_BODY`].
    #[error("`{host}` answered more than {MAX_BODY} bytes")]
    TooLong {
        /// Which host.
        host: String,
    },
}

impl Error {
    /// Whether the same request may succeed later without anyone's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// Where a person should look.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Identity { .. } => "see `network.client-certificates` in the host config",
            Self::Unwelcome { .. } => {
                "`network.client-certificates` in the host config must name a certificate for this exact origin, \
                 in date and of an authority that the server asks for"
            }
            Self::Redirect { origin: Some(origin), .. } => {
                return format!(
                    "if this server is yours, `endpoints` in the host config must name `{origin}` too"
                );
            }
            Self::Redirect { .. } | Self::Redirects { .. } | Self::Encoding { .. } | Self::TooLong { .. } => {
                "is this address the server's own, and no proxy or sign-in page before it?"
            }
            _ => "the host must reach it: see `network` in the host config",
        };
        hint.to_owned()
    }

    /// Whether something was answered, which is not what was asked for.
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Redirect { .. } | Self::Redirects { .. } | Self::Encoding { .. } | Self::TooLong { .. }
        )
    }
}

pub(super) fn setup(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Setup(Box::new(error))
}
