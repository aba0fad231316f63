//! Bitbucket: Cloud by an OAuth consumer, Data Center by an HTTP access token that is made for the step.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::call::{CallError, Refusal, Remedy, TIMEOUT, call};
use super::door::{Token, edge, of_token};
use super::json::Tree;
use super::oauth::wire::{Client, Form, explain, plain};
use super::{Context, Error, Provider, SettleContext, giving_back};
use dataflow_config::bitbucket::{Bitbucket, Consumer, DataCenter};
use dataflow_config::credential::Kind as _;
use dataflow_config::oauth::{ClientAuth, Grant};
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_types::credential::{Credential, Material, SettleWith, Value, Variable};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Secret;
use dataflow_types::settlement::Settlement;
use dataflow_types::span::Span;

/// The provider's name in configurations and records.
pub const NAME: &str = "bitbucket";

const CLOUD: &str = "https://bitbucket.org/site/oauth2/access_token";
/// How long Cloud's tokens live where it does not say.
const CLOUD_LIFE: Span = Span(Duration::from_hours(2));
/// What a lease keeps to be settled.
const TOKEN_URL: &str = "token-url";

/// A token of Bitbucket.
#[derive(Debug)]
pub struct AccessToken<'a>(pub &'a Bitbucket);

/// What one of the two gave.
struct Made {
    token: Token,
    handle: String,
    expires_at: DateTime<Utc>,
    settle_with: SettleWith,
    lost: bool,
}

impl Provider for AccessToken<'_> {
    async fn exchange(&self, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let made = match (&self.0.consumer, &self.0.data_center) {
            (Some(consumer), _) => cloud(consumer, context).await?,
            (None, Some(center)) => data_center(center, session, context).await?,
            (None, None) => return Err(Error::Source("consumer".into())),
        };
        let value = Value::Secret(made.token.secret.clone());
        Ok(Credential {
            variables: self.0.variable().map(|name| Variable { name, value }).into_iter().collect(),
            files: Vec::new(),
            material: Material::Token(made.token.secret),
            expires_at: made.expires_at,
            principal: self.0.target(),
            handle: made.handle,
            settle_with: made.settle_with,
            answer_lost: made.lost,
            flaw: made.token.flaw,
        })
    }

    async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
        if lease.expires_at <= context.clock.now() {
            return Settlement::AlreadyExpired { at: lease.expires_at };
        }
        let url = lease.detail.get(TOKEN_URL).and_then(|url| Url::parse(url).ok());
        let (Some(admin), Some(url)) = (&lease.handle, url) else {
            return lease.without_a_way_back();
        };
        let make = || {
            Request::new(Method::DELETE, url.clone(), giving_back::TIMEOUT).secret_header(
                "authorization",
                "",
                admin,
            )
        };
        let gone = [StatusCode::NOT_FOUND];
        giving_back::outcome(giving_back::send(context, make).await, &gone, &url, lease, context)
    }
}

async fn cloud(consumer: &Consumer, context: &Context<'_>) -> Result<Made, Error> {
    let url = Url::parse(CLOUD).map_err(|_| Error::Source("consumer".into()))?;
    let secret = context.sources.field(&consumer.secret).await?;
    let client = Client::Secret { id: consumer.key.clone(), secret: secret.clone(), auth: ClientAuth::Basic };
    let make = |_| async {
        let mut form = Form::default();
        form.set("grant_type", "client_credentials");
        Ok(form.request(&url, &client, TIMEOUT)?)
    };
    let answer = call(context, of_consumer, make).await.map_err(|error| match edge(secret.expose()) {
        Some(what) if matches!(&error, Error::Call(CallError::Refused { .. })) => error.hinted(format!(
            "the consumer's secret `{}.{}` {what}: store it without",
            consumer.secret.source, consumer.secret.field
        )),
        _ => error,
    })?;
    let fields = answer.fields()?;
    let token = fields.token("/access_token")?;
    let ends = fields.ends_in("/expires_in", &token, CLOUD_LIFE, context.clock.now());
    Ok(Made {
        handle: token.secret.fingerprint().handle(),
        expires_at: ends.at,
        token: Token { flaw: token.flaw.or(ends.flaw), ..token },
        // No endpoint takes such a token back.
        settle_with: SettleWith::Nothing,
        lost: answer.lost,
    })
}

