//! The Buildkite agent, as seen from one of its hooks: the OIDC endpoint and the Job API.

pub mod job_api;
pub mod oidc;
pub mod protected;
pub mod token_request;

/// What a server said about a refusal: the named field of a JSON object, on one line.
fn said(body: &[u8], field: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = value.get(field)?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).collect())
}

/// The beginning of what a server said. A text that may repeat a secret is masked first: a part of a
/// secret would not be found again.
fn beginning(text: &str) -> String {
    text.chars().take(300).collect()
}
