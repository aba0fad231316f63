//! Subject tokens and the claims inside them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::secret::{Fingerprint, Secret};

/// A JSON Web Token that says who runs (RFC 8693's `subject_token`); a bearer token until it expires.
#[derive(Clone, Debug)]
pub struct SubjectToken(Secret);

impl SubjectToken {
    /// Takes a token as the issuer or its messenger gave it.
    pub fn new(token: Secret) -> Self {
        Self(token)
    }

    /// Lends the token to the one request that carries it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The token as a secret, for the redactor.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What the record holds instead of the token.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    /// Reads the payload **without checking the signature**: for messages and for choosing keys only.
    pub fn unverified_claims(&self) -> Result<Claims, Malformed> {
        let mut parts = self.expose().split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Parts);
        };
        let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Malformed::Base64)?;
        serde_json::from_slice(&bytes).map(Claims).map_err(|_| Malformed::Json)
    }
}

/// Why a token is no JSON Web Token in compact form (RFC 7519).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not three parts.
    #[error("not a token of three parts separated by dots")]
    Parts,
    /// The payload is not base64url.
    #[error("the token's second part is not base64url")]
    Base64,
    /// The payload is no JSON object.
    #[error("the token's payload is not a JSON object")]
    Json,
}

/// The claims of one token, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Takes claims that were read or made elsewhere.
    pub fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// All claims.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A claim as text: strings as they are, numbers and booleans as JSON writes them, `null` as nothing.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            scalar => Some(scalar.to_string()),
        }
    }

    /// A claim in seconds since 1970 (RFC 7519's `NumericDate`).
    pub fn seconds(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// The audiences, which a token may give as one string or as a list.
    pub fn audiences(&self) -> Vec<String> {
        match self.0.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Claims {
    /// Who the token says it is for and about: `iss`, `aud` and `sub`, none of them secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |name| self.text(name).unwrap_or_else(|| "(none)".into());
        write!(
            f,
            "iss `{}`  aud `{}`  sub `{}`",
            or_none("iss"),
            self.audiences().join("`, `"),
            or_none("sub")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(payload: &str) -> SubjectToken {
        SubjectToken::new(Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))))
    }

    #[test]
    fn claims_are_read_without_a_key() {
        let claims = token(r#"{"sub":"organization:acme","build_number":7,"step_key":null}"#);
        let claims = claims.unverified_claims().unwrap();
        assert_eq!(claims.text("sub").unwrap(), "organization:acme");
        assert_eq!(claims.text("build_number").unwrap(), "7");
        assert_eq!(claims.text("step_key"), None);
    }

    #[test]
    fn an_audience_may_be_one_or_many() {
        assert_eq!(token(r#"{"aud":"a"}"#).unverified_claims().unwrap().audiences(), ["a"]);
        assert_eq!(token(r#"{"aud":["a","b"]}"#).unverified_claims().unwrap().audiences(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_part_that_is_wrong() {
        let check = |text: &str, expected| {
            assert_eq!(SubjectToken::new(Secret::new(text)).unverified_claims(), Err(expected));
        };
        check("only.two", Malformed::Parts);
        check("a.b.c.d", Malformed::Parts);
        check("a.%%.c", Malformed::Base64);
        check("a.e30x.c", Malformed::Json);
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert!(!format!("{:?}", token("{}")).contains("e30"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            drop(SubjectToken::new(Secret::new(text)).unverified_claims());
        }
    }
}
