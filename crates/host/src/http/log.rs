//! Logs each request: the host, the path, the answer and the time it took. No header, no query, no body.

use tokio::time::Instant;
use url::Url;

use super::error::Error;
use super::message::Response;
use http::Method;

/// The answer, logged.
pub(super) async fn logged(
    method: &Method,
    url: &Url,
    answer: impl Future<Output = Result<Response, Error>>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let answer = answer.await;
    let (host, path, ms) = (url.host_str(), url.path(), began.elapsed().as_millis());
    match &answer {
        Ok(answer) => tracing::debug!(%method, host, path, status = answer.status.as_u16(), ms, "asked"),
        Err(error) => tracing::debug!(%method, host, path, %error, ms, "asked, and heard nothing"),
    }
    answer
}
