//! Minting with the app's own key: an assertion, the installation's number, the token.

use serde_json::{Map, Value, json};
use url::Url;

use super::{Installation, join, refusal};
use crate::call::{Answer, CallError, TIMEOUT, call};
use crate::signer::Signer;
use crate::{Context, Error};
use dataflow_config::github::GitHub;
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_types::secret::Secret;

/// Before now, for a clock that is ahead of GitHub's; and the end, at most ten minutes after that.
const TIMES: (i64, i64) = (-60, 540);

/// A token, narrowed to what the step asks for.
pub(super) async fn mint(installation: &Installation<'_>, context: &Context<'_>) -> Result<Answer, Error> {
    let Installation(github) = installation;
    let assertion = assertion(github, context).await?;
    let api = installation.api();
    let found = find(github, &api, &assertion, context).await;
    let found = found.map_err(|error| Error::Beforehand(Box::new(error)))?;
    let url = join(&api, &format!("/app/installations/{found}/access_tokens"))
        .map_err(|_| Error::Source("api-url".into()))?;
    let body = narrowed(github).to_string();
    let make = |_| async {
        let request = request(Method::POST, &url, &assertion)?;
        Ok(request.body("application/json", body.clone().into_bytes()))
    };
    call(context, refusal::of_api, make).await
}

async fn assertion(github: &GitHub, context: &Context<'_>) -> Result<Secret, Error> {
    let (Some(field), Some(id)) = (&github.private_key, &github.app_id) else {
        return Err(Error::Source("private-key".into()));
    };
    let signer = Signer::of(field, context).await?;
    let now = context.clock.now().timestamp();
    let (before, after) = TIMES;
    let claims = json!({ "iat": now + before, "exp": now + after, "iss": id.to_string() });
    signer.sign(None, &claims, context).await
}

/// The installation's number: by repository, or by organization and then by user.
async fn find(github: &GitHub, api: &str, assertion: &Secret, context: &Context<'_>) -> Result<u64, Error> {
    let owner = github.owner_name().unwrap_or_default();
    let first = github.repositories.0.first().map(|name| name.rsplit('/').next().unwrap_or(name));
    let paths = match first {
        Some(name) => vec![format!("/repos/{owner}/{name}/installation")],
        None => vec![format!("/orgs/{owner}/installation"), format!("/users/{owner}/installation")],
    };
    let mut last = Error::Source("owner".into());
    for path in paths {
        let url = join(api, &path).map_err(|_| Error::Source("api-url".into()))?;
        let make = |_| async { Ok(request(Method::GET, &url, assertion)?) };
        match call(context, refusal::of_api, make).await {
            Ok(answer) => {
                let fields = answer.fields()?;
                return fields.number("/id").ok_or_else(|| fields.lacks("/id"));
            }
            Err(error) if is_not_found(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Call(CallError::Refused { status, .. }) if *status == StatusCode::NOT_FOUND)
}

fn request(method: Method, url: &Url, assertion: &Secret) -> Result<Request, dataflow_host::http::Error> {
    Request::new(method, url.clone(), TIMEOUT).header("accept", "application/vnd.github+json")?.secret_header(
        "authorization",
        "Bearer ",
        assertion,
    )
}

/// What the token is narrowed to; nothing where all of the installation's is asked for.
fn narrowed(github: &GitHub) -> Value {
    let mut body = Map::new();
    if !github.repositories.0.is_empty() {
        let names = github.repositories.0.iter().map(|name| name.rsplit('/').next().unwrap_or(name));
        body.insert("repositories".into(), json!(names.collect::<Vec<_>>()));
    }
    if !github.permissions.is_empty() {
        let words = github.permissions.iter().map(|(name, access)| (name.clone(), json!(access.word())));
        body.insert("permissions".into(), Value::Object(words.collect()));
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_narrowed_to_names_without_their_owner() {
        let yaml = "app-id: 7\nrepositories: [acme/web, api]\npermissions: {contents: read, issues: write}";
        let body = narrowed(&serde_yaml::from_str(yaml).unwrap());
        let permissions = json!({"contents": "read", "issues": "write"});
        assert_eq!(body, json!({"repositories": ["web", "api"], "permissions": permissions}));
        assert_eq!(narrowed(&serde_yaml::from_str("owner: acme").unwrap()), json!({}));
    }
}
