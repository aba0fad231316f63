//! What GitHub, an octo-sts and a chinmina-bridge say instead of a token.

use crate::config::github::Via;
use crate::host::http::StatusCode;
use crate::provider::call::{Refusal, Remedy};
use crate::provider::json::Tree;
use crate::provider::oauth::wire::plain;

fn by_status(status: StatusCode, body: &[u8]) -> Refusal {
    // GitHub and octo-sts say `message`, a bridge says `error`, and some say both.
    let told = Tree::of(body);
    let words = told.text(&["/message", "/error_description", "/error", "/error/message"]);
    Refusal { message: words.map(plain).unwrap_or_default(), ..Refusal::by_status(status) }
}

/// A refusal of GitHub's REST API.
pub(super) fn of_api(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = by_status(status, body);
    let limited = refusal.message.to_lowercase().contains("rate limit");
    let (remedy, hint) = match status {
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS if limited => (Remedy::Wait, None),
        StatusCode::UNAUTHORIZED => (
            Remedy::Stop,
            Some("`app-id` and `private-key` must belong together, and the host's clock be right"),
        ),
        StatusCode::FORBIDDEN => {
            (Remedy::Stop, Some("the installation is suspended, or the app may not do this"))
        }
        StatusCode::NOT_FOUND => {
            (Remedy::Stop, Some("the app is not installed there, or there is no such repository"))
        }
        StatusCode::UNPROCESSABLE_ENTITY => {
            (Remedy::Stop, Some("the installation has not all of these `repositories` and `permissions`"))
        }
        _ => (refusal.remedy, None),
    };
    Refusal { remedy, hint: hint.map(str::to_owned), ..refusal }
}

/// A refusal of a broker, which judges the job's token.
pub(super) fn of_broker(via: Via, status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = by_status(status, body);
    let policy = match via {
        Via::OctoSts => {
            "`.github/chainguard/IDENTITY.sts.yaml` in `scope` must allow this `iss`, `aud` and `sub`"
        }
        Via::Chinmina | Via::App => {
            "the bridge must know this issuer and audience, and the profile match these claims"
        }
    };
    let (remedy, hint) = match status {
        StatusCode::UNAUTHORIZED if refusal.message.contains("expired") => (Remedy::FreshToken, Some(policy)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Remedy::OtherToken, Some(policy)),
        StatusCode::NOT_FOUND => {
            (Remedy::Stop, Some("there is no such policy or profile, or the app is not installed there"))
        }
        _ => (refusal.remedy, None),
    };
    Refusal { remedy, hint: hint.map(str::to_owned), ..refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_waited_for_and_a_suspension_is_not() {
        let check = |message: &str| {
            let body = format!(r#"{{"message":"{message}","documentation_url":"x"}}"#);
            of_api(StatusCode::FORBIDDEN, body.as_bytes()).remedy
        };
        assert_eq!(check("API rate limit exceeded for installation"), Remedy::Wait);
        assert_eq!(check("This installation has been suspended"), Remedy::Stop);
    }

    #[test]
    fn brokers_say_why_in_words_of_their_own() {
        let octo = of_broker(
            Via::OctoSts,
            StatusCode::FORBIDDEN,
            br#"{"code":7,"message":"no match","details":[]}"#,
        );
        assert_eq!((octo.message.as_str(), octo.remedy), ("no match", Remedy::OtherToken));
        let bridge = of_broker(Via::Chinmina, StatusCode::NOT_FOUND, br#"{"error":"Not Found"}"#);
        assert_eq!((bridge.message.as_str(), bridge.remedy), ("Not Found", Remedy::Stop));
    }
}
