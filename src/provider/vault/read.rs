//! Reading what a login may read: each distinct request once, all at the same time.

use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::Value;

use super::{JSON, Place, error};
use crate::config::vault::{Read, Vault};
use crate::host::http::Method;
use crate::provider::call::call;
use crate::provider::value::{Values, pick};
use crate::provider::{Context, Error};
use crate::secret::Secret;

/// What was read, and which of it no settlement ends.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub(super) values: Values,
    pub(super) living: Vec<String>,
}

/// What a path answers.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    data: Value,
    wrap_info: Option<Wrapped>,
}

#[derive(Deserialize)]
struct Wrapped {
    token: Secret,
}

/// One answer, and whether giving the login back ends what it holds.
pub(super) struct Found {
    pub(super) data: Value,
    pub(super) ends_with_login: bool,
}

/// Reads every secret of `vault` with the login `token`.
pub(super) async fn all(vault: &Vault, token: &Secret, context: &Context<'_>) -> Result<Everything, Error> {
    let mut distinct: Vec<&Read> = Vec::new();
    for read in &vault.secrets {
        if !distinct.iter().any(|other| is_same(other, read)) {
            distinct.push(read);
        }
    }
    let place = Place::of(vault);
    let asked = distinct.iter().map(|read| one(&place, token, read, context));
    let found = try_join_all(asked).await?;
    let mut everything = Everything::default();
    for read in &vault.secrets {
        let answer = distinct.iter().zip(&found).find(|(other, _)| is_same(other, read));
        let Some((_, found)) = answer else { continue };
        let value = pick(&found.data, read.key.as_deref(), &read.path)?;
        everything.values.add(read.destination(), &value, context.folder);
        if !found.ends_with_login && !everything.living.contains(&read.path) {
            everything.living.push(read.path.clone());
        }
    }
    Ok(everything)
}

/// Whether one request answers both: user and password of a database must be of one answer.
fn is_same(one: &Read, other: &Read) -> bool {
    let asked = |read: &Read| (read.version, read.wrap_ttl, read.data.clone());
    one.path == other.path && asked(one) == asked(other)
}

/// Reads one path.
pub(super) async fn one(
    place: &Place,
    token: &Secret,
    read: &Read,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let make = async |_| {
        let method = if read.data.is_some() { Method::POST } else { Method::GET };
        let mut url = place.url(&read.path);
        if let Some(version) = read.version {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        let mut request = place.request(method, url)?.secret_header("x-vault-token", "", token)?;
        if let Some(ttl) = read.wrap_ttl {
            request = request.header("x-vault-wrap-ttl", &format!("{}s", ttl.as_secs()))?;
        }
        Ok(match &read.data {
            Some(data) => request.body(JSON, serde_json::json!(data).to_string().into_bytes()),
            None => request,
        })
    };
    let answer = call(context, |status, body| error::read(status, body, read), make).await?;
    let answered: Answered = answer.json()?;
    match (read.wrap_ttl, answered.wrap_info) {
        // Not a child of the login: it lives until it was used or its time is over.
        (Some(_), Some(wrapped)) => {
            Ok(Found { data: Value::String(wrapped.token.expose().to_owned()), ends_with_login: false })
        }
        (Some(_), None) => Err(answer.malformed(format!("did not wrap its answer for `{}`", read.path))),
        (None, _) if answered.data.is_null() => {
            Err(answer.malformed(format!("answered nothing for `{}`", read.path)))
        }
        (None, _) => {
            let ends_with_login = !answered.lease_id.is_empty();
            Ok(Found { data: unversioned(answered.data), ends_with_login })
        }
    }
}

/// What KV v2 wraps into `data`, with `metadata` beside it, is what KV v1 answers.
fn unversioned(mut data: Value) -> Value {
    let versioned = data.get("metadata").is_some_and(|about| about.get("version").is_some());
    match data.get_mut("data").filter(|inner| versioned && inner.is_object()) {
        Some(inner) => inner.take(),
        None => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kv_of_both_versions_reads_alike() {
        let inner = json!({"api_key": "x"});
        let metadata = json!({"version": 3, "created_time": "2026-01-01T00:00:00Z"});
        assert_eq!(unversioned(json!({"data": inner, "metadata": metadata})), inner);
        assert_eq!(unversioned(inner.clone()), inner);
        // A secret of KV v1 that has these words as its keys is no KV v2.
        for odd in [json!({"data": {"a": "b"}}), json!({"data": "x", "metadata": {"version": 1}})] {
            assert_eq!(unversioned(odd.clone()), odd);
        }
    }

    #[test]
    fn keys_of_one_path_are_one_request_and_versions_are_not() {
        let read = |yaml: &str| serde_yaml::from_str::<Read>(yaml).unwrap();
        let user = read("{path: database/creds/train, key: username, env: A}");
        let password = read("{path: database/creds/train, key: password, env: B}");
        assert!(is_same(&user, &password));
        let older = read("{path: database/creds/train, key: password, env: B, version: 2}");
        assert!(!is_same(&user, &older));
    }
}
