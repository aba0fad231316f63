//! Names of stored secrets as consoles and other tools show them: with a version, a key, a server. They are taken apart.
//!
//! Forms: Google's resource names (`projects/P/secrets/S/versions/V`), ARNs of AWS with ECS's `:KEY:STAGE:VERSION` and
//! Systems Manager's `:VERSION`, Azure's secret identifiers (`https://VAULT/secrets/NAME/VERSION`).

use serde::{Deserialize, Deserializer};
use url::Url;

use super::{Secrets, Store, Stored, Version};
use crate::aws::Region;

/// What a longer name says beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The service and the region of an ARN.
    arn: Option<(String, String)>,
    /// The server of a URL.
    server: Option<String>,
    /// A version or key that is another one than what stands beside it.
    other: Option<(&'static str, String)>,
}

/// Reads values, their names taken apart.
pub(super) fn taken_apart<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Stored>, D::Error> {
    let mut values = Vec::<Stored>::deserialize(deserializer)?;
    values.iter_mut().for_each(apart);
    Ok(values)
}

fn apart(one: &mut Stored) {
    let name = one.name.clone();
    if let Some(parts) = of_google(&name) {
        let (resource, version) = parts;
        take(one, resource, None, version);
    } else if name.starts_with("arn:") {
        let parts: Vec<&str> = name.split(':').collect();
        let service = parts.get(2).copied().unwrap_or_default();
        let region = parts.get(3).copied().unwrap_or_default();
        one.said.arn = Some((service.to_owned(), region.to_owned()));
        let part = |at: usize| parts.get(at).copied().filter(|text| !text.is_empty());
        let whole = |count: usize| parts.get(..count).map(|parts| parts.join(":")).unwrap_or_default();
        match (service, parts.len()) {
            ("secretsmanager", 8..=10) => take(one, &whole(7), part(7), part(9).or(part(8))),
            ("ssm", 7) => take(one, &whole(6), None, part(6)),
            _ => {}
        }
    } else if let Some(url) = name.starts_with("https://").then(|| Url::parse(&name).ok()).flatten() {
        let parts: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        if let ["secrets", secret, rest @ ..] = parts.as_slice()
            && rest.len() < 2
        {
            one.said.server = Some(url.origin().ascii_serialization());
            take(one, secret, None, rest.first().copied());
        }
    }
}

/// The resource and the version, where it names one.
fn of_google(name: &str) -> Option<(&str, Option<&str>)> {
    let services = ["https://secretmanager.googleapis.com/v1/", "//secretmanager.googleapis.com/"];
    let bare = services.iter().find_map(|service| name.strip_prefix(service));
    let rest = bare.unwrap_or(name);
    let rest = rest.strip_suffix(":access").unwrap_or(rest);
    if !rest.starts_with("projects/") {
        return None;
    }
    match rest.rsplit_once("/versions/") {
        Some((resource, version)) => Some((resource, Some(version))),
        None => bare.map(|_| (rest, None)),
    }
}

fn take(one: &mut Stored, name: &str, key: Option<&str>, version: Option<&str>) {
    name.clone_into(&mut one.name);
    match (key, &one.key) {
        (Some(own), Some(beside)) if own != beside => one.said.other = Some(("key", own.to_owned())),
        (Some(own), None) => one.key = Some(own.to_owned()),
        _ => {}
    }
    match (version, &one.version) {
        (Some(own), Some(beside)) if own != beside.to_string() => {
            one.said.other = Some(("version", own.to_owned()));
        }
        (Some(own), None) => {
            one.version = Some(own.parse().map_or_else(|_| Version::Word(own.to_owned()), Version::Number));
        }
        _ => {}
    }
}

impl Said {
    /// What does not fit what stands beside it.
    pub(super) fn check(&self, secrets: &Secrets) -> Result<(), String> {
        if let Some((what, own)) = &self.other {
            return Err(format!(
                "its own {what} is `{own}`, and another one stands beside it: leave one out"
            ));
        }
        if let Some((service, region)) = &self.arn {
            let store = match service.as_str() {
                "secretsmanager" => Some(Store::AwsSecretsManager),
                "ssm" => Some(Store::AwsSsm),
                _ => None,
            };
            if store != Some(secrets.store) {
                let store = store.map(|store| format!(": that is `store: {store}`")).unwrap_or_default();
                return Err(format!(
                    "it is an ARN of `{service}`{store}, and the store is `{}`",
                    secrets.store
                ));
            }
            let asked = secrets.region.as_ref().map(Region::as_str).unwrap_or_default();
            if region != asked {
                return Err(format!("it is of the region `{region}`, and `region` is `{asked}`"));
            }
        }
        let address = secrets.address.as_ref().map(|url| url.origin().ascii_serialization());
        match (&self.server, address) {
            (Some(_), _) if secrets.store != Store::AzureKeyVault => {
                Err(format!("it is a secret identifier of Azure, and the store is `{}`", secrets.store))
            }
            (Some(server), Some(address)) if *server != address => {
                Err(format!("it is in `{server}`, and `address` is `{address}`"))
            }
            _ => Ok(()),
        }
    }
}

