//! Google's refusals: OAuth's form at STS (RFC 6749, 5.2), Google's own (AIP-193) elsewhere and, before STS has
//! read the request, there too.

use crate::call::{Refusal, Remedy};
use crate::json::Tree;
use dataflow_host::http::StatusCode;

/// The longest part of Google's words that is told, in characters.
const MAX_MESSAGE: usize = 400;

/// What Google's own form says beside its code.
struct Said<'a> {
    message: &'a str,
    /// `ErrorInfo` among the details has a reason.
    reasons: Vec<&'a str>,
}

/// What a refusal means.
pub(super) fn explain(status: StatusCode, body: &[u8]) -> Refusal {
    let known = Refusal::by_status(status);
    let body = Tree::of(body);
    if let Some(error) = body.text(&["/error"]) {
        let message = body.text(&["/error_description"]).unwrap_or_default();
        let (remedy, hint) = of_sts(error, message).unwrap_or((known.remedy, None));
        return told(error.to_owned(), message, remedy, hint);
    }
    if body.first(&["/error"]).is_none() {
        return known;
    }
    let code = body.text(&["/error/status"]).unwrap_or(&known.code);
    let details = (0..).map_while(|at| body.first(&[&format!("/error/details/{at}")]));
    let reasons = details.filter_map(|detail| detail.get("reason")?.as_str()).collect();
    let said = Said { message: body.text(&["/error/message"]).unwrap_or_default(), reasons };
    let (remedy, hint) = of_api(code, &said, known.remedy);
    told(code.to_owned(), said.message, remedy, hint)
}

fn told(code: String, message: &str, remedy: Remedy, hint: Option<&str>) -> Refusal {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = line.chars().take(MAX_MESSAGE).collect();
    Refusal { code, message, remedy, hint: hint.map(str::to_owned) }
}

fn of_sts(code: &str, message: &str) -> Option<(Remedy, Option<&'static str>)> {
    let said = |words: &str| message.to_lowercase().contains(words);
    Some(match code {
        _ if said("127 bytes") => (Remedy::OtherToken, Some(SHORTER)),
        "invalid_grant" if said("stale") || said("expired") || said("not active") => (
            Remedy::FreshToken,
            Some("the token had ended before Google looked at it: is the host's clock right?"),
        ),
        "invalid_grant" if said("connecting") => (
            Remedy::Wait,
            Some("Google could not read the issuer's keys: the issuer must be reachable from outside"),
        ),
        "invalid_grant" if said("audience") => (
            Remedy::OtherToken,
            Some(
                "the provider's allowed audiences must name this `aud`, or be empty and the `aud` be its own name",
            ),
        ),
        "invalid_grant" if said("issuer") => {
            (Remedy::OtherToken, Some("the provider's issuer must be this `iss`, to the letter"))
        }
        "invalid_grant" => (Remedy::OtherToken, Some("the provider must believe this `iss` and `aud`")),
        "unauthorized_client" => (
            Remedy::OtherToken,
            Some("the provider's attribute condition must accept these claims; a change takes some minutes"),
        ),
        "invalid_target" => (
            Remedy::Stop,
            Some("pool or provider is not there, disabled or deleted: compare `provider` with its full name"),
        ),
        "invalid_request" if said("audience") => {
            (Remedy::Stop, Some("`provider` must be the full name, with the project's number"))
        }
        "invalid_scope" => (Remedy::Stop, Some("`scopes` names a scope that Google does not know")),
        _ => return None,
    })
}

/// What fits into 127 bytes.
const SHORTER: &str = "map something shorter, such as `google.subject=assertion.organization_slug + '/' + \
     assertion.pipeline_slug`, and the rest as attributes; or ask for `token: {subject-claim: pipeline_id}`";

