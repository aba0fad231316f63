//! A request and its answer.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use super::error::Error;
use dataflow_types::secret::{Mask, Secret};

/// One request.
#[derive(Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) timeout: Duration,
}

impl Request {
    /// A request that must be answered within `timeout`.
    pub fn new(method: Method, url: Url, timeout: Duration) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Zeroizing::default(), timeout }
    }

    /// The same request, to be answered within `time` where that is shorter.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { timeout: self.timeout.min(time), ..self }
    }

    /// The host that it goes to, for messages.
    pub fn host(&self) -> String {
        host_of(&self.url)
    }

    /// Adds a header that may be seen.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        self.insert(name, value, false)?;
        Ok(self)
    }

    /// Adds a header whose value is a secret: `prefix` and then the secret.
    pub fn secret_header(mut self, name: &str, prefix: &str, secret: &Secret) -> Result<Self, Error> {
        let value = Zeroizing::new(format!("{prefix}{}", secret.expose()));
        self.insert(name, &value, true)?;
        Ok(self)
    }

    fn insert(&mut self, name: &str, value: &str, sensitive: bool) -> Result<(), Error> {
        let wrong = || Error::Header(name.to_owned());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(sensitive);
        self.headers.insert(header, value);
        Ok(())
    }

    /// Has a mask know what its secret headers carry, in the form in which it is sent: a server may repeat that.
    pub fn hide_in(&self, mask: &Mask) {
        for value in self.headers.values().filter(|value| value.is_sensitive()) {
            let text = value.to_str().unwrap_or_default();
            mask.add(&Secret::new(text.split_once(' ').map_or(text, |(_, sent)| sent)));
        }
    }

    /// Adds a body, wiped after it was sent.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: Vec<u8>) -> Self {
        self.headers.insert(::http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Zeroizing::new(body);
        self
    }
}

/// One whole answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, wiped when dropped.
    pub body: Body,
}

/// A body that is not shown and is wiped when dropped.
#[derive(Default)]
pub struct Body(pub(super) Zeroizing<Vec<u8>>);

impl Body {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// The host of a URL, for messages.
pub(super) fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
