//! HTTPS with this program's own rules: no redirect is followed to where the host config does not allow it, bodies are
//! bounded, neither the environment's proxies nor its certificates are believed, URLs never carry secrets.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::ACCEPT_ENCODING;
pub use ::http::{HeaderMap, Method, StatusCode};
use ::http::{HeaderName, HeaderValue};
use tokio::sync::OnceCell;
use url::Url;
use zeroize::Zeroizing;

use super::direct::{self, Direct};
use super::identity::{self, Identity, Known};
pub use super::unanswered::Error;
pub(super) use super::unanswered::setup;
use super::{Beside, asked, body, fault, redirect, resolve, tls};
use dataflow_types::secret::{Mask, Secret};

/// No answer that this program reads is longer, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// What the host config says about the network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Certificates trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// The proxy for every request that leaves the host.
    pub proxy: Option<Url>,
    /// Who is asked directly all the same.
    pub direct: Vec<Direct>,
    /// Origins to reach by another way, and that way: private endpoints.
    pub routes: Vec<(url::Origin, Url)>,
    /// Origins to which a request may be sent on by the server that it was for.
    pub redirects: Vec<url::Origin>,
    /// Certificates by which servers know this host.
    pub identities: Vec<Identity>,
    /// A Unix socket to speak to, whatever the URL's host.
    pub unix_socket: Option<PathBuf>,
}

impl Network {
    /// The way to `url`: another origin, before whose path stands what the route has of one.
    fn route(&self, url: Url) -> Url {
        let origin = url.origin();
        let Some((_, to)) = self.routes.iter().find(|(from, _)| *from == origin) else { return url };
        let mut routed = to.clone();
        routed.set_path(&format!("{}{}", to.path().trim_end_matches('/'), url.path()));
        routed.set_query(url.query());
        routed
    }

    /// The certificate for a URL, routed already, and its place in the list.
    pub(super) fn identity(&self, url: &Url) -> Option<(usize, &Identity)> {
        let origin = url.origin();
        self.identities.iter().enumerate().find(|(_, identity)| identity.origin == origin)
    }
}

/// One request.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    timeout: Duration,
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
pub struct Body(Zeroizing<Vec<u8>>);

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

/// The client; TLS is set up at the first request, so that a hook that asks nobody pays nothing.
#[derive(Clone, Debug)]
pub struct Http {
    network: Arc<Network>,
    client: Arc<OnceCell<reqwest::Client>>,
    early: Arc<Mutex<Option<Early>>>,
    known: Arc<Known>,
}

/// A client that is being set up.
type Early = Beside<Result<reqwest::Client, Error>>;

impl Http {
    /// A client for these settings.
    pub fn new(network: Network) -> Self {
        Self {
            network: Arc::new(network),
            client: Arc::default(),
            early: Arc::default(),
            known: Arc::default(),
        }
    }

    /// Sets TLS up on another thread, for requests that are certain to come: to read the certificates of a system takes
    /// about as long as all else that a hook does before its first request.
    pub fn prepare(&self) {
        let network = Arc::clone(&self.network);
        let early = Beside::begin(move || build(&network, None));
        self.early.lock().unwrap_or_else(PoisonError::into_inner).replace(early);
    }

    async fn client(&self) -> Result<&reqwest::Client, Error> {
        let set_up = || async {
            let early = self.early.lock().unwrap_or_else(PoisonError::into_inner).take();
            match early {
                Some(early) => early.done().await,
                None => build(&self.network, None),
            }
        };
        self.client.get_or_try_init(set_up).await
    }

    /// The URL that a request for `url` goes to.
    pub fn route(&self, url: Url) -> Url {
        self.network.route(url)
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let lost = || Error::Timeout { host: request.host(), after: request.timeout };
        let answer = fault::request(|| self.exchange(&request), lost);
        asked::told(&request.method, &request.url, answer).await
    }

    /// Sends a request, and on to where it is sent, all in its time.
    async fn exchange(&self, request: &Request) -> Result<Response, Error> {
        let first = self.network.route(request.url.clone());
        let all = async {
            let (mut url, mut host) = (first, request.host());
            for _ in 0..redirect::MOST {
                match self.ask(request, &url, &host).await? {
                    Ok(response) => return Ok(response),
                    Err(next) => (host, url) = (host_of(&next), self.network.route(next)),
                }
            }
            Err(Error::Redirects { host })
        };
        let late = |_| Error::Timeout { host: request.host(), after: request.timeout };
        tokio::time::timeout(request.timeout, all).await.map_err(late)?
    }

