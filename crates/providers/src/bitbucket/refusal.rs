//! Refusals of Cloud and of Data Center.

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use crate::oauth::refusal::{explain, plain};
use dataflow_config::oauth::Grant;
use dataflow_host::http::StatusCode;

/// A refusal of Cloud, in RFC 6749's words; it calls a wrong secret `unauthorized_client`.
pub(super) fn of_consumer(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = explain(Grant::ClientCredentials, status, body);
    if !["unauthorized_client", "invalid_client", "invalid_grant"].contains(&refusal.code.as_str()) {
        return refusal;
    }
    let hint = "the consumer's `key` and `secret` must belong together, and the consumer must be private";
    Refusal { hint: Some(hint.into()), remedy: Remedy::Stop, ..refusal }
}

/// A refusal of Data Center: `{errors: [{message, exceptionName}]}`.
pub(super) fn of_data_center(status: StatusCode, body: &[u8]) -> Refusal {
    let by_status = Refusal::by_status(status);
    let tree = Tree::of(body);
    let message = tree.text(&["/errors/0/message", "/message"]).map(plain).unwrap_or_default();
    let name = tree.text(&["/errors/0/exceptionName"]);
    let name = name.and_then(|name| name.rsplit('.').next()).map(plain);
    let says = |words: &str| message.to_lowercase().contains(words);
    let (remedy, hint) = match status {
        StatusCode::UNAUTHORIZED if says("captcha") => (
            Remedy::Stop,
            Some(
                "`admin-user` must log in once by a browser: too many logins failed, and it asks for a CAPTCHA",
            ),
        ),
        StatusCode::BAD_REQUEST if says("expir") => {
            (Remedy::Stop, Some("the server allows tokens fewer days: give less `expiry-days`"))
        }
        StatusCode::UNAUTHORIZED => (
            Remedy::Stop,
            Some("`admin` must be a password or an OAuth token: an HTTP access token makes no tokens"),
        ),
        StatusCode::FORBIDDEN => {
            (Remedy::Stop, Some("`admin` must administer the project or the repository"))
        }
        StatusCode::NOT_FOUND => {
            (Remedy::Stop, Some("there is no such project or repository, or `admin` does not see it"))
        }
        _ => (by_status.remedy, None),
    };
    Refusal { code: name.unwrap_or(by_status.code), message, remedy, hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_center_names_its_exceptions() {
        let body = br#"{"errors":[{"context":null,"message":"No such project","exceptionName":"com.atlassian.bitbucket.project.NoSuchProjectException"}]}"#;
        let refused = of_data_center(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (refused.code.as_str(), refused.message.as_str()),
            ("NoSuchProjectException", "No such project")
        );
        assert_eq!(of_data_center(StatusCode::BAD_GATEWAY, b"<html>").remedy, Remedy::Wait);
    }
}
