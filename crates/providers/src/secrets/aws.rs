//! AWS Secrets Manager (API 2017-10-17) and the parameters of Systems Manager (API 2014-11-06): JSON 1.1,
//! signed with Signature Version 4.

use serde_json::{Value as Json, json};
use url::Url;

use super::refusal;
use crate::call::call;
use crate::sigv4::Call;
use crate::value::Found;
use crate::{Context, Error};
use dataflow_config::secrets::{Secrets, Store, Stored};
use dataflow_types::credential::Material;

/// Reads one secret or parameter with the keys `source`.
pub(super) async fn read(
    secrets: &Secrets,
    one: &Stored,
    url: Url,
    source: &Material,
    context: &Context<'_>,
) -> Result<Found, Error> {
    let body = question(secrets.store, one).to_string();
    let region = secrets.signed_for();
    let (service, target) = operation(secrets.store);
    let make = async |_| {
        let call = Call { service, target, region: &region, url: &url, body: &body };
        call.request(source, context.clock)
    };
    let answer = call(context, |status, body| refusal::explain(status, body, secrets, one), make).await?;
    let fields = answer.fields()?;
    if let Some(value) = fields.value(&["/SecretString", "/Parameter/Value"])? {
        return Ok(Found::Text(value));
    }
    let binary = fields.value(&["/SecretBinary"])?.ok_or_else(|| answer.malformed("answered no value"))?;
    super::bearer::decoded(binary.expose(), &one.name)
}

/// The service's name in a signature, and the operation.
fn operation(store: Store) -> (&'static str, &'static str) {
    match store {
        Store::AwsSsm => ("ssm", "AmazonSSM.GetParameter"),
        _ => ("secretsmanager", "secretsmanager.GetSecretValue"),
    }
}

fn question(store: Store, one: &Stored) -> Json {
    let version = one.version.as_ref().map(ToString::to_string);
    match (store, version) {
        (Store::AwsSsm, None) => json!({"Name": one.name, "WithDecryption": true}),
        (Store::AwsSsm, Some(version)) => {
            json!({"Name": format!("{}:{version}", one.name), "WithDecryption": true})
        }
        (_, None) => json!({"SecretId": one.name}),
        // An id is as long as a UUID; a stage is a short label such as AWSPREVIOUS.
        (_, Some(id)) if id.len() >= 32 => json!({"SecretId": one.name, "VersionId": id}),
        (_, Some(stage)) => json!({"SecretId": one.name, "VersionStage": stage}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question_of(store: Store, yaml: &str) -> Json {
        question(store, &serde_yaml::from_str::<Stored>(yaml).unwrap())
    }

    #[test]
    fn a_version_is_asked_for_as_each_service_wants_it() {
        let secrets = |yaml| question_of(Store::AwsSecretsManager, yaml);
        assert_eq!(secrets("{name: db, env: A}"), json!({"SecretId": "db"}));
        let stage = json!({"SecretId": "db", "VersionStage": "AWSPREVIOUS"});
        assert_eq!(secrets("{name: db, env: A, version: AWSPREVIOUS}"), stage);
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        let by_id = json!({"SecretId": "db", "VersionId": id});
        assert_eq!(secrets(&format!("{{name: db, env: A, version: {id}}}")), by_id);
        let parameter = question_of(Store::AwsSsm, "{name: /db, env: A, version: 3}");
        assert_eq!(parameter, json!({"Name": "/db:3", "WithDecryption": true}));
    }
}
