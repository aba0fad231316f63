//! The exchange: an installation's token, by the app or by a broker.

use super::{API, API_URL, HOUR, Installation, app, join, refusal};
use crate::call::{Answer, CallError, Refusal, Remedy, TIMEOUT, call};
use crate::door::Token;
use crate::{Context, Error};
use dataflow_config::credential::Kind as _;
use dataflow_config::github::{Domain, OCTO_STS, Via};
use dataflow_host::http::{Method, Request, StatusCode};
use dataflow_types::credential::{Credential, Material, SettleWith, Value, Variable};
use std::collections::BTreeMap;
use url::Url;

impl Installation<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let github = self.0;
        let answer = match github.via {
            Via::App => app::mint(self, context).await?,
            Via::OctoSts | Via::Chinmina => self.ask_broker(context).await?,
        };
        let fields = answer.fields()?;
        let token = fields.token("/token")?;
        // A chinmina-bridge calls the end `expiry`; an octo-sts may not say it.
        let ends = fields.ends_at(&["/expires_at", "/expiry"], &token, HOUR, context.clock.now());
        let Token { secret: token, flaw } = token;
        let detail = BTreeMap::from([(API_URL.to_owned(), self.api())]);
        let settle_with = match github.via {
            // The bridge keeps a token and lends it to other jobs too: taking it back would end theirs.
            Via::Chinmina => SettleWith::Nothing,
            Via::App | Via::OctoSts => SettleWith::Handle { secret: token.clone(), detail },
        };
        let value = Value::Secret(token.clone());
        let variables = github.variables().into_iter().map(|name| Variable { name, value: value.clone() });
        Ok(Credential {
            variables: variables.collect(),
            files: Vec::new(),
            expires_at: ends.at,
            principal: github.target(),
            handle: token.fingerprint().handle(),
            material: Material::Token(token),
            settle_with,
            answer_lost: answer.lost,
            flaw: flaw.or(ends.flaw),
        })
    }
}

impl Installation<'_> {
    pub(super) fn api(&self) -> String {
        self.0.api_url.as_ref().map_or_else(|| API.to_owned(), ToString::to_string)
    }

    async fn ask_broker(&self, context: &Context<'_>) -> Result<Answer, Error> {
        let url = self.broker()?;
        let github = self.0;
        let method = if github.via == Via::OctoSts { Method::GET } else { Method::POST };
        let make = |fresh: bool| {
            let (url, method) = (url.clone(), method.clone());
            async move {
                let token = context.subject()?.take(fresh).await?;
                let request = Request::new(method, url, TIMEOUT).header("accept", "application/json")?;
                Ok(request.secret_header("authorization", "Bearer ", token.secret())?)
            }
        };
        let answer = call(context, |status, body| refusal::of_broker(github.via, status, body), make).await?;
        if answer.bytes().is_empty() {
            // What a bridge answers where its profile is not for this pipeline's repository.
            let refusal = Refusal {
                code: "unmatched".into(),
                message: "no token for this pipeline".into(),
                remedy: Remedy::Stop,
                hint: Some("the bridge's profile does not cover the pipeline's repository".into()),
            };
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(CallError::Refused { host, status: StatusCode::NO_CONTENT, refusal }.into());
        }
        Ok(answer)
    }

    /// Where the broker is asked.
    fn broker(&self) -> Result<Url, Error> {
        let github = self.0;
        let broken = |_| Error::Source("url".into());
        if github.via == Via::OctoSts {
            let domain = github.domain.as_ref().map_or(OCTO_STS, |Domain { name, .. }| name.as_str());
            let mut url = Url::parse(&format!("https://{domain}/sts/exchange")).map_err(broken)?;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            url.query_pairs_mut()
                .append_pair("scope", &text(&github.scope))
                .append_pair("identity", &text(&github.identity));
            return Ok(url);
        }
        let base = github.url.as_ref().map(ToString::to_string).unwrap_or_default();
        let path = match github.profile().split_once(':') {
            Some(("org", name)) => format!("/organization/token/{name}"),
            Some(("pipeline", name)) if name != "default" => format!("/token/{name}"),
            _ => "/token".to_owned(),
        };
        join(&base, &path).map_err(broken)
    }
}
