//! Reading what a login may read: each distinct request once, all at the same time.

use futures_util::future::try_join_all;
use url::Url;

use super::place::Place;
use super::{JSON, refusal};
use crate::call::call;
use crate::json::Raw;
use crate::value::{Found, Values, pick};
use crate::{Context, Error};
use dataflow_config::secrets::Stored;
use dataflow_config::vault::{Read, Vault};
use dataflow_host::http::Method;
use dataflow_types::secret::Secret;

/// What was read, and which of it no settlement ends.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub(super) values: Values,
    pub(super) living: Vec<String>,
}

/// One answer, and whether giving the login back ends what it holds.
pub(super) struct Answered {
    pub(super) data: Found,
    pub(super) ends_with_login: bool,
}

/// How many requests read all of it.
pub(super) fn requests(vault: &Vault) -> usize {
    distinct(vault).len()
}

fn distinct(vault: &Vault) -> Vec<&Read> {
    let mut distinct: Vec<&Read> = Vec::new();
    for read in &vault.secrets {
        if !distinct.iter().any(|other| is_same(other, read)) {
            distinct.push(read);
        }
    }
    distinct
}

/// Reads every secret of `vault` with the login `token`.
pub(super) async fn all(vault: &Vault, token: &Secret, context: &Context<'_>) -> Result<Everything, Error> {
    let distinct = distinct(vault);
    let place = Place::of(vault);
    let asked = distinct.iter().map(|read| one(&place, token, read, context));
    let found = try_join_all(asked).await?;
    let mut everything = Everything::default();
    for read in &vault.secrets {
        let answer = distinct.iter().zip(&found).find(|(other, _)| is_same(other, read));
        let Some((_, found)) = answer else { continue };
        let value = pick(&found.data, read.key.as_deref(), &read.path)?;
        everything.values.add(read.destination(), &value, context.folder, &read.path)?;
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
) -> Result<Answered, Error> {
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
    let answer = call(context, |status, body| refusal::read(status, body, read), make).await?;
    let fields = answer.fields()?;
    if read.wrap_ttl.is_some() {
        if !fields.has("/wrap_info") {
            return Err(answer.malformed(format!("did not wrap its answer for `{}`", read.path)));
        }
        let data = Found::Text(fields.token("/wrap_info/token")?.usable()?);
        // Not a child of the login: it lives until it was used or its time is over.
        return Ok(Answered { data, ends_with_login: false });
    }
    let body = answer.text();
    let data = Raw::of(&body).and_then(|body| body.at("data")).filter(|data| data.written() != "null");
    let data = data.ok_or_else(|| answer.malformed(format!("answered nothing for `{}`", read.path)))?;
    let data = Found::Json(Secret::new(unversioned(data).written()));
    Ok(Answered { data, ends_with_login: fields.text(&["/lease_id"]).is_some() })
}

/// What KV v2 wraps into `data`, with `metadata` beside it, is what KV v1 answers.
fn unversioned(data: Raw<'_>) -> Raw<'_> {
    let versioned = data.at("/metadata/version").is_some();
    data.at("data").filter(|inner| versioned && inner.members().is_some()).unwrap_or(data)
}

/// Reads one stored value with a login that another credential of the block holds.
pub(crate) async fn stored(
    address: Url,
    namespace: Option<String>,
    token: &Secret,
    stored: &Stored,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let version = stored.version.as_ref().and_then(|version| version.to_string().parse().ok());
    let read = Read { version, ..Read::of(&stored.name) };
    let found = one(&Place { address, namespace }, token, &read, context).await?;
    // It ends with the login, which the record would not know.
    if found.ends_with_login {
        let problem = format!("`{}` has a lease: read it in the `secrets` of the `vault` block", stored.name);
        return Err(Error::Value { problem });
    }
    Ok(found.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_of_both_versions_reads_alike() {
        let of = |text: &'static str| unversioned(Raw::of(text).unwrap()).written();
        let inner = r#"{"api_key": 1e6}"#;
        assert_eq!(
            of(r#"{"data":{"api_key": 1e6},"metadata":{"version":3,"created_time":"2026-01-01"}}"#),
            inner
        );
        assert_eq!(of(inner), inner);
        // A secret of KV v1 that has these words as its keys is no KV v2.
        for odd in [r#"{"data":{"a":"b"}}"#, r#"{"data":"x","metadata":{"version":1}}"#] {
            assert_eq!(of(odd), odd);
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
