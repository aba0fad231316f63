//! The AWS SDK over this program's own HTTP client: one TLS, one set of certificates and proxies.

use aws_runtime::user_agent::{ApiMetadata, AwsUserAgent};
use aws_sdk_sts::config::RuntimeComponents;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_types::os_shim_internal::Env;
use chrono::{DateTime, Utc};
use url::Url;

use crate::call::TIMEOUT;
use dataflow_host::Clock;
use dataflow_host::http::{Error, Http, Method, Request};
use dataflow_types::secret::Secret;

const FORM: &str = "application/x-www-form-urlencoded";

/// Headers of an answer that tell of its body as it was sent.
const DECODED: [&str; 2] = ["content-encoding", "content-length"];

/// Headers that our client sets itself, to what the SDK signed.
const OURS: [&str; 3] = ["host", "content-type", "content-length"];

/// Says who is calling without asking the environment: the SDK would read `AWS_EXECUTION_ENV`, which is
/// the job's to set, and fail on a value that is no header.
#[derive(Debug)]
pub(super) struct Caller;

#[dyn_dispatch_hint]
impl Intercept for Caller {
    fn name(&self) -> &'static str {
        "Caller"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let api = ApiMetadata::new("sts", env!("CARGO_PKG_VERSION"));
        config.interceptor_state().store_put(AwsUserAgent::new_from_environment(Env::from_slice(&[]), api));
        Ok(())
    }
}

/// Our client, as the SDK wants to see one.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) http: Http,
    pub(super) clock: Clock,
    pub(super) until: DateTime<Utc>,
}

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.clone();
        HttpConnectorFuture::new(async move {
            let request = transport.request(&request).map_err(ConnectorError::user)?;
            match transport.http.send(request).await {
                Ok(answer) => Ok(response(&answer)?),
                Err(error @ Error::Timeout { .. }) => Err(ConnectorError::timeout(error.into())),
                Err(error) => Err(ConnectorError::io(error.into())),
            }
        })
    }
}

impl Transport {
    /// Only the form goes out, and what was signed with it: the SDK's other headers tell about the host
    /// and serve nobody here.
    fn request(&self, request: &HttpRequest) -> Result<Request, Box<dyn std::error::Error + Send + Sync>> {
        let url = Url::parse(request.uri())?;
        let body = request.body().bytes().ok_or("a streamed body")?.to_vec();
        let ours = Request::new(Method::POST, url, TIMEOUT).within(self.clock.left(self.until));
        let mut ours = ours.header("accept", "text/xml")?;
        if let Some(signature) = request.headers().get("authorization") {
            ours = ours.secret_header("authorization", "", &Secret::new(signature))?;
            for name in signed(signature).filter(|name| !OURS.contains(name)) {
                let value = request.headers().get(name).unwrap_or_default();
                ours = ours.secret_header(name, "", &Secret::new(value))?;
            }
        }
        Ok(ours.body(FORM, body))
    }
}

/// The names of the headers that a signature covers.
fn signed(signature: &str) -> impl Iterator<Item = &str> {
    let names = signature.split_once("SignedHeaders=").map_or("", |(_, rest)| rest);
    names.split(',').next().unwrap_or_default().split(';').filter(|name| !name.is_empty())
}

fn response(answer: &dataflow_host::http::Response) -> Result<HttpResponse, ConnectorError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::other(error, None);
    let status = StatusCode::try_from(answer.status.as_u16()).map_err(|error| broken(error.into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body.bytes()));
    for (name, value) in &answer.headers {
        // The body is decoded already, and no longer as long.
        if DECODED.contains(&name.as_str()) {
            continue;
        }
        if let Ok(value) = value.to_str() {
            response.headers_mut().insert(name.to_string(), value.to_owned());
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signature_covers_is_sent_with_it() {
        let check = |signature: &str, expected: &[&str]| {
            assert_eq!(signed(signature).collect::<Vec<_>>(), expected, "{signature}");
        };
        check(
            "AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=host;x-amz-date, Signature=0",
            &["host", "x-amz-date"],
        );
        check("AWS4-HMAC-SHA256 SignedHeaders=x-amz-security-token", &["x-amz-security-token"]);
        check("Bearer x", &[]);
        check("SignedHeaders=;, x", &[]);
    }
}
