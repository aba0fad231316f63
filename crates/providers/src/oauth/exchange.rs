//! The exchange: one request to the token endpoint, by the grant.

use super::discovery::Endpoints;
use super::wire::{Form, token_type};
use super::{ASSERTION_LIFE, Client, discovery, refusal, settle, wire};
use crate::call::{Answer, CallError, TIMEOUT, call};
use crate::door::{Token, edge, of_token};
use crate::signer::Signer;
use crate::{Context, Error};
use chrono::{DateTime, Utc};
use dataflow_config::credential::Kind as _;
use dataflow_config::oauth::Grant;
use dataflow_types::claims::SubjectToken;
use dataflow_types::credential::{Credential, Material, PrivateFile, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;
use futures_util::future::try_join_all;
use serde_json::json;

impl Client<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let endpoints = discovery::endpoints(self.0, context).await?;
        let signer = match &self.0.private_key {
            Some(key) => Some(Signer::of(key, context).await?),
            None => None,
        };
        let (answer, client) = self.ask(&endpoints, signer.as_ref(), context).await?;
        let fields = answer.fields()?;
        let token = fields.token("/access_token").map_err(|error| in_a_good_answer(&answer, error))?;
        let usual = dataflow_policy::duration(self.0, context.host);
        let ends = fields.ends_in("/expires_in", &token, usual, context.clock.now());
        let (Token { secret: token, flaw }, expires_at) = (token, ends.at);
        if fields.text(&["/issued_token_type"]).is_none() && self.0.grant == Grant::TokenExchange {
            tracing::warn!("the token endpoint does not say what type of token it gave, as RFC 8693 wants");
        }
        let clients = match &signer {
            // A key that is elsewhere signs no assertion that is not needed.
            Some(_) if endpoints.revocation.is_none() => Vec::new(),
            Some(signer) => self.assertions(signer, &endpoints, expires_at, context).await?,
            None => vec![client],
        };
        let settle_with = match self.0.grant {
            // The job's token is the client's authentication, and is kept nowhere.
            Grant::ClientAssertion => SettleWith::Nothing,
            _ => settle::settle_with(&token, &endpoints, &clients),
        };
        let (variables, files) = self.handed_over(&token, session, context);
        Ok(Credential {
            variables,
            files,
            expires_at,
            principal: self.0.target(),
            handle: handle(&token),
            material: Material::Token(token),
            settle_with,
            answer_lost: answer.lost,
            flaw: flaw.or(ends.flaw),
        })
    }
}

