//! The exchange: the client credentials of a consumer, or a token that an administrator makes.

use super::{AccessToken, CLOUD, CLOUD_LIFE, TOKEN_URL, refusal};
use crate::call::{CallError, TIMEOUT, call};
use crate::door::{Token, edge, of_token};
use crate::oauth::wire::{Client, Form};
use crate::{Context, Error};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use dataflow_config::bitbucket::{Consumer, DataCenter};
use dataflow_config::credential::Kind as _;
use dataflow_config::oauth::ClientAuth;
use dataflow_host::http::{Method, Request};
use dataflow_types::credential::{Credential, Material, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use url::Url;
use zeroize::Zeroizing;

/// What one of the two gave.
struct Made {
    token: Token,
    handle: String,
    expires_at: DateTime<Utc>,
    settle_with: SettleWith,
    lost: bool,
}

impl AccessToken<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
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
    let answer =
        call(context, refusal::of_consumer, make).await.map_err(|error| match edge(secret.expose()) {
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
    let answer = call(context, refusal::of_data_center, make).await?;
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
        // A token cannot delete itself: the user who made it does.
        settle_with: SettleWith::Handle { secret: admin, detail },
        lost: answer.lost,
    })
}

/// The value of the `Authorization` header of the user who makes tokens.
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
