//! Domain-wide delegation: a service account's assertion for a user of a Google Workspace (RFC 7523).
//!
//! The service account's key stays with Google, which signs (`signJwt`).

use serde_json::json;
use url::Url;

use super::exchange::{Granted, delegates, exchanged, leg};
use super::{Federation, no_url, refusal};
use crate::call::{Refusal, Remedy, TIMEOUT, call};
use crate::{Context, Error};
use dataflow_config::gcp::ServiceAccount;
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_policy as policy;
use dataflow_types::secret::Secret;

/// Where an assertion is exchanged, and whom it is for.
const TOKEN: &str = "https://oauth2.googleapis.com/token";

/// The longest life of an assertion, and of what comes of it, in seconds.
const LONGEST: i64 = 3600;

impl Federation<'_> {
    pub(super) async fn delegated(
        &self,
        subject: &str,
        account: &ServiceAccount,
        bearer: &Secret,
        context: &Context<'_>,
    ) -> Result<Granted, Error> {
        let assertion = self.assertion(subject, account, bearer, context).await;
        let assertion = assertion.map_err(leg("signature of an assertion for the user", false))?;
        let answer = self.on_behalf(&assertion, context).await;
        answer.map_err(leg("exchange of an assertion for the user", false))
    }

    async fn assertion(
        &self,
        subject: &str,
        account: &ServiceAccount,
        bearer: &Secret,
        context: &Context<'_>,
    ) -> Result<Secret, Error> {
        let now = context.clock.now().timestamp();
        let life = i64::try_from(policy::duration(self.gcp, context.host).as_secs()).unwrap_or(LONGEST);
        let claims = json!({
            "iss": account.as_str(), "sub": subject, "aud": TOKEN, "scope": self.gcp.scopes.join(" "),
            "iat": now, "exp": now + life.min(LONGEST),
        });
        let body = json!({ "payload": claims.to_string(), "delegates": delegates(self.gcp) });
        let answer = self.ask(account, "signJwt", &body, bearer, context).await?;
        let signed = answer.fields()?.token("/signedJwt")?.usable()?;
        context.mask.add(&signed);
        Ok(signed)
    }

    async fn on_behalf(&self, assertion: &Secret, context: &Context<'_>) -> Result<Granted, Error> {
        let url = Url::parse(TOKEN).map_err(|_| no_url("oauth2"))?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", assertion.expose())
            .finish();
        let answer = call(context, explain, async |_| {
            let request =
                Request::new(Method::POST, url.clone(), TIMEOUT).header("accept", "application/json")?;
            Ok(request.body("application/x-www-form-urlencoded", form.clone().into_bytes()))
        });
        let answer = answer.await?;
        exchanged(&answer, context)
    }
}

/// The same words as at STS, and they mean something else here.
fn explain(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = refusal::explain(status, body);
    let hint = match refusal.code.as_str() {
        "unauthorized_client" => {
            "an administrator of the Workspace must allow the service account's client id these `scopes` (domain-wide delegation)"
        }
        "invalid_grant" => {
            "`subject` must be the email of a user of the Workspace, and the host's clock be right"
        }
        _ => return refusal,
    };
    Refusal { remedy: Remedy::Stop, hint: Some(hint.to_owned()), ..refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_oauth_mean_the_workspace_here() {
        let check = |error: &str, hint: &str| {
            let body = format!(r#"{{"error":"{error}","error_description":"said"}}"#);
            let refusal = explain(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!((refusal.remedy, refusal.code.as_str()), (Remedy::Stop, error));
            assert!(refusal.hint.unwrap_or_default().contains(hint), "{error}");
        };
        check("unauthorized_client", "domain-wide delegation");
        check("invalid_grant", "email of a user");
        check("invalid_scope", "Google does not know");
    }
}
