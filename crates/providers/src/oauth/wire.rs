//! OAuth 2.0 on the wire: forms and clients (RFC 6749, 7009, 7523, 7662, 8693).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use dataflow_config::oauth::ClientAuth;
use dataflow_host::http::{self, Method, Request};
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_header_as_rfc_6749_writes_it() {
        let header = basic("a b", &Secret::new("p:w/%"));
        assert_eq!(STANDARD.decode(header.expose()).unwrap(), b"a+b:p%3Aw%2F%25");
    }
}
