//! HTTPS with this program's own rules: no redirect is followed to where the host config does not allow it, bodies are
//! bounded, neither the environment's proxies nor its certificates are believed, URLs never carry secrets.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::ACCEPT_ENCODING;
pub use ::http::{HeaderMap, Method, StatusCode};
use tokio::sync::OnceCell;
use url::Url;
use zeroize::Zeroizing;

use self::client::{Known, build};
pub use self::error::{Error, MAX_BODY};
use self::message::host_of;
pub use self::message::{Body, Request, Response};
pub use self::network::Network;
use super::{Background, fault};

mod body;
mod client;
mod error;
pub mod identity;
mod log;
mod message;
mod network;
mod redirect;
mod tls;

/// The client; TLS is set up at the first request, so that a hook that asks nobody pays nothing.
#[derive(Clone, Debug)]
pub struct Http {
    network: Arc<Network>,
    client: Arc<OnceCell<reqwest::Client>>,
    early: Arc<Mutex<Option<Early>>>,
    known: Arc<Known>,
}

/// A client that is being set up.
type Early = Background<Result<reqwest::Client, Error>>;

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
        let early = Background::begin(move || build(&network, None));
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
        log::logged(&request.method, &request.url, answer).await
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dataflow_types::secret::{Mask, Secret};

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