impl Client<'_> {
    /// Asks, with the second of two overlapping secrets where the first is not known any more, or not yet.
    async fn ask(
        &self,
        endpoints: &Endpoints,
        signer: Option<&Signer<'_>>,
        context: &Context<'_>,
    ) -> Result<(Answer, wire::Client), Error> {
        let mut clients = self.clients(endpoints, signer, context).await?.into_iter();
        let mut client = clients.next().unwrap_or(wire::Client::Public(self.0.client_id.clone()));
        loop {
            let answer = self.ask_as(&client, endpoints, context).await;
            match (answer, clients.next()) {
                (Ok(answer), _) => return Ok((answer, client)),
                (Err(error), Some(next)) if is_of_the_client(&error) => {
                    tracing::warn!("the newest client secret was refused: the one before it is used");
                    client = next;
                }
                (Err(error), None) if is_of_the_client(&error) => return Err(self.with_cause(error, &client)),
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// A secret that was stored with more than itself is refused in the words of one that is wrong.
    fn with_cause(&self, error: Error, client: &wire::Client) -> Error {
        let wire::Client::Secret { secret, .. } = client else { return error };
        let Some(what) = edge(secret.expose()) else { return error };
        let field = self.0.client_secret.0.last();
        let field = field.map(|field| format!("{}.{}", field.source, field.field)).unwrap_or_default();
        error.hinted(format!("the client secret `{field}` {what}: store it without"))
    }

    async fn ask_as(
        &self,
        client: &wire::Client,
        endpoints: &Endpoints,
        context: &Context<'_>,
    ) -> Result<Answer, Error> {
        let oauth = self.0;
        let make = |fresh: bool| async move {
            let (form, assertion) = self.form(fresh, context).await?;
            let id = || oauth.client_id.clone();
            let client = match assertion {
                Some(assertion) => wire::Client::Assertion { id: id(), assertion },
                None => client.clone(),
            };
            Ok(form.request(&endpoints.token, &client, TIMEOUT)?)
        };
        call(context, |status, body| refusal::explain(oauth.grant, status, body), make).await
    }

    /// The form, and the job's token where that authenticates the client.
    async fn form(&self, fresh: bool, context: &Context<'_>) -> Result<(Form, Option<Secret>), Error> {
        let oauth = self.0;
        let mut form = Form::default();
        let mut assertion = None;
        let token = match context.subject {
            Some(subject) => Some(subject.take(fresh).await?),
            None => None,
        };
        match (oauth.grant, token) {
            (Grant::TokenExchange, Some(token)) => {
                form.set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
                form.set("subject_token", token.expose());
                let kind = oauth.subject_token_type.as_deref().unwrap_or("jwt");
                form.set("subject_token_type", &token_type(kind));
                form.set_all("requested_token_type", &oauth.requested_token_type.as_deref().map(token_type));
            }
            (Grant::JwtBearer, Some(token)) => {
                form.set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.set("assertion", token.expose());
            }
            (_, token) => {
                form.set("grant_type", "client_credentials");
                assertion = token.map(|token| token.secret().clone());
            }
        }
        form.set_all("audience", &oauth.audience.0);
        form.set_all("resource", &oauth.resource.0);
        form.set_all("scope", &oauth.scope);
        for (name, value) in &oauth.form {
            form.set(name, value);
        }
        Ok((form, assertion))
    }

    /// The ways in which the client may say who it is, the best first.
    async fn clients(
        &self,
        endpoints: &Endpoints,
        signer: Option<&Signer<'_>>,
        context: &Context<'_>,
    ) -> Result<Vec<wire::Client>, Error> {
        let oauth = self.0;
        if let Some(signer) = signer {
            let until = context.clock.now() + ASSERTION_LIFE;
            return Ok(vec![self.assertion(signer, endpoints, until, context).await?]);
        }
        let Some(id) = &oauth.client_id else { return Ok(Vec::new()) };
        let mut clients = Vec::new();
        for field in &oauth.client_secret.0 {
            let secret = context.sources.field(field).await?;
            clients.push(wire::Client::Secret { id: id.clone(), secret, auth: oauth.client_auth });
        }
        Ok(clients)
    }

    /// The assertions for the requests of the settlement, for each is good once: the key itself is not kept.
    async fn assertions(
        &self,
        signer: &Signer<'_>,
        endpoints: &Endpoints,
        until: DateTime<Utc>,
        context: &Context<'_>,
    ) -> Result<Vec<wire::Client>, Error> {
        try_join_all((0..settle::ASSERTIONS).map(|_| self.assertion(signer, endpoints, until, context))).await
    }

    async fn assertion(
        &self,
        signer: &Signer<'_>,
        endpoints: &Endpoints,
        until: DateTime<Utc>,
        context: &Context<'_>,
    ) -> Result<wire::Client, Error> {
        let id = self.0.client_id.clone();
        let audience = endpoints.issuer.clone().unwrap_or_else(|| endpoints.token.to_string());
        let claims = json!({
            "iss": id, "sub": id, "aud": audience,
            "iat": context.clock.now().timestamp(),
            "exp": until.timestamp(),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let assertion = signer.sign(self.0.key_id.as_deref(), &claims, context).await?;
        Ok(wire::Client::Assertion { id, assertion })
    }

    fn handed_over(
        &self,
        token: &Secret,
        session: &str,
        context: &Context<'_>,
    ) -> (Vec<Variable>, Vec<PrivateFile>) {
        let value = Value::Secret(token.clone());
        let variable = self.0.env.iter().map(|name| Variable { name: name.clone(), value: value.clone() });
        let mut variables: Vec<Variable> = variable.collect();
        let mut files = Vec::new();
        if let Some(name) = &self.0.file {
            // The variable's name is unique among the block's exports, and so is the file's.
            let file = format!("oauth-{}", name.as_str().to_lowercase());
            let path = context.folder.join(&file).display().to_string();
            variables.push(Variable { name: name.clone(), value: Value::Plain(path) });
            files.push(PrivateFile { name: file, content: token.clone().into(), secret: true });
        }
        tracing::debug!(session, "a token was given");
        (variables, files)
    }
}

/// The public name of a token: what it says of itself, or its digest.
fn handle(token: &Secret) -> String {
    let claims = SubjectToken::new(token.clone()).unverified_claims().ok();
    let named = claims.and_then(|claims| claims.text("jti")).filter(|name| of_token(name).is_none());
    named.unwrap_or_else(|| token.fingerprint().handle())
}

/// Whether the client's secret was refused. Keycloak has the code of a client that may not use its grant for it.
fn is_of_the_client(error: &Error) -> bool {
    let Error::Call(CallError::Refused { refusal, .. }) = error else { return false };
    let words = refusal.message.to_lowercase();
    refusal.code == "invalid_client"
        || (refusal.code == "unauthorized_client" && words.contains("credentials"))
}

/// Some servers tell an error with status 200.
fn in_a_good_answer(answer: &Answer, error: Error) -> Error {
    match refusal::code_and_words(answer.bytes()) {
        Some((code, message)) => {
            answer.malformed(format!("answered 200 OK and the error `{code}` {message}"))
        }
        None => error,
    }
}