/// What a name that is none may be instead.
pub(super) fn hint(store: Store, name: &str) -> &'static str {
    match store {
        Store::AzureKeyVault if name.contains('/') => {
            ": its version goes into `version`, its key vault into `address`"
        }
        Store::GcpSecretManager if !name.contains('/') => ": the project stands before it",
        Store::Vault if name.starts_with("v1/") || name.starts_with("/v1/") => {
            ": without the `v1/` of Vault's API"
        }
        Store::Vault if name.contains('#') => ": what stands after `#` goes into `key`",
        Store::Vault if name.contains('?') => ": its version goes into `version`",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Kind as _;

    fn secrets(store: &str, value: &str) -> Secrets {
        serde_yaml::from_str(&format!("source: reader\nstore: {store}\nvalues: [{{{value}, env: A}}]"))
            .unwrap()
    }

    const AWS: &str = "aws-secrets-manager\nregion: eu-west-1";
    const SSM: &str = "aws-ssm\nregion: eu-west-1";
    const AZURE: &str = "azure-key-vault\naddress: https://team.vault.azure.net";
    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf";

    #[test]
    fn a_longer_name_is_taken_apart() {
        let check = |store: &str, written: &str, name: &str, key: Option<&str>, version: Option<&str>| {
            let secrets = secrets(store, &format!("name: '{written}'"));
            secrets.check().unwrap();
            let one = &secrets.values[0];
            let seen = (one.name.as_str(), one.key.as_deref(), one.version.as_ref().map(ToString::to_string));
            assert_eq!(seen, (name, key, version.map(str::to_owned)), "{written}");
        };
        let google = "projects/p/secrets/s";
        for written in [
            "projects/p/secrets/s/versions/latest",
            "//secretmanager.googleapis.com/projects/p/secrets/s/versions/latest",
            "https://secretmanager.googleapis.com/v1/projects/p/secrets/s/versions/latest:access",
        ] {
            check("gcp-secret-manager", written, google, None, Some("latest"));
        }
        check("gcp-secret-manager", "projects/p/secrets/s/versions/7", google, None, Some("7"));
        check("gcp-secret-manager", google, google, None, None);
        let regional = "projects/p/locations/europe-west3/secrets/s";
        check("gcp-secret-manager", &format!("{regional}/versions/2"), regional, None, Some("2"));
        check(AWS, ARN, ARN, None, None);
        check(AWS, &format!("{ARN}:password::"), ARN, Some("password"), None);
        check(AWS, &format!("{ARN}:password:AWSPREVIOUS:"), ARN, Some("password"), Some("AWSPREVIOUS"));
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        check(AWS, &format!("{ARN}:::{id}"), ARN, None, Some(id));
        let parameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db";
        check(SSM, parameter, parameter, None, None);
        check(SSM, &format!("{parameter}:3"), parameter, None, Some("3"));
        check(AZURE, "https://team.vault.azure.net/secrets/api-key", "api-key", None, None);
        let version = "0123456789abcdef0123456789abcdef";
        check(
            AZURE,
            &format!("https://team.vault.azure.net/secrets/api-key/{version}"),
            "api-key",
            None,
            Some(version),
        );
    }

    #[test]
    fn a_longer_name_that_says_something_else_is_refused() {
        let check = |store: &str, value: &str, told: &str| {
            let (key, problem) = secrets(store, value).check().unwrap_err();
            assert_eq!(key, "values[0].name");
            assert!(problem.contains(told), "{problem}");
        };
        let google = "gcp-secret-manager";
        check(google, "name: projects/p/secrets/s/versions/7, version: 8", "its own version is `7`");
        check(google, "name: s", "the project stands before it");
        check(AWS, &format!("name: '{ARN}:password::', key: user"), "its own key is `password`");
        check(
            AWS,
            &format!("name: '{}'", ARN.replace("eu-west-1", "us-east-1")),
            "of the region `us-east-1`",
        );
        check(SSM, &format!("name: '{ARN}'"), "`store: aws-secrets-manager`");
        check(AWS, "name: 'arn:aws:s3:::bucket'", "an ARN of `s3`");
        check(
            AZURE,
            "name: 'https://other.vault.azure.net/secrets/a'",
            "it is in `https://other.vault.azure.net`",
        );
        check(AZURE, "name: a/b", "its version goes into `version`");
        check("vault\naddress: https://vault.example.test", "name: 'secret/data/x#key'", "goes into `key`");
    }
}
