//! AWS's Signature Version 4 on a POST, for the services that are asked without the SDK.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use url::Url;

use super::{Error, call};
use dataflow_host::Clock;
use dataflow_host::http::{self, Method, Request};
use dataflow_types::credential::Material;
use dataflow_types::secret::Secret;

/// Keys that sign.
#[derive(Debug)]
pub struct Keys {
    /// Their public name.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: Secret,
    /// Goes with every request; keys of a user have none.
    pub session_token: Option<Secret>,
}

impl Keys {
    /// The keys that another credential is; `None` for what is none.
    pub fn of(material: &Material) -> Option<Self> {
        let Material::AwsKeys { access_key_id, secret_access_key, session_token } = material else {
            return None;
        };
        Some(Self {
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.clone(),
            session_token: Some(session_token.clone()),
        })
    }
}

/// Why a request cannot be signed and sent.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    /// The signer said no.
    #[error("the request cannot be signed")]
    Unfit,
    /// It is no request.
    #[error(transparent)]
    Http(#[from] http::Error),
}

/// What is signed and sent.
#[derive(Debug)]
pub struct Post<'a> {
    /// The service's name in a signature.
    pub service: &'a str,
    /// The region's.
    pub region: &'a str,
    /// Where it goes.
    pub url: &'a Url,
    /// What the body is.
    pub content_type: &'static str,
    /// Further headers that are signed.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a str,
    /// The longest that an answer may take.
    pub timeout: Duration,
}

impl Post<'_> {
    /// The request with its signature.
    pub fn signed(&self, keys: &Keys, time: SystemTime) -> Result<Request, Unsigned> {
        let host = self.url.host_str().ok_or(Unsigned::Unfit)?;
        // What a route or a proxy sends on must still be what was signed.
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut sent = vec![("host", host.as_str())];
        sent.extend_from_slice(self.headers);
        let mut request = Request::new(Method::POST, self.url.clone(), self.timeout);
        for (name, value) in &sent {
            request = request.header(name, value)?;
        }
        sent.push(("content-type", self.content_type));
        for (name, value, secret) in self.signature(&sent, keys, time).ok_or(Unsigned::Unfit)? {
            request = if secret {
                request.secret_header(&name, "", &Secret::new(value))?
            } else {
                request.header(&name, &value)?
            };
        }
        Ok(request.body(self.content_type, self.body.as_bytes().to_vec()))
    }

    /// The headers of the signature, each with whether it is a secret.
    fn signature(
        &self,
        sent: &[(&str, &str)],
        keys: &Keys,
        time: SystemTime,
    ) -> Option<Vec<(String, String, bool)>> {
        let token = keys.session_token.as_ref().map(|token| token.expose().to_owned());
        let secret = keys.secret_access_key.expose();
        let identity = Credentials::new(&keys.access_key_id, secret, token, None, "lent").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let body = SignableBody::Bytes(self.body.as_bytes());
        let request = SignableRequest::new("POST", self.url.as_str(), sent.iter().copied(), body);
        let (instructions, _) = sign(request.ok()?, &params.into()).ok()?.into_parts();
        let (made, _) = instructions.into_parts();
        let header = made.iter().map(|header| {
            let secret = header.sensitive() || header.name() == "authorization";
            (header.name().to_owned(), header.value().to_owned(), secret)
        });
        Some(header.collect())
    }
}

/// What the services ask for that speak JSON 1.1.
const JSON: &str = "application/x-amz-json-1.1";

/// One call of such a service, with keys of another credential of the block.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The service's name in a signature.
    pub(super) service: &'static str,
    /// The operation.
    pub(super) target: &'static str,
    pub(super) region: &'a str,
    pub(super) url: &'a Url,
    pub(super) body: &'a str,
}

impl Call<'_> {
    /// The request, signed now.
    pub(super) fn request(&self, keys: &Material, clock: &Clock) -> Result<Request, Error> {
        let unsigned = || Error::Value { problem: "the request cannot be signed".to_owned() };
        let post = Post {
            service: self.service,
            region: self.region,
            url: self.url,
            content_type: JSON,
            headers: &[("x-amz-target", self.target)],
            body: self.body,
            timeout: call::TIMEOUT,
        };
        let keys = Keys::of(keys).ok_or_else(unsigned)?;
        post.signed(&keys, SystemTime::from(clock.now())).map_err(|error| match error {
            Unsigned::Unfit => unsigned(),
            Unsigned::Http(error) => error.into(),
        })
    }
}
