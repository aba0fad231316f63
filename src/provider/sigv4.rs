//! One call of an AWS service that speaks JSON 1.1, signed with Signature Version 4 by keys of the block.

use std::time::SystemTime;

use aws_sdk_sts::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use url::Url;

use super::{Error, call};
use crate::credential::Material;
use crate::host::Clock;
use crate::host::http::{Method, Request};
use crate::secret::Secret;

const JSON: &str = "application/x-amz-json-1.1";

/// What is asked, of whom.
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

type Header = (String, String, bool);

impl Call<'_> {
    /// The request, signed now.
    pub(super) fn request(&self, keys: &Material, clock: &Clock) -> Result<Request, Error> {
        let signed = self.signed(keys, SystemTime::from(clock.now()));
        let signed = signed.ok_or(Error::Value { problem: "the request cannot be signed".to_owned() })?;
        let request = Request::new(Method::POST, self.url.clone(), call::TIMEOUT);
        let request = signed.into_iter().try_fold(request, |request, (name, value, secret)| {
            if secret {
                request.secret_header(&name, "", &Secret::new(value))
            } else {
                request.header(&name, &value)
            }
        })?;
        Ok(request.body(JSON, self.body.as_bytes().to_vec()))
    }

    /// The headers of a request and its signature, each with whether it is a secret.
    fn signed(&self, keys: &Material, time: SystemTime) -> Option<Vec<Header>> {
        let Material::AwsKeys { access_key_id, secret_access_key, session_token } = keys else { return None };
        let token = Some(session_token.expose().to_owned());
        let keys = Credentials::new(access_key_id, secret_access_key.expose(), token, None, "lent");
        let identity = keys.into();
        let host = self.url.host_str()?;
        // What a route or a proxy sends on must still be what was signed.
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let sent = [("content-type", JSON), ("x-amz-target", self.target), ("host", host.as_str())];
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let body = SignableBody::Bytes(self.body.as_bytes());
        let request = SignableRequest::new("POST", self.url.as_str(), sent.into_iter(), body);
        let (instructions, _) = sign(request.ok()?, &params.into()).ok()?.into_parts();
        let (made, _) = instructions.into_parts();
        let made = made.iter().map(|header| {
            let secret = header.sensitive() || header.name() == "authorization";
            (header.name().to_owned(), header.value().to_owned(), secret)
        });
        let sent = sent.iter().skip(1).map(|(name, value)| ((*name).to_owned(), (*value).to_owned(), false));
        Some(sent.chain(made).collect())
    }
}
