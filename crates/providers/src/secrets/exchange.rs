//! The exchange: each stored value once, with the credential that the block names.

use super::{LIVING, Reading, aws, bearer};
use crate::value::{Found, Values, pick};
use crate::{Context, Error, vault};
use chrono::{DateTime, Utc};
use dataflow_config::credential::Kind as _;
use dataflow_config::secrets::{Store, Stored};
use dataflow_types::credential::{Credential, Material, NEVER, SettleWith};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;

impl Reading<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(&self, _: &str, context: &Context<'_>) -> Result<Credential, Error> {
        let Reading(secrets) = self;
        let source = context.sources.get(&secrets.source).await?;
        // Reading makes nothing, whatever became of the answers.
        let values =
            self.values(&source, context).await.map_err(|error| Error::Beforehand(Box::new(error)))?;
        let living: Vec<&str> = distinct(&secrets.values).iter().map(|one| one.name.as_str()).collect();
        let detail = BTreeMap::from([(LIVING.to_owned(), living.join("\n"))]);
        Ok(Credential {
            variables: values.variables,
            files: values.files,
            material: Material::Fields(values.fields),
            expires_at: DateTime::from_timestamp(NEVER, 0).unwrap_or(DateTime::<Utc>::MAX_UTC),
            principal: secrets.target(),
            handle: secrets.source.clone(),
            settle_with: SettleWith::Detail(detail),
            answer_lost: false,
            flaw: None,
        })
    }
}

impl Reading<'_> {
    async fn values(&self, source: &Material, context: &Context<'_>) -> Result<Values, Error> {
        let Reading(secrets) = self;
        let distinct = distinct(&secrets.values);
        let found = try_join_all(distinct.iter().map(|one| self.read(one, source, context))).await?;
        let mut values = Values::default();
        for one in &secrets.values {
            let answer = distinct.iter().zip(&found).find(|(other, _)| is_same(other, one));
            let Some((_, found)) = answer else { continue };
            let value = pick(found, one.key.as_deref(), &one.name)?;
            values.add(one.destination(), &value, context.folder, &one.name)?;
        }
        Ok(values)
    }

    async fn read(&self, one: &Stored, source: &Material, context: &Context<'_>) -> Result<Found, Error> {
        let Reading(secrets) = self;
        let wrong = |wanted| Error::WrongSource { name: secrets.source.clone(), wanted };
        let url = secrets.url(one).ok_or_else(|| Error::Value { problem: "the store has no URL".into() })?;
        match (secrets.store, source) {
            (Store::AwsSecretsManager | Store::AwsSsm, Material::AwsKeys { .. }) => {
                aws::read(secrets, one, url, source, context).await
            }
            (Store::AwsSecretsManager | Store::AwsSsm, _) => Err(wrong("keys of AWS")),
            (Store::Vault, Material::Token(token)) => {
                vault::stored(url, secrets.namespace.clone(), token, one, context).await
            }
            (Store::GcpSecretManager, Material::Token(token)) => {
                bearer::google(secrets, one, url, token, context).await
            }
            (Store::AzureKeyVault, Material::Token(token)) => {
                bearer::azure(secrets, one, url, token, context).await
            }
            _ => Err(wrong("token")),
        }
    }
}

/// What one request answers is asked for once.
fn distinct(values: &[Stored]) -> Vec<&Stored> {
    let mut distinct: Vec<&Stored> = Vec::new();
    for one in values {
        if !distinct.iter().any(|other| is_same(other, one)) {
            distinct.push(one);
        }
    }
    distinct
}

fn is_same(one: &Stored, other: &Stored) -> bool {
    one.name == other.name && one.version == other.version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_of_one_secret_are_one_request() {
        let values: Vec<Stored> = serde_yaml::from_str(
            "[{name: db, key: a, env: A}, {name: db, key: b, env: B}, {name: db, version: 2, env: C}]",
        )
        .unwrap();
        assert_eq!(distinct(&values).len(), 2);
    }
}
