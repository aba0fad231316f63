//! Revoking a login that somebody else holds, by the accessor that its record names.

use serde_json::json;
use url::Url;

use super::{JSON, Place, error};
use crate::host::http::{Method, Response, StatusCode};
use crate::provider::Settling;
use crate::provider::giving_back::send;
use crate::secret::{Mask, Secret};

/// The path that an operator's policy must allow `update` on.
pub const PATH: &str = "auth/token/revoke-accessor";

/// What became of a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Vault revoked it, and what came of it.
    Revoked,
    /// Vault does not know it after a try whose answer was lost.
    Inferred,
    /// Vault knows no login by this accessor: it has ended, or is of another namespace or server.
    Unknown(String),
    /// It lives on, for this reason.
    Not(String),
}

/// Has the Vault at `address` revoke a login.
pub async fn revoke(
    (address, namespace): (&Url, Option<&str>),
    accessor: &str,
    operator: &Secret,
    context: &Settling<'_>,
) -> Outcome {
    let place = Place { address: address.clone(), namespace: namespace.map(str::to_owned) };
    let body = json!({ "accessor": accessor }).to_string();
    let make = || {
        let request = place.request(Method::POST, place.url(PATH))?;
        let request = request.secret_header("x-vault-token", "", operator)?;
        Ok(request.body(JSON, body.clone().into_bytes()))
    };
    match send(context, make).await {
        Ok(given) => match read(&given.response, operator) {
            Outcome::Unknown(_) if given.lost => Outcome::Inferred,
            outcome => outcome,
        },
        Err(reason) => Outcome::Not(reason),
    }
}

/// Vault and OpenBao answer 200 and a warning where they know no such accessor, older servers 400.
fn read(response: &Response, operator: &Secret) -> Outcome {
    let status = response.status;
    let mask = Mask::default();
    mask.add(operator);
    let said = error::words(mask.apply(&String::from_utf8_lossy(response.body.bytes())).as_bytes());
    let told = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let said = said.to_lowercase();
    let unknown = ["no token found", "invalid accessor", "token not found", "accessor not found"];
    match status {
        StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND
            if unknown.iter().any(|words| said.contains(words)) =>
        {
            Outcome::Unknown(told)
        }
        StatusCode::NO_CONTENT => Outcome::Revoked,
        // Whoever is no Vault answers 200 as well.
        StatusCode::OK
            if said.is_empty()
                && serde_json::from_slice::<serde_json::Value>(response.body.bytes()).is_ok() =>
        {
            Outcome::Revoked
        }
        _ => Outcome::Not(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::http::HeaderMap;

    #[test]
    fn each_answer_is_read_for_what_it_says() {
        let read = |status: u16, body: &str| {
            let (status, body) = (StatusCode::from_u16(status).unwrap(), body.as_bytes().to_vec().into());
            read(&Response { status, headers: HeaderMap::new(), body }, &Secret::new("hvs.the-operator"))
        };
        let unknown = |outcome| assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        let not = |outcome| assert!(matches!(outcome, Outcome::Not(_)), "{outcome:?}");
        assert_eq!(read(204, ""), Outcome::Revoked);
        assert_eq!(read(200, r#"{"data":null,"warnings":null}"#), Outcome::Revoked);
        unknown(read(200, r#"{"data":null,"warnings":["No token found with this accessor"]}"#));
        unknown(read(400, r#"{"errors":["invalid accessor"]}"#));
        unknown(read(404, r#"{"errors":["invalid accessor"]}"#));
        not(read(404, r#"{"errors":["no handler for route"]}"#));
        not(read(400, r#"{"errors":["missing accessor"]}"#));
        not(read(403, r#"{"errors":["permission denied"]}"#));
        not(read(200, "<html>"));
        not(read(503, r#"{"errors":["Vault is sealed"]}"#));
        let repeated = read(400, r#"{"errors":["hvs.the-operator is no good"]}"#);
        assert!(!format!("{repeated:?}").contains("hvs."));
    }
}
