//! Redirects: the one rule for every provider. Followed are 307 and 308 alone (RFC 9110, section 15.4), which keep
//! method and body, within one origin or to one that the host config allows: anywhere else a token would go to a host
//! that nobody chose.

use ::http::{HeaderMap, StatusCode, header};
use url::{Origin, Url};

use super::error::Error;

/// How often one request may be sent on.
pub(super) const MOST: usize = 3;

/// Where an answer sends the request on to; `None` where it does not.
pub(super) fn next(
    status: StatusCode,
    headers: &HeaderMap,
    from: &Url,
    allowed: &[Origin],
) -> Result<Option<Url>, Error> {
    if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let named = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let target = named.and_then(|text| from.join(text).ok()).filter(Url::has_host);
    let keeps = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status);
    match target {
        Some(to) if keeps && is_allowed(&to, from, allowed) => Ok(Some(to)),
        to => Err(Error::Redirect {
            host: from.host_str().unwrap_or_default().to_owned(),
            status,
            to: to.as_ref().map(|to| format!(" to `{}`", place(to))).unwrap_or_default(),
            origin: to.filter(|_| keeps).map(|to| to.origin().ascii_serialization()),
        }),
    }
}

/// Nothing in the target may choose who asks.
fn is_allowed(to: &Url, from: &Url, allowed: &[Origin]) -> bool {
    let plain = to.username().is_empty() && to.password().is_none();
    plain && (to.origin() == from.origin() || allowed.contains(&to.origin()))
}

fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_on_where_the_host_config_allows_it_and_nowhere_else() {
        let url = |text: &str| Url::parse(text).unwrap();
        let from = url("https://vault.test:8200/v1/auth/jwt/login?a=b");
        let allowed = [url("https://active.test:8200").origin()];
        let check = |status: u16, location: &str| {
            let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            match next(StatusCode::from_u16(status).unwrap(), &headers, &from, &allowed) {
                Ok(to) => to.map(|to| to.to_string()).unwrap_or_default(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(check(307, "https://active.test:8200/v1/x"), "https://active.test:8200/v1/x");
        assert_eq!(check(308, "/v1/y"), "https://vault.test:8200/v1/y");
        assert_eq!(check(304, "https://evil.test"), "");
        assert_eq!(check(200, "https://evil.test"), "");
        for (status, location, to) in [
            (307, "https://evil.test/", " to `evil.test`"),
            (307, "https://active.test/v1", " to `active.test`"),
            (307, "http://active.test:8200/v1", " to `active.test:8200`"),
            (307, "https://u:p@active.test:8200/v1", " to `active.test:8200`"),
            (307, "//evil.test/v1", " to `evil.test`"),
            (307, "data:text/plain,x", ""),
            (302, "https://active.test:8200/v1/x", " to `active.test:8200`"),
        ] {
            let said = check(status, location);
            assert!(said.contains(&format!("a redirect{to}, which is not followed")), "{location}: {said}");
        }
    }
}
