//! OAuth 2.0 on the wire: forms, answers and errors (RFC 6749, 7009, 7523, 7662, 8693).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use dataflow_config::oauth::{ClientAuth, Grant};
use dataflow_host::http::{self, Method, Request, StatusCode};
use dataflow_types::secret::Secret;

/// What an assertion of a client is.
pub const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What comes before the last word of RFC 8693's token types.
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:";

/// How a client says who it is.
#[derive(Clone, Debug)]
pub enum Client {
    /// It does not, or by its name alone.
    Public(Option<String>),
    /// By its secret.
    Secret {
        /// Its name.
        id: String,
        /// Its secret.
        secret: Secret,
        /// Where they stand.
        auth: ClientAuth,
    },
    /// By an assertion.
    Assertion {
        /// Its name, where it has one beside the assertion's subject.
        id: Option<String>,
        /// The assertion.
        assertion: Secret,
    },
}

/// A form that is about to be sent.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, Secret)>);

impl Form {
    /// Adds a field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), Secret::new(value)));
    }

    /// Adds a field for each value.
    pub fn set_all<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a String>) {
        for value in values {
            self.set(name, value);
        }
    }

    /// The request that sends it.
    pub fn request(
        mut self,
        url: &Url,
        client: &Client,
        timeout: std::time::Duration,
    ) -> Result<Request, http::Error> {
        let request =
            Request::new(Method::POST, url.clone(), timeout).header("accept", "application/json")?;
        let request = match client {
            Client::Public(id) => {
                self.set_all("client_id", id);
                request
            }
            Client::Secret { id, secret, auth: ClientAuth::Post } => {
                self.set("client_id", id);
                self.set("client_secret", secret.expose());
                request
            }
            Client::Secret { id, secret, auth: ClientAuth::Basic } => {
                request.secret_header("authorization", "Basic ", &basic(id, secret))?
            }
            Client::Assertion { id, assertion } => {
                self.set_all("client_id", id);
                self.set("client_assertion_type", ASSERTION);
                self.set("client_assertion", assertion.expose());
                request
            }
        };
        let mut form = Serializer::new(String::new());
        form.extend_pairs(self.0.iter().map(|(name, value)| (name, value.expose())));
        Ok(request.body("application/x-www-form-urlencoded", form.finish().into_bytes()))
    }
}

/// Both parts are encoded as in a form first (RFC 6749, section 2.3.1).
pub fn basic(id: &str, secret: &Secret) -> Secret {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    Secret::new(STANDARD.encode(both.as_bytes()))
}

/// A token type as RFC 8693 writes it.
pub fn token_type(word: &str) -> String {
    if word.contains(':') { word.to_owned() } else { format!("{TOKEN_TYPE}{word}") }
}

/// The error that a body tells, in a code and words.
pub fn told(body: &[u8]) -> Option<(String, String)> {
    let told = Tree::of(body);
    let code = told.text(&["/error", "/error/code", "/error/status", "/errorCode"])?;
    let words = told.text(&["/error_description", "/error/message", "/message", "/errorSummary"]);
    Some((plain(code), plain(words.unwrap_or_default())))
}

/// A server's words, short, in one line, and without anything that could be a token it repeats.
pub fn plain(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.len() > 60 { "[…]" } else { word });
    let line: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    line.chars().take(300).collect()
}

/// What a refusal of a token endpoint means for a grant.
pub fn explain(grant: Grant, status: StatusCode, body: &[u8]) -> Refusal {
    let Some((code, message)) = told(body) else { return Refusal::by_status(status) };
    let late = message.contains("expired") || message.contains("not yet valid");
    let jobs = grant.sends_the_jobs_token();
    let (remedy, hint) = match code.as_str() {
        "temporarily_unavailable" | "server_error" | "slow_down" => (Remedy::Wait, None),
        "invalid_grant" | "invalid_client" if jobs && late => (Remedy::FreshToken, Some(TRUST)),
        // What Ory's servers say of a token that they saw before: another one of this job they did not.
        "jti_known" if jobs => (Remedy::FreshToken, Some("the server takes each token of a job once")),
        // RFC 8693, section 2.2.2: so is a subject token refused that is invalid or not believed.
        "invalid_request" if grant == Grant::TokenExchange => (Remedy::OtherToken, Some(EXCHANGE)),
        // zitadel/oidc has this code for a job's token that it does not believe.
        "invalid_request" if jobs && message.contains("assertion") => (Remedy::OtherToken, Some(TRUST)),
        "invalid_grant" if jobs => (Remedy::OtherToken, Some(TRUST)),
        "invalid_client" if grant == Grant::ClientAssertion => (Remedy::OtherToken, Some(TRUST)),
        "invalid_client" if grant == Grant::PrivateKeyJwt => (Remedy::Stop, Some(KEY)),
        "invalid_client" => (Remedy::Stop, Some(CLIENT)),
        "invalid_target" => {
            (Remedy::Stop, Some("the server gives no token for this `audience` or `resource`"))
        }
        "invalid_scope" => (Remedy::Stop, Some("the server does not give this client this `scope`")),
        "unauthorized_client" => (Remedy::Stop, Some("the server does not allow this client this `grant`")),
        "unsupported_grant_type" => (Remedy::Stop, Some("the server does not know this `grant`")),
        "access_denied" => (Remedy::Stop, Some("the server's own policy refused it")),
        _ => (Refusal::by_status(status).remedy, None),
    };
    Refusal { code, message, remedy, hint: hint.map(str::to_owned) }
}

