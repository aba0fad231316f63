//! What AWS's JSON services (Secrets Manager, SSM, KMS) answer alike.

use serde_json::json;

use super::sts::Sts;
use dataflow_host::serve::{Request, Response};

/// An error, as AWS's JSON services tell one.
pub(super) fn refused(code: &str, message: &str) -> Response {
    let body = json!({"__type": code, "message": message}).to_string();
    Response::new(400, "application/x-amz-json-1.1", body)
}

/// The refusal of a request that no keys of this sandbox signed for this service.
pub(super) fn unsigned(sts: &Sts, request: &Request, service: &str) -> Option<Response> {
    let refusal = sts.signer(request, service).err()?;
    let code = match refusal.code {
        "InvalidClientTokenId" => "UnrecognizedClientException",
        "SignatureDoesNotMatch" => "InvalidSignatureException",
        "ExpiredToken" => "ExpiredTokenException",
        _ => "MissingAuthenticationTokenException",
    };
    Some(refused(code, &refusal.message))
}
