//! The Buildkite agent, as seen from one of its hooks: the OIDC endpoint and the Job API.

pub mod job_api;
pub mod oidc;
pub mod protected;

/// What a server said about a refusal, fit to be shown: the named field of a JSON object, shortened.
fn said(body: &[u8], field: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = value.get(field)?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(300).collect())
}
