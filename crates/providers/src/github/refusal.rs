//! What GitHub, an octo-sts and a chinmina-bridge say instead of a token.

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use crate::oauth::refusal::plain;
use dataflow_config::github::Via;
use dataflow_host::http::StatusCode;

fn by_status(status: StatusCode, body: &[u8]) -> Refusal {
    // GitHub and octo-sts say `message`, a bridge says `error`, and some say both.
    let told = Tree::of(body);
    let words = told.text(&["/message", "/error_description", "/error", "/error/message"]);
    Refusal { message: words.map(plain).unwrap_or_default(), ..Refusal::by_status(status) }
}

/// A refusal of GitHub's REST API.
pub(super) fn of_api(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = by_status(status, body);
    let said = refusal.message.to_lowercase();
    let says = |words: &str| said.contains(words);
    let limited = says("rate limit");
    let (remedy, hint) = match status {
        StatusCode::FORBIDDEN if says("ip allow list") => {
            (Remedy::Stop, Some("the organization's IP allow list must hold this host's address"))
        }
        StatusCode::FORBIDDEN if says("saml") => {
            (Remedy::Stop, Some("the organization's SAML enforcement must know the app"))
        }
        StatusCode::UNAUTHORIZED if says("'exp'") || says("'iat'") || says("expiration time") => {
            (Remedy::Stop, Some("the host's clock is off: GitHub takes assertions of at most 10 minutes"))
        }
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED if says("integration not found") => {
            (Remedy::Stop, Some("there is no app with this `app-id` at this `api-url`"))
        }
        StatusCode::UNPROCESSABLE_ENTITY if says("permission") => (
            Remedy::Stop,
            Some("the installation was not granted all of these `permissions`: an owner must accept them"),
        ),
        StatusCode::UNPROCESSABLE_ENTITY if says("repositor") => (
            Remedy::Stop,
            Some("the installation has not all of these `repositories`: look at its repository access"),
        ),
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
    fn what_github_says_is_told_by_its_cause() {
        let check = |status: u16, message: &str, hint: &str| {
            let body = format!(r#"{{"message":"{message}","errors":null}}"#);
            let refusal = of_api(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert!(refusal.hint.unwrap_or_default().contains(hint), "{message}");
        };
        check(
            403,
            "the `acme` organization has an IP allow list enabled, and your IP address is not permitted",
            "IP allow",
        );
        check(403, "Resource protected by organization SAML enforcement.", "SAML");
        check(401, "'Expiration time' claim ('exp') is too far in the future", "clock");
        check(404, "Integration not found", "`app-id`");
        check(422, "The permissions requested are not granted to this installation.", "`permissions`");
        check(422, "There is at least one repository that does not exist", "`repositories`");
        check(401, "A JSON web token could not be decoded", "belong together");
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
