//! The exchange: an assertion of the application for a token.

use super::{API, API_URL, ASSERTION_LIFE, ApiToken, EXCHANGE, refusal};
use crate::call::{TIMEOUT, call};
use crate::door::Token;
use crate::oauth::wire::{Client, Form};
use crate::signer::Signer;
use crate::{Context, Error};
use dataflow_config::credential::Kind as _;
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Material, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use url::Url;

impl ApiToken<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
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
        let answer = call(context, refusal::explain, make).await?;
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
