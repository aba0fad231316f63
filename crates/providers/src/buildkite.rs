//! Buildkite: a scoped API token by its own token exchange, deleted at the end.

use std::collections::BTreeMap;

use serde_json::json;
use url::Url;

use super::call::{Refusal, TIMEOUT, call};
use super::door::Token;
use super::oauth::wire::{Client, Form, explain};
use super::signer::Signer;
use super::{Context, Error, Provider, SettleContext, giving_back};
use dataflow_config::buildkite::Buildkite;
use dataflow_config::credential::Kind as _;
use dataflow_config::oauth::Grant;
use dataflow_host::http::StatusCode;
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Material, SettleWith, Value, Variable};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Secret;
use dataflow_types::settlement::Settlement;

/// The provider's name in configurations and records.
pub const NAME: &str = "buildkite";

/// Where tokens are exchanged, and the audience of an assertion wherever it is sent.
const EXCHANGE: &str = "https://buildkite.com/oauth/token";
const API: &str = "https://api.buildkite.com";
/// What a lease keeps to be settled.
const API_URL: &str = "api-url";
/// How long an assertion lives, in seconds: at most 300.
const ASSERTION_LIFE: i64 = 240;

/// One application's token.
#[derive(Debug)]
pub struct ApiToken<'a>(pub &'a Buildkite);

impl Provider for ApiToken<'_> {
    async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let asked = self.0;
        let signer = Signer::of(&asked.private_key, context).await?;
        let url = asked.endpoint.clone().or_else(|| Url::parse(EXCHANGE).ok());
        let url = url.ok_or_else(|| Error::Source("endpoint".into()))?;
        let life = policy::duration(asked, context.host);
        let make = |_| async {
            // An assertion is good once: each try has its own.
            let assertion = self.assertion(&signer, context).await?;
            let client = Client::Assertion { id: None, assertion };
            Ok(self.form(life.as_secs()).request(&url, &client, TIMEOUT)?)
        };
        let answer = call(context, refusal, make).await?;
        let fields = answer.fields()?;
        let token = fields.token("/access_token")?;
        let ends = fields.ends_in("/expires_in", &token, life, context.clock.now());
        let Token { secret: token, flaw } = token;
        let api = asked.api_url.as_ref().map_or_else(|| API.to_owned(), ToString::to_string);
        let value = Value::Secret(token.clone());
        Ok(Credential {
            variables: asked.variable().map(|name| Variable { name, value }).into_iter().collect(),
            files: Vec::new(),
            material: Material::Token(token.clone()),
            expires_at: ends.at,
            principal: asked.target(),
            handle: token.fingerprint().handle(),
            settle_with: SettleWith::Handle {
                secret: token,
                detail: BTreeMap::from([(API_URL.to_owned(), api)]),
            },
            answer_lost: answer.lost,
            flaw: flaw.or(ends.flaw),
        })
    }

    async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
        let api = lease.detail.get(API_URL);
        let url =
            api.and_then(|api| Url::parse(&format!("{}/v2/access-token", api.trim_end_matches('/'))).ok());
        giving_back::delete_itself(lease, context, url, "application/json").await
    }
}

impl ApiToken<'_> {
    fn form(&self, life: u64) -> Form {
        let asked = self.0;
        let kind = if asked.subject.contains('@') { "user-email" } else { "user-uuid" };
        let mut form = Form::default();
        form.set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
        form.set("subject_token", &asked.subject);
        form.set("subject_token_type", &format!("urn:buildkite:params:oauth:token-type:{kind}"));
        form.set("audience", &asked.organization);
        form.set("scope", &asked.scopes.0.join(" "));
        form.set("expires_in", &life.to_string());
        form
    }

    async fn assertion(&self, signer: &Signer<'_>, context: &Context<'_>) -> Result<Secret, Error> {
        let now = context.clock.now().timestamp();
        let id = &self.0.client_id;
        let jti = uuid::Uuid::new_v4().to_string();
        let claims = json!({
            "iss": id, "sub": id, "aud": EXCHANGE, "iat": now, "exp": now + ASSERTION_LIFE, "jti": jti,
        });
        signer.sign(Some(&self.0.key_id), &claims, context).await
    }
}

/// A refusal of the token exchange, in the words of this block.
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let refusal = explain(Grant::PrivateKeyJwt, status, body);
    let hint = match refusal.code.as_str() {
        "invalid_request" => "`subject` must be an active member whose email address is verified",
        "invalid_scope" => "the application, or the `subject`, may not have all of these `scopes`",
        "invalid_target" => "the application does not belong to this `organization`",
        _ => return refusal,
    };
    Refusal { hint: Some(hint.into()), ..refusal }
}