async fn data_center(center: &DataCenter, session: &str, context: &Context<'_>) -> Result<Made, Error> {
    let admin = admin(center, context).await?;
    let repository = center.repository.as_ref().map(|slug| format!("/repos/{slug}")).unwrap_or_default();
    let base = center.url.as_str().trim_end_matches('/');
    let url = format!("{base}/rest/access-tokens/latest/projects/{}{repository}", center.project);
    let url = Url::parse(&url).map_err(|_| Error::Source("data-center".into()))?;
    let days = center.expiry_days.unwrap_or(1);
    let usual = vec!["REPO_READ".to_owned()];
    let permissions = if center.permissions.0.is_empty() { &usual } else { &center.permissions.0 };
    let body =
        json!({ "name": format!("buildkite job {session}"), "permissions": permissions, "expiryDays": days });
    let make = |_| async {
        let request = Request::new(Method::PUT, url.clone(), TIMEOUT).header("accept", "application/json")?;
        let request = request.secret_header("authorization", "", &admin)?;
        Ok(request.body("application/json", body.to_string().into_bytes()))
    };
    let answer = call(context, refusal, make).await?;
    let fields = answer.fields()?;
    let token = fields.token("/token")?;
    let number = fields.number("/id").map(|id| id.to_string());
    let id = number.or_else(|| fields.text(&["/id"]).map(str::to_owned)).unwrap_or_default();
    let plain_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain_id {
        return Err(answer.malformed("answered a token without an id"));
    }
    let detail = BTreeMap::from([(TOKEN_URL.to_owned(), format!("{url}/{id}"))]);
    Ok(Made {
        token,
        handle: id,
        expires_at: context.clock.now() + TimeDelta::days(i64::from(days)),
        // A token cannot delete itself: whoever made it does.
        settle_with: SettleWith::Handle { secret: admin, detail },
        lost: answer.lost,
    })
}

/// The value of the `Authorization` header of whoever makes tokens.
async fn admin(center: &DataCenter, context: &Context<'_>) -> Result<Secret, Error> {
    let secret = context.sources.field(&center.admin).await?;
    if let Some(user) = &center.admin_user {
        let both = Zeroizing::new(format!("{user}:{}", secret.expose()));
        return Ok(Secret::new(format!("Basic {}", STANDARD.encode(both.as_bytes()))));
    }
    // A password is encoded; this is sent as it is.
    if let Some(problem) = edge(secret.expose()).or_else(|| of_token(secret.expose())) {
        let (name, field) = (center.admin.source.clone(), center.admin.field.clone());
        return Err(Error::OddField { name, field, problem });
    }
    Ok(Secret::new(format!("Bearer {}", secret.expose())))
}

/// A refusal of Cloud, in RFC 6749's words; it calls a wrong secret `unauthorized_client`.
fn of_consumer(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = explain(Grant::ClientCredentials, status, body);
    if !["unauthorized_client", "invalid_client", "invalid_grant"].contains(&refusal.code.as_str()) {
        return refusal;
    }
    let hint = "the consumer's `key` and `secret` must belong together, and the consumer must be private";
    Refusal { hint: Some(hint.into()), remedy: Remedy::Stop, ..refusal }
}

/// A refusal of Data Center: `{errors: [{message, exceptionName}]}`.
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let by_status = Refusal::by_status(status);
    let told = Tree::of(body);
    let message = told.text(&["/errors/0/message", "/message"]).map(plain).unwrap_or_default();
    let name = told.text(&["/errors/0/exceptionName"]);
    let name = name.and_then(|name| name.rsplit('.').next()).map(plain);
    let says = |words: &str| message.to_lowercase().contains(words);
    let (remedy, hint) = match status {
        StatusCode::UNAUTHORIZED if says("captcha") => (
            Remedy::Stop,
            Some(
                "`admin-user` must log in once by a browser: too many logins failed, and it asks for a CAPTCHA",
            ),
        ),
        StatusCode::BAD_REQUEST if says("expir") => {
            (Remedy::Stop, Some("the server allows tokens fewer days: give less `expiry-days`"))
        }
        StatusCode::UNAUTHORIZED => (
            Remedy::Stop,
            Some("`admin` must be a password or an OAuth token: an HTTP access token makes no tokens"),
        ),
        StatusCode::FORBIDDEN => {
            (Remedy::Stop, Some("`admin` must administer the project or the repository"))
        }
        StatusCode::NOT_FOUND => {
            (Remedy::Stop, Some("there is no such project or repository, or `admin` does not see it"))
        }
        _ => (by_status.remedy, None),
    };
    Refusal { code: name.unwrap_or(by_status.code), message, remedy, hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_center_names_its_exceptions() {
        let body = br#"{"errors":[{"context":null,"message":"No such project","exceptionName":"com.atlassian.bitbucket.project.NoSuchProjectException"}]}"#;
        let refused = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (refused.code.as_str(), refused.message.as_str()),
            ("NoSuchProjectException", "No such project")
        );
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").remedy, Remedy::Wait);
    }
}
