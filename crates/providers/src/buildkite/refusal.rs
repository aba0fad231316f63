//! Refusals of the token exchange.

use crate::call::Refusal;
use crate::oauth::refusal as of_oauth;
use dataflow_config::oauth::Grant;
use dataflow_host::http::StatusCode;

/// A refusal of the token exchange, in the words of this block.
pub(super) fn explain(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = of_oauth::explain(Grant::PrivateKeyJwt, status, body);
    let hint = match refusal.code.as_str() {
        "invalid_request" => "`subject` must be an active member whose email address is verified",
        "invalid_scope" => "the application, or the `subject`, may not have all of these `scopes`",
        "invalid_target" => "the application does not belong to this `organization`",
        _ => return refusal,
    };
    Refusal { hint: Some(hint.into()), ..refusal }
}
