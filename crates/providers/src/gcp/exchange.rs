//! The exchange: a federated token, and a service account's where one is named.

use super::{Federation, HOUR, file, no_url, refusal};
use crate::answer::own_end;
use crate::call::{Answer, TIMEOUT, call};
use crate::door::Ends;
use crate::token::Minted;
use crate::{Context, Error};
use chrono::{DateTime, Utc};
use dataflow_config::gcp::{CLOUD_PLATFORM, Gcp, IdToken, ServiceAccount};
use dataflow_host::http::{Method, Request};
use dataflow_types::claims::SubjectToken;
use dataflow_types::credential::Credential;
use dataflow_types::secret::Secret;
use serde_json::{Value, json};

/// A token that Google gave.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) ends: DateTime<Utc>,
    pub(super) lost: bool,
}

/// Everything that one exchange gave.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) subject: Minted,
    pub(super) access: Granted,
    pub(super) id: Option<Granted>,
    pub(super) source: Value,
    pub(super) lost: bool,
}

impl Federation<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let gcp = self.gcp;
        // Before anything is asked for: afterwards there would be tokens that no process holds.
        let source = file::source(gcp, self.name, context)?;
        let federated = self.federated(context).await.map_err(leg("exchange at STS", false))?;
        context.mask.add(&federated.token);
        let mut lost = federated.lost;
        let (mut access, mut id) = (federated, None);
        if let Some(account) = &gcp.service_account {
            let impersonated = if let Some(subject) = &gcp.subject {
                self.delegated(subject, account, &access.token, context).await
            } else {
                let answer = self.impersonated(account, &access.token, context).await;
                answer.map_err(leg("impersonation for an access token", false))
            };
            // The federated token lives on, and no process holds it.
            let until = access.ends;
            let on_the_way = |error| Error::OnTheWay { until, source: Box::new(error) };
            let impersonated = impersonated.map_err(on_the_way)?;
            if let Some(wanted) = &gcp.id_token {
                let answer = self.id_token(wanted, account, &access.token, context).await;
                id = Some(answer.map_err(leg("impersonation for an ID token", true))?);
            }
            access = impersonated;
        }
        lost |= access.lost || id.as_ref().is_some_and(|id| id.lost);
        // The one that was exchanged: it is kept, unless a fresh one had to be asked for.
        let subject = context.subject()?.last();
        self.hand_over(Made { subject, access, id, source, lost }, context)
    }
}

pub(super) fn leg(name: &'static str, made: bool) -> impl FnOnce(Error) -> Error {
    move |error| Error::Leg { name: name.to_owned(), made, source: Box::new(error) }
}

impl Federation<'_> {
    async fn federated(&self, context: &Context<'_>) -> Result<Granted, Error> {
        let gcp = self.gcp;
        let subject = context.subject()?;
        let answer = call(context, refusal::explain, async |fresh| {
            let token = subject.take(fresh).await?;
            self.exchange_request(&token, gcp)
        });
        let answer = answer.await?;
        exchanged(&answer, context)
    }

    fn exchange_request(&self, token: &SubjectToken, gcp: &Gcp) -> Result<Request, Error> {
        // What the service account may do follows from its own scopes, not from those of the first token.
        let scope =
            if gcp.service_account.is_some() { CLOUD_PLATFORM.to_owned() } else { gcp.scopes.join(" ") };
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
            .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
            .append_pair("audience", &gcp.audience())
            .append_pair("scope", &scope)
            .append_pair("subject_token", token.expose())
            .finish();
        let url = gcp.sts().and_then(|sts| sts.join("v1/token")).map_err(|_| no_url("STS"))?;
        let request = Request::new(Method::POST, url, TIMEOUT).header("accept", "application/json")?;
        Ok(self.with_reason(request)?.body("application/x-www-form-urlencoded", form.into_bytes()))
    }

    pub(super) async fn impersonated(
        &self,
        account: &ServiceAccount,
        bearer: &Secret,
        context: &Context<'_>,
    ) -> Result<Granted, Error> {
        let gcp = self.gcp;
        let body = json!({
            "scope": gcp.scopes,
            "lifetime": format!("{}s", dataflow_policy::duration(gcp, context.host).as_secs()),
            "delegates": delegates(gcp),
        });
        let answer = self.ask(account, "generateAccessToken", &body, bearer, context).await?;
        let fields = answer.fields()?;
        let token = fields.token("/accessToken")?;
        let usual = dataflow_policy::duration(gcp, context.host);
        let ends = fields.ends_at(&["/expireTime"], &token, usual, context.clock.now());
        Ok(Granted { token: token.usable()?, ends: ends.usable()?, lost: answer.lost })
    }

    pub(super) async fn id_token(
        &self,
        wanted: &IdToken,
        account: &ServiceAccount,
        bearer: &Secret,
        context: &Context<'_>,
    ) -> Result<Granted, Error> {
        let gcp = self.gcp;
        let body = json!({
            "audience": wanted.audience, "includeEmail": wanted.include_email, "delegates": delegates(gcp),
        });
        let answer = self.ask(account, "generateIdToken", &body, bearer, context).await?;
        let token = answer.fields()?.token("/token")?.usable()?;
        let end = own_end(&token).ok_or_else(|| answer.malformed("answered an ID token that is none"))?;
        let ends = Ends::checked(end, HOUR, context.clock.now(), &answer.host).usable()?;
        Ok(Granted { token, ends, lost: answer.lost })
    }

    pub(super) async fn ask(
        &self,
        account: &ServiceAccount,
        method: &str,
        body: &Value,
        bearer: &Secret,
        context: &Context<'_>,
    ) -> Result<Answer, Error> {
        let gcp = self.gcp;
        let path = format!("v1/projects/-/serviceAccounts/{account}:{method}");
        let url =
            gcp.credentials().and_then(|host| host.join(&path)).map_err(|_| no_url("iamcredentials"))?;
        call(context, refusal::explain, async |_| {
            let request = Request::new(Method::POST, url.clone(), TIMEOUT)
                .header("accept", "application/json")?
                .secret_header("authorization", "Bearer ", bearer)?;
            Ok(self.with_reason(request)?.body("application/json", body.to_string().into_bytes()))
        })
        .await
    }

    pub(super) fn with_reason(&self, request: Request) -> Result<Request, Error> {
        match &self.gcp.request_reason {
            Some(reason) => Ok(request.header("x-goog-request-reason", reason)?),
            None => Ok(request),
        }
    }
}

/// What a token endpoint of Google's answered.
pub(super) fn exchanged(answer: &Answer, context: &Context<'_>) -> Result<Granted, Error> {
    let fields = answer.fields()?;
    let token = fields.token("/access_token")?;
    let ends = fields.ends_in("/expires_in", &token, HOUR, context.clock.now());
    Ok(Granted { token: token.usable()?, ends: ends.usable()?, lost: answer.lost })
}

/// As iamcredentials wants to see them.
pub(super) fn delegates(gcp: &Gcp) -> Vec<String> {
    gcp.delegates.iter().map(|account| format!("projects/-/serviceAccounts/{account}")).collect()
}
