//! The exchange: a login, and what it reads.

use super::place::Place;
use super::{ADDRESS, JSON, LIVING, Login, NAMESPACE, NO_ACCESSOR, read, refusal, settle};
use crate::call::{CallError, call};
use crate::door::of_token;
use crate::{Context, Error};
use dataflow_config::credential::Kind as _;
use dataflow_host::http::{Method, StatusCode};
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Flaw, Material, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;
use serde_json::json;
use std::collections::BTreeMap;

/// A login that was given.
struct GivenLogin {
    token: Secret,
    /// Empty where it has none.
    accessor: String,
    is_batch: bool,
    /// How many requests it is good for; 0 for any number.
    uses: u64,
    expires_at: chrono::DateTime<chrono::Utc>,
    answer_lost: bool,
    flaw: Option<Flaw>,
}

impl Login<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let given = self.login(context).await?;
        if given.flaw.is_some() {
            // Nothing is read with it: it goes back as it came.
            return Ok(self.credential(given, read::Everything::default()));
        }
        match read::all(self.0, &given.token, context).await {
            Ok(read) => Ok(self.credential(given, read)),
            // All or nothing: a login that could not read everything is of no use to anybody.
            Err(error) => {
                let error = used_up(error, &given, read::requests(self.0));
                let place = Place::of(self.0);
                let gone = settle::now(&place, &given.token, context.http);
                let gone = context.clock.within(context.host.deadlines.release.0, gone).await;
                let gone = gone.is_some_and(|answer| answer.is_gone());
                let error = Box::new(error);
                Err(if gone { Error::GivenBack(error) } else { Error::NotGivenBack(error) })
            }
        }
    }
}

/// What a login that is good for few requests is refused with says nothing of that.
fn used_up(error: Error, given: &GivenLogin, requests: usize) -> Error {
    match error {
        Error::Call(CallError::Refused { status, .. })
            if status == StatusCode::FORBIDDEN && (1..requests as u64).contains(&given.uses) =>
        {
            error.hinted(format!(
                "the role's `token_num_uses` is {}, and this block asks {requests} times with its login and once more to \
                 give it back: allow {}, or 0 for any number",
                given.uses,
                requests + 1
            ))
        }
        other => other,
    }
}

impl Login<'_> {
    async fn login(&self, context: &Context<'_>) -> Result<GivenLogin, Error> {
        let Login(vault) = self;
        let subject = context.subject()?;
        let expected = subject.key.request.audience.clone().unwrap_or_default();
        let (place, path) = (Place::of(vault), format!("auth/{}/login", vault.mount));
        let make = async |fresh: bool| {
            let token = subject.take(fresh).await?;
            let body = json!({"role": vault.role, "jwt": token.expose()}).to_string();
            let request = place.request(Method::POST, place.url(&path))?;
            Ok(request.body(JSON, body.into_bytes()))
        };
        let explain = |status, body: &[u8]| refusal::login(status, body, vault, &expected);
        let answer = call(context, explain, make).await?;
        let fields = answer.fields()?;
        if fields.has("/auth") && fields.text(&["/auth/client_token"]).is_none() {
            return Err(answer.malformed("answered a login without a token: does it want a second factor?"));
        }
        let token = fields.token("/auth/client_token")?;
        context.mask.add(&token.secret);
        let usual = policy::duration(*vault, context.host);
        let ends = fields.ends_in("/auth/lease_duration", &token, usual, context.clock.now());
        Ok(GivenLogin {
            // Its name stands in records: a login whose name cannot be recorded is one without a name.
            accessor: fields
                .text(&["/auth/accessor"])
                .filter(|name| of_token(name).is_none())
                .unwrap_or_default()
                .to_owned(),
            uses: fields.number("/auth/num_uses").unwrap_or_default(),
            is_batch: fields.text(&["/auth/token_type"]) == Some("batch"),
            expires_at: ends.at,
            answer_lost: answer.lost,
            flaw: token.flaw.or(ends.flaw),
            token: token.secret,
        })
    }

    fn credential(&self, given: GivenLogin, read: read::Everything) -> Credential {
        let Login(vault) = self;
        let GivenLogin { token, accessor, is_batch, expires_at, answer_lost, flaw, .. } = given;
        let ours = [
            ("VAULT_TOKEN", Some(Value::Secret(token.clone()))),
            ("VAULT_ADDR", Some(Value::Plain(vault.base()))),
            ("VAULT_NAMESPACE", vault.namespace.clone().map(Value::Plain)),
        ];
        let variable =
            |(name, value): (&str, Option<Value>)| Some(Variable { name: name.parse().ok()?, value: value? });
        let ours = ours.into_iter().filter(|_| vault.export_token).filter_map(variable);
        let mut detail = BTreeMap::from([(ADDRESS.to_owned(), vault.address.to_string())]);
        detail.extend(vault.namespace.clone().map(|namespace| (NAMESPACE.to_owned(), namespace)));
        // Paths hold no line breaks: the step config is checked for them.
        detail.extend((!read.living.is_empty()).then(|| (LIVING.to_owned(), read.living.join("\n"))));
        // A batch token cannot be revoked: the journal need not hold it.
        let settle_with = if is_batch {
            detail.insert("batch".to_owned(), "true".to_owned());
            SettleWith::Detail(detail)
        } else {
            SettleWith::Handle { secret: token.clone(), detail }
        };
        let material = if vault.secrets.is_empty() {
            Material::Token(token)
        } else {
            Material::Fields(read.values.fields)
        };
        Credential {
            variables: ours.chain(read.values.variables).collect(),
            files: read.values.files,
            material,
            expires_at,
            principal: vault.target(),
            // A batch token has no accessor.
            handle: if accessor.is_empty() { NO_ACCESSOR.to_owned() } else { accessor },
            settle_with,
            answer_lost,
            flaw,
        }
    }
}
