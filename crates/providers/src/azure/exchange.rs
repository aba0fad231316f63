//! The exchange: one token for each scope.

use super::{CONFIG, Identity, refusal};
use crate::call::{CallError, TIMEOUT, call};
use crate::token::Minted;
use crate::{Context, Error};
use chrono::{DateTime, Utc};
use dataflow_config::azure::{ARM_VARIABLES, Azure, DEVOPS, DEVOPS_VARIABLE, IDENTITY_VARIABLES, TOKEN_FILE};
use dataflow_config::credential::Kind as _;
use dataflow_host::http::{Method, Request};
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Material, PrivateFile, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;
use futures_util::future::join_all;
use url::Url;

/// A token for one resource.
#[derive(Debug)]
struct Granted {
    env: Option<String>,
    token: Secret,
    ends: DateTime<Utc>,
    request: String,
    lost: bool,
}

impl Identity<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let made = self.wanted().into_iter().map(|(scope, env)| self.token(scope, env, context));
        let made = all_or_none(join_all(made).await)?;
        // The one that was exchanged: it is kept, unless a fresh one had to be asked for.
        self.hand_over(&context.subject()?.last(), &made, context)
    }
}

impl Identity<'_> {
    /// The scopes to ask for, each with the variable it is exported as; the first is what git and other
    /// credentials are given.
    fn wanted(&self) -> Vec<(String, Option<String>)> {
        let Identity(azure) = self;
        let devops = azure.devops.then(|| (DEVOPS.to_owned(), Some(DEVOPS_VARIABLE.to_owned())));
        let scopes = azure.scopes.iter().map(|scope| (scope.scope.clone(), Some(scope.env.to_string())));
        let mut wanted: Vec<_> = devops.into_iter().chain(scopes).collect();
        if wanted.is_empty() {
            // The step does not see this one: a trust that is wrong fails here and not in its midst.
            wanted.push((azure.cloud.management().to_owned(), None));
        }
        wanted
    }

    async fn token(
        &self,
        scope: String,
        env: Option<String>,
        context: &Context<'_>,
    ) -> Result<Granted, Error> {
        let Identity(azure) = self;
        let (subject, url) = (context.subject()?, self.url()?);
        let answer = call(context, refusal::explain, async |fresh| {
            let token = subject.take(fresh).await?;
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &azure.client_id)
                .append_pair("scope", &scope)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", token.expose())
                .finish();
            let request =
                Request::new(Method::POST, url.clone(), TIMEOUT).header("accept", "application/json")?;
            Ok(request.body("application/x-www-form-urlencoded", form.into_bytes()))
        });
        let leg = |source| Error::Leg {
            name: format!("token for `{scope}`"),
            made: false,
            source: Box::new(source),
        };
        let answer = answer.await.map_err(leg)?;
        let fields = answer.fields()?;
        let token = fields.token("/access_token")?;
        let usual = policy::duration(*azure, context.host);
        let ends = fields.ends_in("/expires_in", &token, usual, context.clock.now()).usable()?;
        let token = token.usable()?;
        let request = answer.header("x-ms-request-id").unwrap_or_default().to_owned();
        Ok(Granted { env, token, ends, request, lost: answer.lost })
    }

    fn url(&self) -> Result<Url, Error> {
        let Identity(azure) = self;
        let text = format!("{}{}/oauth2/v2.0/token", azure.cloud.authority(), azure.tenant_id);
        Url::parse(&text).map_err(|_| no_url())
    }

    fn hand_over(
        &self,
        subject: &Minted,
        made: &[Granted],
        context: &Context<'_>,
    ) -> Result<Credential, Error> {
        let Identity(azure) = self;
        let [first, ..] = made else { return Err(no_url()) };
        let tokens =
            made.iter().filter_map(|one| Some((one.env.as_deref()?, Value::Secret(one.token.clone()))));
        let plain = plain(azure, context)?.into_iter().map(|(name, value)| (name, Value::Plain(value)));
        let variable = |(name, value): (&str, Value)| Some(Variable { name: name.parse().ok()?, value });
        let life = policy::duration(*azure, context.host);
        let last = subject.last_use(life, context.clock.now());
        let until = made.iter().map(|one| one.ends).fold(last, DateTime::max);
        Ok(Credential {
            variables: plain.chain(tokens).filter_map(variable).collect(),
            files: vec![PrivateFile {
                name: TOKEN_FILE.into(),
                content: subject.token.secret().clone().into(),
                secret: true,
            }],
            material: Material::Token(first.token.clone()),
            expires_at: first.ends,
            principal: azure.target(),
            handle: first.request.clone(),
            settle_with: SettleWith::Later { until },
            answer_lost: made.iter().any(|one| one.lost),
            flaw: None,
        })
    }
}

fn plain(azure: &Azure, context: &Context<'_>) -> Result<Vec<(&'static str, String)>, Error> {
    let path = |name: &str| context.folder.join(name).display().to_string();
    let authority = Url::parse(azure.cloud.authority()).map_err(|_| no_url())?;
    let (client, tenant) = (azure.client_id.clone(), azure.tenant_id.clone());
    let authority = context.http.route(authority).to_string();
    let mut plain: Vec<_> = IDENTITY_VARIABLES
        .into_iter()
        .zip([client.clone(), tenant.clone(), authority, path(TOKEN_FILE)])
        .collect();
    plain.extend(azure.subscription_id.clone().map(|id| ("AZURE_SUBSCRIPTION_ID", id)));
    plain.extend(azure.config_dir.then(|| ("AZURE_CONFIG_DIR", path(CONFIG))));
    if azure.arm {
        plain.extend(ARM_VARIABLES.into_iter().zip(["true".to_owned(), client, tenant, path(TOKEN_FILE)]));
        plain.extend(azure.subscription_id.clone().map(|id| ("ARM_SUBSCRIPTION_ID", id)));
        plain.extend(azure.cloud.of_terraform().map(|name| ("ARM_ENVIRONMENT", name.to_owned())));
    }
    Ok(plain)
}

/// Where one token was refused the others may have been made all the same, and no process holds them.
fn all_or_none(answers: Vec<Result<Granted, Error>>) -> Result<Vec<Granted>, Error> {
    let some =
        answers.iter().any(|answer| answer.as_ref().map_or_else(|error| !error.nothing_issued(), |_| true));
    answers.into_iter().collect::<Result<_, _>>().map_err(|error| match error {
        Error::Leg { name, source, .. } => Error::Leg { name, made: some, source },
        other => other,
    })
}

fn no_url() -> Error {
    Error::Call(CallError::Malformed { host: "Entra".to_owned(), problem: "has no URL".to_owned() })
}