const TRUST: &str = "the server must believe this `iss`, and its rule for it must match this `aud` and `sub`";
const EXCHANGE: &str = "the form lacks something, or the server does not believe this `iss`, `aud` and `sub`";
const CLIENT: &str =
    "the server does not know this `client-id` with this secret, or wants the other `client-auth`";
const KEY: &str = "the server does not know this `client-id` with this key and `key-id`, or the host's clock is off, or the assertion must be for the `token-endpoint`: name it in place of the `issuer`";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(grant: Grant, body: &str, remedy: Remedy) -> Refusal {
        let refusal = explain(grant, StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(refusal.remedy, remedy, "{body}");
        refusal
    }

    #[test]
    fn each_code_says_what_is_to_be_done() {
        let code = |code: &str| format!(r#"{{"error":"{code}"}}"#);
        for busy in ["temporarily_unavailable", "server_error"] {
            check(Grant::TokenExchange, &code(busy), Remedy::Wait);
        }
        for stops in [
            "invalid_target",
            "invalid_scope",
            "unauthorized_client",
            "unsupported_grant_type",
            "access_denied",
        ] {
            assert!(check(Grant::TokenExchange, &code(stops), Remedy::Stop).hint.is_some(), "{stops}");
        }
        check(Grant::JwtBearer, &code("jti_known"), Remedy::FreshToken);
        check(Grant::TokenExchange, &code("invalid_request"), Remedy::OtherToken);
        check(Grant::JwtBearer, &code("invalid_request"), Remedy::Stop);
        let unbelieved = r#"{"error":"invalid_request","error_description":"assertion invalid"}"#;
        check(Grant::JwtBearer, unbelieved, Remedy::OtherToken);
        check(Grant::JwtBearer, &code("invalid_grant"), Remedy::OtherToken);
        check(Grant::ClientAssertion, &code("invalid_client"), Remedy::OtherToken);
        check(Grant::ClientCredentials, &code("invalid_client"), Remedy::Stop);
        let late = r#"{"error":"invalid_grant","error_description":"assertion has expired"}"#;
        check(Grant::JwtBearer, late, Remedy::FreshToken);
    }

    #[test]
    fn what_is_no_error_of_oauth_is_known_by_its_status() {
        assert_eq!(check(Grant::JwtBearer, "<html>", Remedy::Stop).code, "400");
        assert_eq!(explain(Grant::JwtBearer, StatusCode::BAD_GATEWAY, b"").remedy, Remedy::Wait);
    }

    #[test]
    fn a_token_that_a_server_repeats_is_not_repeated_here() {
        let body = format!(
            r#"{{"error":"invalid_grant","error_description":"bad token {}\nhere"}}"#,
            "x".repeat(99)
        );
        assert_eq!(check(Grant::JwtBearer, &body, Remedy::OtherToken).message, "bad token […] here");
    }

    #[test]
    fn an_error_is_read_whatever_else_a_server_says_or_leaves_out() {
        let read = |body: &str| told(body.as_bytes()).unwrap();
        for body in [
            r#"{"error":"invalid_client","error_description":null}"#,
            r#"{"error":"invalid_client","error_description":7,"error_uri":null}"#,
            r#"{"error":"invalid_client","error":"invalid_client"}"#,
        ] {
            assert_eq!(read(body), ("invalid_client".to_owned(), String::new()), "{body}");
        }
        let nested = read(r#"{"error":{"code":"invalid_client","message":"no"},"message":null}"#);
        assert_eq!(nested, ("invalid_client".to_owned(), "no".to_owned()));
        assert_eq!(told(br#"{"error":null}"#), None);
    }

    #[test]
    fn a_client_is_known_by_its_header_as_rfc_6749_writes_it() {
        let header = basic("a b", &Secret::new("p:w/%"));
        assert_eq!(STANDARD.decode(header.expose()).unwrap(), b"a+b:p%3Aw%2F%25");
    }
}
