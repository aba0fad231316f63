//! Endpoints: as the step names them, or as the issuer's metadata does (OpenID Connect Discovery, RFC 8414).

use url::Url;

use crate::call::{Answer, CallError, Refusal, Remedy, TIMEOUT, call};
use crate::{Context, Error};
use dataflow_config::address::is_safe;
use dataflow_config::oauth::{OAuth, name_of};
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_host::retry::{Backoff, Verdict};

/// Where a server takes what.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    /// The issuer's name, where it is known.
    pub(super) issuer: Option<String>,
    /// Tokens are asked for here.
    pub(super) token: Url,
    /// And given back here.
    pub(super) revocation: Option<Url>,
    /// And asked about here.
    pub(super) introspection: Option<Url>,
}

/// What is read of a server's metadata: nothing else in it, and no address that nobody needs, can break it.
struct Metadata {
    issuer: String,
    token_endpoint: Url,
    revocation_endpoint: Option<Url>,
    introspection_endpoint: Option<Url>,
}

impl Metadata {
    fn of(answer: &Answer) -> Result<Self, Error> {
        let fields = answer.fields()?;
        let url = |pointer| fields.text(&[pointer]).and_then(|text| Url::parse(text).ok());
        let issuer = fields.text(&["/issuer"]).ok_or_else(|| fields.lacks("/issuer"))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            token_endpoint: url("/token_endpoint").ok_or_else(|| fields.lacks("/token_endpoint"))?,
            revocation_endpoint: url("/revocation_endpoint"),
            introspection_endpoint: url("/introspection_endpoint"),
        })
    }
}

/// The endpoints of a server. What the step names goes before what the metadata says.
pub(super) async fn endpoints(oauth: &OAuth, context: &Context<'_>) -> Result<Endpoints, Error> {
    let named = |issuer, token: &Url| Endpoints {
        issuer,
        token: token.clone(),
        revocation: oauth.revocation_endpoint.clone(),
        introspection: oauth.introspection_endpoint.clone(),
    };
    let issuer = match (&oauth.issuer, &oauth.token_endpoint) {
        (Some(issuer), None) => issuer,
        (issuer, Some(token)) => return Ok(named(issuer.as_ref().map(name_of), token)),
        (None, None) => return Err(Error::Source("issuer".into())),
    };
    let found = metadata(issuer, context).await.map_err(|error| Error::Beforehand(Box::new(error)))?;
    let known = |url: &Url| {
        let allowed = context.host.endpoints.iter().any(|allowed| allowed.origin() == url.origin());
        is_safe(url) && (allowed || url.origin() == issuer.origin())
    };
    if !known(&found.token_endpoint) {
        let told = format!(
            "its metadata names a token endpoint at `{}`, which is neither the issuer's own host nor in \
             `endpoints` of the host config",
            found.token_endpoint.origin().ascii_serialization()
        );
        return Err(unfit(issuer.host_str().unwrap_or_default(), told));
    }
    let usable = |url: Option<Url>| url.filter(&known);
    let endpoints = named(Some(found.issuer), &found.token_endpoint);
    Ok(Endpoints {
        revocation: endpoints.revocation.or(usable(found.revocation_endpoint)),
        introspection: endpoints.introspection.or(usable(found.introspection_endpoint)),
        ..endpoints
    })
}

/// The first of the two documents that is one: many servers have but one of them, and say so in many ways.
async fn metadata(issuer: &Url, context: &Context<'_>) -> Result<Metadata, Error> {
    let base = name_of(issuer);
    let base = base.trim_end_matches('/');
    let documents = [format!("{base}/.well-known/openid-configuration"), rfc_8414(issuer)];
    // Not asked twice before the other was asked once: a server may answer 503 where it has nothing.
    let once = Context { backoff: Backoff { attempts: 1, ..context.backoff }, ..*context };
    let mut first = None;
    for url in &documents {
        match document(url, base, &once).await {
            Ok(found) => return Ok(found),
            Err(error) => first = first.or(Some((url, error))),
        }
    }
    match first {
        Some((url, error)) if is_worth_a_retry(&error) => document(url, base, context).await,
        Some((_, error)) => Err(error),
        None => Err(Error::Source("issuer".into())),
    }
}

async fn document(url: &str, base: &str, context: &Context<'_>) -> Result<Metadata, Error> {
    let answer = get(url, context).await?;
    let found = Metadata::of(&answer)?;
    if found.issuer.trim_end_matches('/') != base {
        let seen = super::refusal::plain(&found.issuer);
        return Err(unfit(&answer.host, format!("its metadata is of another issuer, `{seen}`")));
    }
    Ok(found)
}

/// The well-known path goes between the host and the issuer's own path.
fn rfc_8414(issuer: &Url) -> String {
    let (origin, path) = (issuer.origin().ascii_serialization(), issuer.path().trim_end_matches('/'));
    format!("{origin}/.well-known/oauth-authorization-server{path}")
}

async fn get(url: &str, context: &Context<'_>) -> Result<Answer, Error> {
    let make = |_| async {
        let url = Url::parse(url).map_err(|_| Error::Source("issuer".into()))?;
        Ok(Request::new(Method::GET, url, TIMEOUT).header("accept", "application/json")?)
    };
    call(context, |status, _| no_metadata(status), make).await
}

fn no_metadata(status: StatusCode) -> Refusal {
    let by_status = Refusal::by_status(status);
    let remedy = if by_status.remedy == Remedy::Wait { Remedy::Wait } else { Remedy::Stop };
    let hint = "the `issuer` has no metadata there: name the `token-endpoint`";
    Refusal { message: "to a request for its metadata".into(), remedy, hint: Some(hint.into()), ..by_status }
}

fn is_worth_a_retry(error: &Error) -> bool {
    let error = if let Error::AfterLoss(last) = error { last } else { error };
    matches!(error, Error::Call(error) if error.verdict() == Verdict::Again)
}

fn unfit(host: &str, message: String) -> Error {
    let refusal = Refusal {
        code: "unfit-metadata".into(),
        message,
        remedy: Remedy::Stop,
        hint: Some("name the `token-endpoint` itself; the host config must allow it".into()),
    };
    Error::Call(CallError::Refused { host: host.to_owned(), status: StatusCode::OK, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_stands_before_an_issuers_own() {
        let check = |issuer: &str, expected| assert_eq!(rfc_8414(&Url::parse(issuer).unwrap()), expected);
        check("https://a.test", "https://a.test/.well-known/oauth-authorization-server");
        check("https://a.test/realms/x/", "https://a.test/.well-known/oauth-authorization-server/realms/x");
    }
}
