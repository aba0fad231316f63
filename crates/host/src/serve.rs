//! Serving HTTP/1.1 on loopback or on a Unix socket, for the rehearsal's sandbox.

use std::fmt;
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use super::files;

/// The longest request that is read, in bytes.
const MAX_REQUEST: usize = 4 << 20;

/// A socket's path with its end must fit into `sockaddr_un`: 108 bytes on Linux, 104 elsewhere.
const MAX_PATH: usize = 103;

/// A request, whole. Its headers and body hold secrets: they are not shown.
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

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {}, {} bytes)", self.method, self.path, self.body.len())
    }
}

/// An answer. Its body may hold secrets: it is not shown.
#[derive(Clone)]
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

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
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

/// A running server; when this is dropped it stops, open connections break and a socket's file goes.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
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
        if let Some(Err(error)) = self.socket.as_deref().map(files::remove) {
            tracing::debug!(%error, "a socket's file stays");
        }
    }
}

/// Serves on loopback at `port`, or at a free one for 0.
pub async fn on_loopback(port: u16, handler: Arc<impl Handler>) -> io::Result<Server> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // Small answers in several packets would wait for acknowledgements.
            let _kept = stream.set_nodelay(true);
            keep(&mut connections, connection(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { address: Some(address), socket: None, task })
}

/// Serves on a socket that only this user can reach, in a folder that is made where it is not there.
pub fn on_socket(path: &Path, handler: Arc<impl Handler>) -> io::Result<Server> {
    if path.as_os_str().len() > MAX_PATH {
        let text = format!("`{}` is longer than the {MAX_PATH} bytes of a socket's path", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, text));
    }
    if let Some(folder) = path.parent() {
        files::private_folder(folder).map_err(io::Error::other)?;
    }
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            keep(&mut connections, connection(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { address: None, socket: Some(path.to_owned()), task })
}

/// Starts serving a connection that ends with the set, and forgets those that have ended.
fn keep(connections: &mut JoinSet<()>, connection: impl Future<Output = ()> + Send + 'static) {
    connections.spawn(connection);
    while connections.try_join_next().is_some() {}
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

type Answer = ::http::Response<Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = io::Error> + Send>>>;

async fn answer<H: Handler>(request: ::http::Request<Incoming>, handler: Arc<H>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let request = Request { method: head.method, path, headers: head.headers, body: body.to_vec() };
    let response = handler.answer(request);
    if !response.delay.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "a server's latency is no clock of the program")]
        tokio::time::sleep(response.delay).await;
    }
    build(response)
}

fn build(response: Response) -> Result<Answer, io::Error> {
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
        let cut = async {
            // What was written leaves before the connection breaks.
            tokio::task::yield_now().await;
            Err(io::Error::other("cut"))
        };
        let data = async move { Ok(hyper::body::Frame::data(body)) };
        let frames = futures_util::stream::once(data).chain(futures_util::stream::once(cut));
        return builder
            .body(Box::pin(http_body_util::StreamBody::new(frames)) as Pin<Box<_>>)
            .map_err(io::Error::other);
    }
    let body = Full::new(body).map_err(|never: std::convert::Infallible| -> io::Error { match never {} });
    builder.body(Box::pin(body) as Pin<Box<_>>).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{self, Http, Network};
    use url::Url;

    struct Always(Response);

    impl Handler for Always {
        fn answer(&self, _: Request) -> Response {
            self.0.clone()
        }
    }

    fn hello() -> Arc<Always> {
        Arc::new(Always(Response::new(200, "text/plain", "hello")))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    async fn get(http: &Http, url: &str) -> Result<http::Response, http::Error> {
        let request = http::Request::new(Method::GET, Url::parse(url).unwrap(), Duration::from_secs(10));
        http.send(request).await
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_the_server() {
        run(async {
            let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
            let path = folder.path().join("made/job.sock");
            let server = on_socket(&path, hello()).unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
            let http = Http::new(Network { unix_socket: Some(path.clone()), ..Network::default() });
            assert_eq!(get(&http, "http://job/").await.unwrap().body.bytes(), b"hello");
            drop(server);
            assert!(!path.exists());
        });
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(100)));
        assert_eq!(on_socket(&path, hello()).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
    }

    #[test]
    fn a_dropped_server_answers_nobody_on_connections_that_are_open() {
        run(async {
            let server = on_loopback(0, hello()).await.unwrap();
            let (http, url) =
                (Http::new(Network::default()), format!("http://{}/", server.address().unwrap()));
            get(&http, &url).await.unwrap();
            drop(server);
            assert!(matches!(get(&http, &url).await, Err(http::Error::Unreachable { .. })));
        });
    }

    #[test]
    fn a_cut_answer_breaks_in_the_middle() {
        run(async {
            let cut = Response { cut: true, ..Response::new(200, "text/plain", "hel") };
            let server = on_loopback(0, Arc::new(Always(cut))).await.unwrap();
            let answer =
                get(&Http::new(Network::default()), &format!("http://{}/", server.address().unwrap())).await;
            assert!(matches!(answer, Err(http::Error::Unreachable { .. })));
        });
    }

    #[test]
    fn requests_and_answers_do_not_show_what_they_carry() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer secret".parse().unwrap());
        let request = Request { method: Method::GET, path: "/x".into(), headers, body: b"secret".to_vec() };
        assert_eq!(format!("{request:?}"), "Request(GET /x, 6 bytes)");
        assert_eq!(format!("{:?}", Response::new(200, "text/plain", "secret")), "Response(200, 6 bytes)");
    }
}
