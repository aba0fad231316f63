//! HashiCorp Vault and OpenBao: a login by the method `jwt`, and what it may read (Vault's HTTP API, `v1`).
//!
//! At the end the login gives itself back (`auth/token/revoke-self`): with it go its children and every
//! lease of a dynamic engine. What has no lease lives on, and the settlement says so.

use std::collections::BTreeMap;

use serde_json::json;
use url::Url;

use super::call::{self, CallError, call};
use super::door::of_token;
use super::value::Found;
use super::{Context, Error, Provider, SettleContext};
use dataflow_config::credential::Kind as _;
use dataflow_config::secrets::Stored;
use dataflow_config::vault::{Read, Vault};
use dataflow_host::http::{self, Http, Method, Request, StatusCode};
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Flaw, Material, SettleWith, Value, Variable};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Secret;
use dataflow_types::settlement::Settlement;

pub mod accessor;
mod error;
mod read;
mod revoke;
mod transit;

pub(super) use transit::sign;

/// The provider's name in configurations and records.
pub const NAME: &str = "vault";

/// What a record has in place of an accessor where there is none: a batch token.
pub const NO_ACCESSOR: &str = "batch";

/// Where it is: of what is kept for the settlement, this stands in the record too.
pub const ADDRESS: &str = "address";
/// Its namespace, likewise.
pub const NAMESPACE: &str = "namespace";
/// The paths of what was read with it and lives on, likewise, one a line.
pub const LIVING: &str = "living";

const JSON: &str = "application/json";

/// One login that a step asks for.
#[derive(Debug)]
pub struct Login<'a>(pub &'a Vault);

/// A login that was given.
struct RevokeAnswer {
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

/// Where a Vault is, as its settlement must know it too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    address: Url,
    namespace: Option<String>,
}

impl Place {
    fn of(vault: &Vault) -> Self {
        Self { address: vault.address.clone(), namespace: vault.namespace.clone() }
    }

    /// The URL of a path below `v1`.
    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path.split('/'));
        }
        url
    }

    /// A request that Vault reads as one for this namespace.
    fn request(&self, method: Method, url: Url) -> Result<Request, http::Error> {
        // Vault refuses requests without the first where it guards against forged ones.
        let request = Request::new(method, url, call::TIMEOUT).header("x-vault-request", "true")?;
        match &self.namespace {
            Some(namespace) => request.header("x-vault-namespace", namespace),
            None => Ok(request),
        }
    }
}

/// Reads one stored value with a login that another credential of the block holds.
pub(super) async fn stored(
    address: Url,
    namespace: Option<String>,
    token: &Secret,
    stored: &Stored,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let version = stored.version.as_ref().and_then(|version| version.to_string().parse().ok());
    let read = Read { version, ..Read::of(&stored.name) };
    let found = read::one(&Place { address, namespace }, token, &read, context).await?;
    // It ends with the login, which the record would not know.
    if found.ends_with_login {
        let problem = format!("`{}` has a lease: read it in the `secrets` of the `vault` block", stored.name);
        return Err(Error::Value { problem });
    }
    Ok(found.data)
}

impl Provider for Login<'_> {
    async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
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
                let gone = revoke::now(&place, &given.token, context.http);
                let gone = context.clock.within(context.host.deadlines.release.0, gone).await;
                let gone = gone.is_some_and(|answer| answer.is_gone());
                let error = Box::new(error);
                Err(if gone { Error::GivenBack(error) } else { Error::NotGivenBack(error) })
            }
        }
    }

    async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
        revoke::settle(lease, context).await
    }
}

/// What a login that is good for few requests is refused with says nothing of that.
fn used_up(error: Error, given: &RevokeAnswer, requests: usize) -> Error {
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
    async fn login(&self, context: &Context<'_>) -> Result<RevokeAnswer, Error> {
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
        let explain = |status, body: &[u8]| error::login(status, body, vault, &expected);
        let answer = call(context, explain, make).await?;
        let fields = answer.fields()?;
        if fields.has("/auth") && fields.text(&["/auth/client_token"]).is_none() {
            return Err(answer.malformed("answered a login without a token: does it want a second factor?"));
        }
        let token = fields.token("/auth/client_token")?;
        context.mask.add(&token.secret);
        let usual = policy::duration(*vault, context.host);
        let ends = fields.ends_in("/auth/lease_duration", &token, usual, context.clock.now());
        Ok(RevokeAnswer {
            // Its name stands in records: a login without a name that can be told is one without a name.
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

    fn credential(&self, given: RevokeAnswer, read: read::Everything) -> Credential {
        let Login(vault) = self;
        let RevokeAnswer { token, accessor, is_batch, expires_at, answer_lost, flaw, .. } = given;
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
        // Nobody can revoke a batch token: the journal needs not hold it.
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
