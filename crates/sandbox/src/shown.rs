//! What a request shows in its `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::issuer::Issuer;
use dataflow_host::serve::Request;
use dataflow_types::claims::Claims;

/// What stands after the scheme; nothing where there is no such header, or another scheme.
pub(super) fn header<'a>(request: &'a Request, scheme: &str) -> &'a str {
    let header = request.headers.get("authorization").and_then(|header| header.to_str().ok());
    let (seen, rest) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
    if seen.eq_ignore_ascii_case(scheme) { rest } else { "" }
}

/// A user and a password, neither of them empty.
pub(super) fn basic(request: &Request) -> Option<(String, String)> {
    let both = String::from_utf8(STANDARD.decode(header(request, "Basic")).ok()?).ok()?;
    let (user, password) = both.split_once(':')?;
    (!user.is_empty() && !password.is_empty()).then(|| (user.to_owned(), password.to_owned()))
}

/// The claims of a job's token: its signature, its time, and one of its audiences as `fits` wants it.
pub(super) fn job(
    issuer: &Issuer,
    token: &str,
    now: i64,
    fits: impl Fn(&str) -> bool,
) -> Result<Claims, String> {
    let claims = issuer.verify(token).ok_or("the signature of the token is wrong")?;
    if claims.seconds("exp").is_none_or(|end| end <= now) {
        return Err("the token is expired".to_owned());
    }
    let audiences = claims.audiences();
    if audiences.iter().any(|audience| fits(audience)) {
        Ok(claims)
    } else {
        Err(format!("the audience of the token is {}", audiences.join(", ")))
    }
}