fn of_api(code: &str, error: &Said<'_>, by_status: Remedy) -> (Remedy, Option<&'static str>) {
    let message = error.message;
    let reason = |wanted: &str| error.reasons.contains(&wanted);
    match code {
        "PERMISSION_DENIED" if reason("SERVICE_DISABLED") => (
            Remedy::Stop,
            Some("enable the API `iamcredentials.googleapis.com` in the project of the service account"),
        ),
        "PERMISSION_DENIED" if message.contains("getOpenIdToken") => (
            Remedy::Stop,
            Some(
                "the pool's identity needs `roles/iam.workloadIdentityUser` or `roles/iam.serviceAccountOpenIdTokenCreator` on the service account",
            ),
        ),
        "PERMISSION_DENIED" => (
            Remedy::Stop,
            Some(
                "the pool's identity needs `roles/iam.workloadIdentityUser` on the service account (each delegate: `roles/iam.serviceAccountTokenCreator` on the next); a new binding takes some minutes",
            ),
        ),
        "NOT_FOUND" => (Remedy::Stop, Some("there is no such service account: compare `service-account`")),
        "INVALID_ARGUMENT" if message.to_lowercase().contains("lifetime") => (
            Remedy::Stop,
            Some(
                "over 1h needs `constraints/iam.allowServiceAccountCredentialLifetimeExtension` for this service account",
            ),
        ),
        "UNAUTHENTICATED" => (
            Remedy::Stop,
            Some("the token of the first exchange was not accepted: are all endpoints of one universe?"),
        ),
        _ => (by_status, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn means(status: u16, body: &str, code: &str, remedy: Remedy, hint: &str) {
        let refusal = explain(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!((refusal.code.as_str(), refusal.remedy), (code, remedy), "{body}");
        assert!(refusal.hint.unwrap_or_default().contains(hint), "{body}");
    }

    #[test]
    fn each_word_of_sts_has_its_remedy() {
        let check = |error: &str, said: &str, remedy, hint: &str| {
            let body = format!(r#"{{"error":"{error}","error_description":"{said}"}}"#);
            means(400, &body, error, remedy, hint);
        };
        let size = "The size of mapped attribute google.subject exceeds the 127 bytes limit.";
        check("invalid_request", size, Remedy::OtherToken, "assertion.pipeline_slug");
        check("invalid_grant", "ID Token issued at 1 is stale to sign-in.", Remedy::FreshToken, "clock");
        check(
            "invalid_grant",
            "Error connecting to the given credential's issuer.",
            Remedy::Wait,
            "reachable",
        );
        check("invalid_grant", "The audience in ID Token [x] does not match", Remedy::OtherToken, "aud");
        check("invalid_grant", "The issuer in ID Token x does not match", Remedy::OtherToken, "iss");
        check("unauthorized_client", "rejected by the attribute condition", Remedy::OtherToken, "condition");
        check("invalid_target", "the provider is disabled", Remedy::Stop, "full name");
        check("invalid_request", "Invalid value for audience", Remedy::Stop, "number");
        check("something_new", "", Remedy::Stop, "");
    }

    #[test]
    fn each_status_of_iamcredentials_has_its_remedy() {
        let check = |status: u16, code: &str, said: &str, reason: &str, remedy, hint: &str| {
            let body = format!(
                r#"{{"error":{{"code":{status},"status":"{code}","message":"{said}","details":[{{"reason":"{reason}"}}]}}}}"#
            );
            means(status, &body, code, remedy, hint);
        };
        let denied = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource";
        check(
            403,
            "PERMISSION_DENIED",
            denied,
            "IAM_PERMISSION_DENIED",
            Remedy::Stop,
            "workloadIdentityUser",
        );
        check(403, "PERMISSION_DENIED", "not enabled", "SERVICE_DISABLED", Remedy::Stop, "enable the API");
        check(404, "NOT_FOUND", "Not found; Gaia id not found", "", Remedy::Stop, "no such service account");
        check(
            400,
            "INVALID_ARGUMENT",
            "The access token lifetime is too long",
            "",
            Remedy::Stop,
            "constraints/",
        );
        check(429, "RESOURCE_EXHAUSTED", "Quota exceeded", "", Remedy::Wait, "");
        check(503, "UNAVAILABLE", "later", "", Remedy::Wait, "");
    }

    #[test]
    fn a_page_is_known_by_its_status_alone() {
        let refusal = explain(StatusCode::BAD_GATEWAY, b"<html>Bad Gateway</html>");
        assert_eq!(refusal, Refusal::by_status(StatusCode::BAD_GATEWAY));
    }
}
