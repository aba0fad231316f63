//! Giving a token back: RFC 7009, and RFC 7662 to see whether that had an effect.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use super::discovery::Endpoints;
use super::refusal::code_and_words;
use super::wire::{Client, Form, basic};
use crate::SettleContext;
use crate::giving_back::{RevokeAnswer, TIMEOUT, send};
use crate::json::Tree;
use dataflow_config::oauth::ClientAuth;
use dataflow_types::at_rest::AtRest;
use dataflow_types::credential::SettleWith;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::{Mask, Secret};
use dataflow_types::settlement::Settlement;

/// Revocation, introspection after it, and before it.
const REQUESTS: usize = 3;
/// How many assertions they need: a second try shows another.
pub(super) const ASSERTIONS: usize = REQUESTS * 2;
const REVOCATION: &str = "revocation-endpoint";
const INTROSPECTION: &str = "introspection-endpoint";

/// What is kept for the settlement, as the lease's one secret.
#[derive(Serialize, Deserialize)]
struct Handle {
    token: AtRest,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The client's secret, or two assertions for each request.
    secrets: Vec<AtRest>,
    how: How,
}

impl Handle {
    /// A server's words, which the record may tell, without any secret that was sent there.
    fn hidden(&self, said: &[u8]) -> String {
        let mask = Mask::default();
        [&self.token].into_iter().chain(&self.secrets).for_each(|kept| mask.add(&kept.0));
        if let (How::Basic, Some(id)) = (self.how, &self.id) {
            self.secrets.iter().for_each(|kept| mask.add(&basic(id, &kept.0)));
        }
        mask.apply_to_answer(said)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Public,
    Basic,
    Post,
    Assertion,
}

/// What the settlement of this token will need; nothing where the server takes nothing back.
pub(super) fn settle_with(token: &Secret, endpoints: &Endpoints, clients: &[Client]) -> SettleWith {
    let (Some(revocation), Some(client)) = (&endpoints.revocation, clients.first()) else {
        return SettleWith::Nothing;
    };
    let (id, how) = match client {
        Client::Public(id) => (id.clone(), How::Public),
        Client::Secret { id, auth: ClientAuth::Basic, .. } => (Some(id.clone()), How::Basic),
        Client::Secret { id, auth: ClientAuth::Post, .. } => (Some(id.clone()), How::Post),
        Client::Assertion { id, .. } => (id.clone(), How::Assertion),
    };
    let secret = |client: &Client| match client {
        Client::Public(_) => None,
        Client::Secret { secret, .. } => Some(AtRest(secret.clone())),
        Client::Assertion { assertion, .. } => Some(AtRest(assertion.clone())),
    };
    let secrets = clients.iter().filter_map(secret).collect();
    let handle = Handle { token: AtRest(token.clone()), id, secrets, how };
    let Ok(handle) = serde_json::to_string(&handle) else { return SettleWith::Nothing };
    let mut detail = BTreeMap::from([(REVOCATION.to_owned(), revocation.to_string())]);
    if let Some(introspection) = &endpoints.introspection {
        detail.insert(INTROSPECTION.to_owned(), introspection.to_string());
    }
    SettleWith::Handle { secret: Secret::new(handle), detail }
}

/// Takes a token back, as far as the server does.
pub(super) async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    if lease.expires_at <= context.clock.now() {
        return Settlement::AlreadyExpired { at: lease.expires_at };
    }
    let endpoint = |name: &str| lease.detail.get(name).and_then(|url| Url::parse(url).ok());
    let handle = lease.handle.as_ref().and_then(|handle| serde_json::from_str(handle.expose()).ok());
    let (Some(revocation), Some(handle)) = (endpoint(REVOCATION), handle) else {
        return lease.without_a_way_back();
    };
    let introspection = endpoint(INTROSPECTION);
    // Not active is also what a client is told that may not ask (RFC 7662, section 2.2): who was told once that it is
    // active, may. The revocation does not wait long for that.
    let may_ask = match &introspection {
        None => false,
        Some(url) => {
            let asked = context.clock.within(TIMEOUT, post(&handle, 2, url, context)).await;
            asked.and_then(Result::ok).and_then(|given| is_active(&given)) == Some(true)
        }
    };
    let failed = |reason| Settlement::Failed { reason, until: lease.expires_at };
    let given = match post(&handle, 0, &revocation, context).await {
        Ok(given) => given,
        Err(reason) => return failed(reason),
    };
    if !given.response.status.is_success() {
        return match code_and_words(handle.hidden(given.response.body.bytes()).as_bytes()) {
            // The server gives out tokens of a kind that it does not take back.
            Some((code, _)) if code == "unsupported_token_type" => {
                Settlement::Expires { at: lease.expires_at }
            }
            Some((code, _)) => failed(format!("{} `{code}`", given.reason(host(&revocation)))),
            None => failed(given.reason(host(&revocation))),
        };
    }
    let at = context.clock.now();
    let Some(url) = introspection else { return Settlement::RevokeAccepted { at } };
    match post(&handle, 1, &url, context).await.ok().and_then(|given| is_active(&given)) {
        Some(true) => failed("introspection says that it is still active".to_owned()),
        Some(false) if may_ask => Settlement::Revoked { at },
        _ => Settlement::RevokeAccepted { at },
    }
}

async fn post(
    handle: &Handle,
    number: usize,
    url: &Url,
    context: &SettleContext<'_>,
) -> Result<RevokeAnswer, String> {
    let number = Cell::new(number);
    let make = || {
        // A second try shows another assertion: a server may take each one once.
        let at = number.replace(number.get() + REQUESTS);
        let mut form = Form::default();
        form.set("token", handle.token.0.expose());
        form.set("token_type_hint", "access_token");
        form.request(url, &client(handle, at), TIMEOUT)
    };
    send(context, make).await
}

fn client(handle: &Handle, number: usize) -> Client {
    let secret = || handle.secrets.get(number).or(handle.secrets.first()).map(|kept| kept.0.clone());
    let id = || handle.id.clone().unwrap_or_default();
    match (handle.how, secret()) {
        (How::Basic, Some(secret)) => Client::Secret { id: id(), secret, auth: ClientAuth::Basic },
        (How::Post, Some(secret)) => Client::Secret { id: id(), secret, auth: ClientAuth::Post },
        (How::Assertion, Some(assertion)) => Client::Assertion { id: handle.id.clone(), assertion },
        _ => Client::Public(handle.id.clone()),
    }
}

fn is_active(given: &RevokeAnswer) -> Option<bool> {
    let answer = Tree::of(given.response.body.bytes());
    answer.first(&["/active"])?.as_bool().filter(|_| given.response.status.is_success())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
