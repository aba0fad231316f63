//! Errors of OAuth 2.0, by what to do about each (RFC 6749, section 5.2, and those that add codes).

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
pub(crate) use crate::refusal::plain;
use dataflow_config::oauth::Grant;
use dataflow_host::http::StatusCode;

/// The error in a body: its code and its words.
pub(crate) fn code_and_words(body: &[u8]) -> Option<(String, String)> {
    let tree = Tree::of(body);
    let code = tree.text(&["/error", "/error/code", "/error/status", "/errorCode"])?;
    let words = tree.text(&["/error_description", "/error/message", "/message", "/errorSummary"]);
    Some((plain(code), plain(words.unwrap_or_default())))
}

/// What a refusal of a token endpoint means for a grant.
pub(crate) fn explain(grant: Grant, status: StatusCode, body: &[u8]) -> Refusal {
    let Some((code, message)) = code_and_words(body) else { return Refusal::by_status(status) };
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
        let read = |body: &str| code_and_words(body.as_bytes()).unwrap();
        for body in [
            r#"{"error":"invalid_client","error_description":null}"#,
            r#"{"error":"invalid_client","error_description":7,"error_uri":null}"#,
            r#"{"error":"invalid_client","error":"invalid_client"}"#,
        ] {
            assert_eq!(read(body), ("invalid_client".to_owned(), String::new()), "{body}");
        }
        let nested = read(r#"{"error":{"code":"invalid_client","message":"no"},"message":null}"#);
        assert_eq!(nested, ("invalid_client".to_owned(), "no".to_owned()));
        assert_eq!(code_and_words(br#"{"error":null}"#), None);
    }
}
