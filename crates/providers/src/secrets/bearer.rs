//! Google Secret Manager (API v1) and Azure Key Vault (API 7.4): one GET with a bearer token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::refusal;
use crate::call::{self, Answer, call};
use crate::value::Found;
use crate::{Context, Error};
use dataflow_config::secrets::{Secrets, Stored};
use dataflow_host::http::{Method, Request};
use dataflow_types::credential::Content;
use dataflow_types::secret::Secret;

/// Reads one version of Google's.
pub(super) async fn google(
    secrets: &Secrets,
    one: &Stored,
    url: Url,
    token: &Secret,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let version = one.version.as_ref().map_or_else(|| "latest".to_owned(), ToString::to_string);
    let url = below(url, &format!("v1/{}/versions/{version}:access", one.name));
    let answer = get(secrets, one, url, token, context).await?;
    let fields = answer.fields()?;
    // A value that is empty is left out, as JSON of a protobuf is written.
    let data = match fields.value(&["/payload/data"])? {
        None if !fields.has("/payload") => return Err(fields.lacks("/payload/data")),
        data => data,
    };
    let data = data.as_ref().map(Secret::expose).unwrap_or_default();
    decoded(data, &one.name)
}

/// Reads one version of Azure's.
pub(super) async fn azure(
    secrets: &Secrets,
    one: &Stored,
    url: Url,
    token: &Secret,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let version = one.version.as_ref().map(|version| format!("/{version}")).unwrap_or_default();
    let mut url = below(url, &format!("secrets/{}{version}", one.name));
    url.query_pairs_mut().append_pair("api-version", "7.4");
    let answer = get(secrets, one, url, token, context).await?;
    let fields = answer.fields()?;
    fields.value(&["/value"])?.map(Found::Text).ok_or_else(|| fields.lacks("/value"))
}

async fn get(
    secrets: &Secrets,
    one: &Stored,
    url: Url,
    token: &Secret,
    context: &Context<'_>,
) -> Result<Answer, Error> {
    let make = async |_| {
        let request = Request::new(Method::GET, url.clone(), call::TIMEOUT);
        Ok(request.secret_header("authorization", "Bearer ", token)?)
    };
    call(context, |status, body| refusal::explain(status, body, secrets, one), make).await
}

/// The address with a path after its own; names are checked to hold nothing that would lead elsewhere.
fn below(mut url: Url, path: &str) -> Url {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// What Base64 holds: a text, or bytes that are none.
pub(super) fn decoded(encoded: &str, name: &str) -> Result<Found, Error> {
    let bytes = STANDARD.decode(encoded);
    let bytes = bytes.map_err(|_| Error::Value { problem: format!("`{name}` holds no Base64") })?;
    Ok(match Content::of(bytes) {
        Content::Text(text) => Found::Text(text),
        bytes @ Content::Bytes(_) => Found::Bytes(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_after_the_address() {
        let url = Url::parse("https://team.vault.azure.net/").unwrap();
        assert_eq!(below(url, "secrets/a").as_str(), "https://team.vault.azure.net/secrets/a");
        let url = Url::parse("https://psc.example.test/base").unwrap();
        let path = "v1/projects/p/secrets/s/versions/latest:access";
        assert_eq!(below(url, path).as_str(), format!("https://psc.example.test/base/{path}"));
    }

    #[test]
    fn bytes_that_are_no_text_are_not_damaged() {
        assert!(
            matches!(decoded("aHVudGVyMg==", "x").unwrap(), Found::Text(text) if text.expose() == "hunter2")
        );
        let bytes = decoded("/////w==", "x").unwrap();
        assert!(matches!(bytes, Found::Bytes(bytes) if bytes.expose() == [255; 4]));
        assert_eq!(decoded("/", "x").unwrap_err().to_string(), "`x` holds no Base64");
    }
}
