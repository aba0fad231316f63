//! Grants of the host config whose credentials use claims.

use serde_json::Value;
use url::{Origin, Url};

use super::credential::{Credential, CredentialSource};
use super::host::HostConfig;
use super::place::{self, Error};
use super::template;

/// The host config whose grants use claims, and the tree that was read: their entries are kept as they are written, and
/// read with stand-ins.
pub(super) fn with_claims(file: &str, tree: &Value) -> Result<Option<(HostConfig, Value)>, Error> {
    if !template::is_in(tree) {
        return Ok(None);
    }
    let mut whole = tree.clone();
    let Some(written) = template::of_grants(file, &mut whole)? else { return Ok(None) };
    let mut config: HostConfig =
        place::from_tree(file, &whole).map_err(|error| error.for_written(&whole, tree))?;
    config.grants.iter_mut().zip(written).for_each(|(grant, written)| grant.written = written);
    for (index, grant) in config.grants.iter().enumerate() {
        for (inner, (credential, written)) in grant.credentials.iter().zip(&grant.written).enumerate() {
            check_hosts(file, &format!("grants[{index}].credentials[{inner}]"), credential, written)?;
        }
    }
    Ok(Some((config, whole)))
}

/// What a grant names is asked without a second permission, at the end too, when nobody knows the claims any more.
fn check_hosts(file: &str, place: &str, credential: &Credential, written: &Value) -> Result<(), Error> {
    let other: Credential = place::from_json(file, template::with_others(file, place, written)?)?;
    let hosts = |credential: &Credential| -> Vec<Origin> {
        match &credential.source {
            CredentialSource::Request(ask) => {
                let kind = ask.kind();
                let conventional = kind.hosts().into_iter().map(|url| url.origin());
                kind.endpoints().into_iter().map(Url::origin).chain(conventional).collect()
            }
            CredentialSource::Grant(_) => Vec::new(),
        }
    };
    if hosts(credential) == hosts(&other) {
        return Ok(());
    }
    let problem = "a claim cannot stand in the host of an endpoint: whoever names a branch could choose where tokens go";
    Err(Error::at(file, place, problem).hinted("write one grant for each host, and let `claims` choose"))
}

#[cfg(test)]
mod tests {
    use crate::host_parse::parse;

    #[test]
    fn a_claim_stands_in_a_path_of_a_grant_and_not_in_the_host_that_tokens_go_to() {
        let grant = |address: &str| {
            let grant = "grants: [{name: a, claims: {organization_slug: acme}, credentials: [{vault: \
                         {address: 'ADDRESS', role: '${claims.pipeline_slug}', export-token: true}}]}]";
            grant.replace("ADDRESS", address)
        };
        assert!(parse("config.yml", &grant("https://vault.example.test/${claims.pipeline_slug}")).is_ok());
        for host in [
            "https://${claims.pipeline_slug}.example.test",
            "https://vault.example.test${claims.build_branch}",
        ] {
            let error = parse("config.yml", &grant(host)).unwrap_err();
            assert_eq!(error.place, "grants[0].credentials[0]");
            assert!(error.problem.starts_with("a claim cannot stand in the host of an endpoint"), "{error}");
        }
    }
}
