//! An issuer's signing keys: found by discovery (OpenID Connect Discovery 1.0), kept for a bounded age.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use openidconnect::JsonWebKeySet;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use url::Url;

use super::jwk::Jwk;
use dataflow_host::http::{self, Http, Method, Request, StatusCode};
use dataflow_host::retry::{Backoff, Verdict, retry};
use dataflow_host::{Clock, files};
use dataflow_types::secret::Fingerprint;

/// How long fetched keys are believed without asking again, in seconds.
const MAX_AGE: i64 = 3600;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The issuer could not be asked.
    #[error("the keys of issuer `{issuer}` are out of reach")]
    Http {
        /// Whose keys.
        issuer: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// It answered with a status that is no success.
    #[error("issuer `{issuer}` answered {status} instead of {what}")]
    Status {
        /// Whose keys.
        issuer: String,
        /// The status.
        status: StatusCode,
        /// What was asked for.
        what: &'static str,
    },
    /// It answered something that is no discovery document or key set.
    #[error("issuer `{issuer}` answered {problem}")]
    Answer {
        /// Whose keys.
        issuer: String,
        /// What was wrong with the answer.
        problem: String,
    },
}

impl Error {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Http { source, .. } if source.is_transient() => Verdict::Again,
            Self::Status { status, .. }
                if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Verdict::Again
            }
            _ => Verdict::Stop,
        }
    }
}

/// Where the keys of this check came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// From the issuer, now.
    Fetched,
    /// From the issuer, at most an hour ago.
    Cached,
}

/// Keys and where they came from.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key set (RFC 7517).
    pub set: JsonWebKeySet<Jwk>,
    /// Where it came from.
    pub source: Source,
}

/// Fetches keys and remembers them in a folder of the agent's user.
#[derive(Clone, Debug)]
pub struct KeyStore {
    http: Http,
    clock: Clock,
    folder: Option<PathBuf>,
    backoff: Backoff,
    until: DateTime<Utc>,
    asked: Arc<Mutex<BTreeMap<String, Asked>>>,
}

/// One question to an issuer, shared by all who have it.
type Asked = Arc<OnceCell<Result<Keys, Arc<Error>>>>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Kept {
    issuer: String,
    fetched_at: DateTime<Utc>,
    keys: serde_json::Value,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

impl KeyStore {
    /// A store that asks issuers until `until`; without a folder nothing is remembered.
    pub fn new(
        http: &Http,
        clock: &Clock,
        folder: Option<PathBuf>,
        backoff: Backoff,
        until: DateTime<Utc>,
    ) -> Self {
        Self { http: http.clone(), clock: clock.clone(), folder, backoff, until, asked: Arc::default() }
    }

    /// The keys of `issuer`, from the store where they are young enough.
    pub async fn keys(&self, issuer: &str) -> Result<Keys, Arc<Error>> {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asked.entry(issuer.to_owned()).or_default())
        };
        let ask = || async {
            match self.kept(issuer) {
                Some(set) => Ok(Keys { set, source: Source::Cached }),
                None => self.fetch(issuer).await,
            }
        };
        asked.get_or_init(ask).await.clone()
    }

    /// The keys of `issuer`, from the issuer.
    pub async fn fetch(&self, issuer: &str) -> Result<Keys, Arc<Error>> {
        let ask = |_| self.ask(issuer);
        retry(&self.clock, self.backoff, self.until, Error::verdict, ask).await.map_err(Arc::new)
    }

    async fn ask(&self, issuer: &str) -> Result<Keys, Error> {
        let wrong = |problem: &str| Error::Answer { issuer: issuer.to_owned(), problem: problem.to_owned() };
        let well_known = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let url = Url::parse(&well_known).map_err(|_| wrong("nothing, for it is no URL"))?;
        let document: Discovery = self.json(issuer, url.clone(), "a discovery document").await?;
        if document.issuer != issuer {
            return Err(wrong(&format!("the discovery document of another issuer, `{}`", document.issuer)));
        }
        if document.jwks_uri.scheme() != "https" && url.scheme() == "https" {
            return Err(wrong("a `jwks_uri` that is not https"));
        }
        let keys: serde_json::Value = self.json(issuer, document.jwks_uri, "a key set").await?;
        let set: JsonWebKeySet<Jwk> =
            serde_json::from_value(keys.clone()).map_err(|_| wrong("something that is no key set"))?;
        self.keep(issuer, keys);
        Ok(Keys { set, source: Source::Fetched })
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        issuer: &str,
        url: Url,
        what: &'static str,
    ) -> Result<T, Error> {
        let request = Request::new(Method::GET, url, TIMEOUT).within(self.clock.left(self.until));
        let answer = self.http.send(request).await;
        let answer = answer.map_err(|source| Error::Http { issuer: issuer.to_owned(), source })?;
        let (issuer, status) = (issuer.to_owned(), answer.status);
        if !status.is_success() {
            return Err(Error::Status { issuer, status, what });
        }
        serde_json::from_slice(answer.body.bytes())
            .map_err(|_| Error::Answer { issuer, problem: format!("something that is not {what}") })
    }

    fn path(&self, issuer: &str) -> Option<PathBuf> {
        let name = format!("keys-{}.json", Fingerprint::of(issuer.as_bytes()).short(16));
        Some(self.folder.as_ref()?.join(name))
    }

    fn kept(&self, issuer: &str) -> Option<JsonWebKeySet<Jwk>> {
        let bytes = files::read_trusted(&self.path(issuer)?, &[nix::unistd::geteuid().as_raw()]).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        let age = (self.clock.now() - kept.fetched_at).num_seconds();
        if kept.issuer != issuer || !(0..MAX_AGE).contains(&age) {
            return None;
        }
        serde_json::from_value(kept.keys).ok()
    }

    fn keep(&self, issuer: &str, keys: serde_json::Value) {
        let Some(path) = self.path(issuer) else { return };
        let kept = Kept { issuer: issuer.to_owned(), fetched_at: self.clock.now(), keys };
        let written = serde_json::to_vec(&kept).map_err(std::io::Error::other);
        let written = written.and_then(|bytes| files::replace_lossy(&path, &bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "the issuer's keys could not be remembered");
        }
    }
}
