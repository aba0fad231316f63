//! Serving HTTP/1.1 on loopback or on a Unix socket, for the rehearsal's sandbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// The longest request that is read, in bytes.
const MAX_REQUEST: usize = 4 << 20;

/// A request, whole.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, as sent.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long to keep the client waiting.
    pub delay: Duration,
    /// Whether the connection is closed before the whole body was sent.
    pub cut: bool,
}

impl Response {
    /// An answer with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            cut: false,
        }
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, request: Request) -> Response;
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens, for one on loopback.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves on loopback at `port`, or at a free one for 0.
pub async fn on_loopback(port: u16, handler: Arc<impl Handler>) -> std::io::Result<Server> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Small answers in several packets would wait for acknowledgements.
            let _kept = stream.set_nodelay(true);
            tokio::spawn(connection(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { address: Some(address), task })
}

/// Serves on a socket that only this user can reach: its folder must be private.
pub fn on_socket(path: &Path, handler: Arc<impl Handler>) -> std::io::Result<Server> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let listener = UnixListener::bind(path)?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { address: None, task })
}

async fn connection<S, H>(stream: S, handler: Arc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = service_fn(|request| answer(request, Arc::clone(&handler)));
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the sandbox broke");
    }
}

type Answer = ::http::Response<Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send>>>;

async fn answer<H: Handler>(request: ::http::Request<Incoming>, handler: Arc<H>) -> std::io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(std::io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let request = Request { method: head.method, path, headers: head.headers, body: body.to_vec() };
    let response = handler.answer(request);
    if !response.delay.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "a server's latency is no clock of the program")]
        tokio::time::sleep(response.delay).await;
    }
    build(response)
}

fn build(response: Response) -> Result<Answer, std::io::Error> {
    let mut builder =
        ::http::Response::builder().status(response.status).header("content-type", response.content_type);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    let whole = response.body.len();
    let body = Bytes::from(response.body);
    if response.cut {
        // More is announced than is sent: hyper closes the connection in the middle.
        builder = builder.header("content-length", whole + 100);
        let frames = futures_util::stream::iter([
            Ok(hyper::body::Frame::data(body)),
            Err(std::io::Error::other("cut")),
        ]);
        return builder
            .body(Box::pin(http_body_util::StreamBody::new(frames)) as Pin<Box<_>>)
            .map_err(std::io::Error::other);
    }
    let body =
        Full::new(body).map_err(|never: std::convert::Infallible| -> std::io::Error { match never {} });
    builder.body(Box::pin(body) as Pin<Box<_>>).map_err(std::io::Error::other)
}
