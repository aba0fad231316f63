//! The Job API: a Unix socket of the job's bootstrap, through which an unwrapped hook changes the
//! job's environment and tells the log what to hide.
//!
//! Wire format: `jobapi/` of buildkite/agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::http::{self, Http, Method, Network, Request, StatusCode};
use crate::{Env, env};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::Secret;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Below which all requests are; the socket takes any host.
const BASE: &str = "http://job/api/current-job/v0/";

/// Why the Job API did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent offers none.
    #[error("this job has no Job API (`{}` is not set)", env::JOB_API_SOCKET.name)]
    Absent,
    /// It said no, and nothing was changed.
    #[error("the Job API answered {status} to {what}{}", .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// Which request.
        what: &'static str,
        /// Its status.
        status: StatusCode,
        /// Its own words.
        message: Option<String>,
    },
    /// It could not be asked.
    #[error("the Job API gave no answer to {what}")]
    Http {
        /// Which request.
        what: &'static str,
        /// Why.
        #[source]
        source: http::Error,
    },
}

impl Error {
    /// Whether the same request may succeed if it is sent again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Http { source, .. } if source.is_transient())
    }

    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let failure = Failure::of(Ident::JobApi, self);
        match self {
            Self::Absent => failure.hinted(
                "start the agent without `--no-job-api`: it is the only way by which a hook that is no shell script \
                 can redact a secret and set a variable",
            ),
            _ => failure,
        }
    }
}

/// The Job API of one job.
#[derive(Clone, Debug)]
pub struct JobApi {
    http: Http,
    token: Secret,
    base: Option<Url>,
}

impl JobApi {
    /// The one that the environment names.
    pub fn of(env: &Env) -> Result<Self, Error> {
        let socket = env.get(&env::JOB_API_SOCKET).ok_or(Error::Absent)?;
        let token = env.secret(&env::JOB_API_TOKEN).ok_or(Error::Absent)?;
        Ok(Self::at(PathBuf::from(socket), token))
    }

    /// The one behind this socket.
    pub fn at(socket: PathBuf, token: Secret) -> Self {
        let network = Network { unix_socket: Some(socket), ..Network::default() };
        Self { http: Http::new(network), token, base: Url::parse(BASE).ok() }
    }

    /// Hides a text in everything the job prints from now on. The answer repeats the secret: it is dropped unread.
    pub async fn redact(&self, secret: &Secret) -> Result<(), Error> {
        let body = json!({ "redact": secret.expose() });
        self.call("a redaction", Method::POST, "redactions", &body, StatusCode::CREATED).await
    }

    /// Sets all these variables for everything that the job starts later, or none of them.
    pub async fn set(&self, variables: &BTreeMap<&str, &str>) -> Result<(), Error> {
        self.call("setting variables", Method::PATCH, "env", &json!({ "env": variables }), StatusCode::OK)
            .await
    }

    /// Removes variables that were added within the job.
    pub async fn unset(&self, names: &[&str]) -> Result<(), Error> {
        self.call("removing variables", Method::DELETE, "env", &json!({ "keys": names }), StatusCode::OK)
            .await
    }

    async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: &serde_json::Value,
        expected: StatusCode,
    ) -> Result<(), Error> {
        let url = self.base.as_ref().and_then(|base| base.join(path).ok()).ok_or(Error::Absent)?;
        let answer = async {
            let request = Request::new(method, url, TIMEOUT)
                .secret_header("authorization", "Bearer ", &self.token)?
                .body("application/json", body.to_string().into_bytes());
            self.http.send(request).await
        };
        let answer = answer.await.map_err(|source| Error::Http { what, source })?;
        if answer.status == expected {
            return Ok(());
        }
        let message = super::said(answer.body.bytes(), "error").map(|text| super::beginning(&text));
        Err(Error::Refused { what, status: answer.status, message })
    }
}