    /// What the server at `url` answers, or where it sends the request on to.
    async fn ask(&self, request: &Request, url: &Url, host: &str) -> Result<Result<Response, Url>, Error> {
        let (host, after) = (host.to_owned(), request.timeout);
        let client = match self.known.client(&self.network, url) {
            Some(client) => &client?,
            None => self.client().await?,
        };
        let started = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone())
            .header(ACCEPT_ENCODING, "identity")
            .body(request.body.to_vec())
            .timeout(after);
        let broken = |source: reqwest::Error| {
            let (host, source) = (host.clone(), source.without_url());
            if source.is_timeout() {
                Error::Timeout { host, after }
            } else if let Some(alert) = identity::alert(&source) {
                Error::Unwelcome { host, alert, shown: self.known.refused(&self.network, url) }
            } else {
                Error::Unreachable { host, source }
            }
        };
        let mut answer = started.send().await.map_err(broken)?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        if let Some(next) = redirect::next(status, &headers, url, &self.network.redirects)? {
            return Ok(Err(next));
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Error::TooLong { host });
            }
            body.extend_from_slice(&chunk);
        }
        let body = Body(body::decoded(body, &headers, &host)?);
        Ok(Ok(Response { status, headers, body }))
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

pub(super) fn build(network: &Network, identity: Option<&Identity>) -> Result<reqwest::Client, Error> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .dns_resolver(resolve::System)
        .user_agent(concat!("buildkite-dataflow/", env!("CARGO_PKG_VERSION")));
    if let Some(socket) = &network.unix_socket {
        // No TLS on a socket, and the certificates are not read for it.
        builder = builder
            .unix_socket(socket.clone())
            .tls_backend_preconfigured(tls::config(rustls::RootCertStore::empty(), None)?);
    } else {
        builder = builder.tls_backend_preconfigured(tls::config(tls::roots(network)?, identity)?);
    }
    if let Some(proxy) = &network.proxy {
        builder = builder.proxy(direct::past(proxy, &network.direct).map_err(setup)?);
    }
    builder.build().map_err(setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routed_origin_is_reached_by_its_route_and_no_other_is() {
        let url = |text: &str| Url::parse(text).unwrap();
        let routes = vec![(url("https://sts.example.test").origin(), url("https://vpce.example.test/sts/"))];
        let network = Network { routes, ..Network::default() };
        let way = network.route(url("https://sts.example.test/v1/token?a=b"));
        assert_eq!(way.as_str(), "https://vpce.example.test/sts/v1/token?a=b");
        let other = url("https://sts.example.test:8443/v1");
        assert_eq!(network.route(other.clone()), other);
    }

    #[test]
    fn debug_of_a_request_does_not_show_secret_headers_or_bodies() {
        let url = Url::parse("https://example.test/").unwrap();
        let request = Request::new(Method::POST, url, Duration::from_secs(1))
            .secret_header("authorization", "Bearer ", &Secret::new("tok-123456"))
            .unwrap();
        assert!(!format!("{request:?}").contains("tok-123456"));
    }

    #[test]
    fn a_mask_hides_a_secret_header_in_the_form_in_which_it_was_sent() {
        let url = Url::parse("https://example.test/").unwrap();
        let request = Request::new(Method::POST, url, Duration::from_secs(1));
        let request =
            request.secret_header("authorization", "Basic ", &Secret::new("Y2k6aHVudGVyMg==")).unwrap();
        let mask = Mask::default();
        request.header("accept", "application/json").unwrap().hide_in(&mask);
        assert_eq!(
            mask.apply("application/json, `Basic Y2k6aHVudGVyMg==`"),
            "application/json, `Basic [REDACTED]`"
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_without_its_value() {
        let url = Url::parse("https://example.test/").unwrap();
        let request = Request::new(Method::GET, url, Duration::from_secs(1));
        let error = request.secret_header("x-token", "", &Secret::new("line\nbreak")).unwrap_err();
        assert_eq!(error.to_string(), "`x-token` cannot be sent as a header");
    }
}
