//! Addresses of servers, and paths at them.

use url::Url;

/// Whether what is sent there cannot be read on the way: https, or this host itself.
pub fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// Refuses a URL to which a token must not be sent.
pub fn check_url(key: &str, url: &Url) -> Result<(), (String, String)> {
    let wrong = |problem: String| Err((key.to_owned(), problem));
    if !is_safe(url) {
        let origin = url.origin().ascii_serialization();
        return wrong(format!("expected an https URL, saw `{origin}`: a token would travel in clear"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("expected a URL without a user and a password".to_owned());
    }
    Ok(())
}

/// A path as it may stand in a URL of Vault's.
pub fn is_path(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.split('/').all(part) && !text.chars().any(|c| c.is_control() || "?#\\".contains(c))
}
