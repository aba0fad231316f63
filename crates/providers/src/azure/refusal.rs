//! Entra's refusals: OAuth's form (RFC 6749, 5.2) with a number in front of the description, `AADSTS70021: …`.

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use dataflow_host::http::StatusCode;

/// The longest part of Entra's words that is told, in characters.
const MAX_MESSAGE: usize = 400;

/// What a refusal means.
pub(super) fn explain(status: StatusCode, body: &[u8]) -> Refusal {
    let known = Refusal::by_status(status);
    let body = Tree::of(body);
    let Some(error) = body.text(&["/error", "/error/code"]) else { return known };
    let description = body.text(&["/error_description", "/error/message"]).unwrap_or_default();
    // What follows tells a support engineer which request it was, and nobody else anything.
    let said = description.split(" Trace ID:").next().unwrap_or_default();
    let number = said.split_once(':').filter(|(number, _)| is_number(number));
    let (code, message) = number.unwrap_or((error, said));
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let (remedy, hint) = meaning(code).unwrap_or((of_word(error, known.remedy), None));
    Refusal {
        code: code.to_owned(),
        message: line.chars().take(MAX_MESSAGE).collect(),
        remedy,
        hint: hint.map(str::to_owned),
    }
}

fn is_number(text: &str) -> bool {
    text.strip_prefix("AADSTS").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn of_word(error: &str, by_status: Remedy) -> Remedy {
    match error {
        "temporarily_unavailable" => Remedy::Wait,
        "invalid_client" | "invalid_grant" => Remedy::OtherToken,
        _ => by_status,
    }
}

/// The numbers of "Microsoft Entra authentication and authorization error codes" that a federated credential meets.
fn meaning(code: &str) -> Option<(Remedy, Option<&'static str>)> {
    let (remedy, hint) = match code.strip_prefix("AADSTS")? {
        "70021" | "700213" | "7002137" => (Remedy::OtherToken, NO_RECORD),
        "7002138" => {
            (Remedy::OtherToken, "the federated credential's subject differs in upper and lower case")
        }
        "700211" => {
            (Remedy::OtherToken, "no federated credential of this application has this `iss`, to the letter")
        }
        "700212" => (
            Remedy::OtherToken,
            "no federated credential of this application has this `aud`; each cloud has one of its own",
        ),
        "700024" => (
            Remedy::FreshToken,
            "the token was not within its time: is the host's clock right, or `token.lifetime` too short?",
        ),
        "50013" | "700027" | "7000272" => (
            Remedy::OtherToken,
            "Entra could not check the signature: it must reach the issuer's keys, and the token must be the issuer's",
        ),
        "700016" | "7000229" => {
            (Remedy::Stop, "`client-id` is no application of this tenant: compare both, and the `cloud`")
        }
        "90002" | "900023" => (Remedy::Stop, "`tenant-id` is no tenant of this `cloud`"),
        "7000215" | "7000222" => {
            (Remedy::Stop, "Entra wanted a client secret: the application has no federated credential")
        }
        "7000112" => (Remedy::Stop, "the application is disabled"),
        "53003" => (Remedy::Stop, "a Conditional Access policy for workload identities says no"),
        "500011" | "70011" | "1002012" | "650057" => (
            Remedy::Stop,
            "the scope names a resource that this tenant does not know; it ends in `/.default`",
        ),
        "90033" | "90055" | "50196" | "90006" => return Some((Remedy::Wait, None)),
        _ => return None,
    };
    Some((remedy, Some(hint)))
}

const NO_RECORD: &str = "a federated credential of the application must have exactly this `iss`, `sub` and `aud`; \
     `sub` is the claim that `token.subject-claim` names; a new one takes some minutes";

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &str, description: &str) -> String {
        let description =
            format!("{description} Trace ID: t-1 Correlation ID: c-1 Timestamp: 2026-01-01 00:00:00Z");
        serde_json::json!({"error": error, "error_description": description, "error_codes": [1]}).to_string()
    }

    #[track_caller]
    fn means(code: &str, remedy: Remedy, hint: &str) {
        let body = body("invalid_client", &format!("{code}: In Entra's words."));
        let refusal = explain(StatusCode::UNAUTHORIZED, body.as_bytes());
        assert_eq!((refusal.code.as_str(), refusal.remedy), (code, remedy));
        assert_eq!(refusal.message, "In Entra's words.");
        assert!(refusal.hint.unwrap_or_default().contains(hint), "{code}");
    }

    #[test]
    fn each_number_has_its_cause() {
        means("AADSTS70021", Remedy::OtherToken, "exactly this `iss`, `sub` and `aud`");
        means("AADSTS700213", Remedy::OtherToken, "exactly this");
        means("AADSTS7002138", Remedy::OtherToken, "upper and lower case");
        means("AADSTS700211", Remedy::OtherToken, "this `iss`");
        means("AADSTS700212", Remedy::OtherToken, "this `aud`");
        means("AADSTS700024", Remedy::FreshToken, "clock");
        means("AADSTS50013", Remedy::OtherToken, "signature");
        means("AADSTS700016", Remedy::Stop, "no application of this tenant");
        means("AADSTS90002", Remedy::Stop, "no tenant");
        means("AADSTS7000215", Remedy::Stop, "no federated credential");
        means("AADSTS500011", Remedy::Stop, "/.default");
        means("AADSTS90033", Remedy::Wait, "");
    }

    #[test]
    fn a_number_that_is_not_known_is_told_as_it_is() {
        means("AADSTS123456", Remedy::OtherToken, "");
        let refusal = explain(StatusCode::BAD_REQUEST, body("invalid_request", "no number").as_bytes());
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("invalid_request", "no number"));
        let busy = explain(StatusCode::SERVICE_UNAVAILABLE, body("temporarily_unavailable", "").as_bytes());
        assert_eq!(busy.remedy, Remedy::Wait);
    }

    #[test]
    fn a_page_is_known_by_its_status_alone() {
        let refusal = explain(StatusCode::BAD_GATEWAY, b"<html>Bad Gateway</html>");
        assert_eq!(refusal, Refusal::by_status(StatusCode::BAD_GATEWAY));
    }
}
