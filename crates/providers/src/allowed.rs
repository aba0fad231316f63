//! Where a settlement may send a credential. A journal is a file that any process of this user can write: the host
//! config says which addresses in it are asked.

use url::Url;

use dataflow_config::address::is_safe;
use dataflow_config::credential::CredentialSource;
use dataflow_config::host::HostConfig;
use dataflow_types::revocation::RevocationTarget;

/// The first address of a lease to which this host sends nothing; it sends to the provider's `own` addresses.
pub(super) fn disallowed_origin(lease: &RevocationTarget, host: &HostConfig, own: &[&str]) -> Option<String> {
    // Without a handle nobody is asked.
    lease.handle.as_ref()?;
    let urls = lease.detail.values().filter_map(|text| Url::parse(text).ok()).filter(Url::has_host);
    let url = urls.into_iter().find(|url| !is_allowed(url, host, own))?;
    Some(url.origin().ascii_serialization())
}

fn is_allowed(url: &Url, host: &HostConfig, own: &[&str]) -> bool {
    let same = |other: &Url| other.origin() == url.origin();
    // What the host config names in a grant needs no second permission.
    let granted = host.grants.iter().flat_map(|grant| &grant.credentials).any(|credential| {
        matches!(&credential.source, CredentialSource::Request(ask) if ask.kind().endpoints().into_iter().any(same))
    });
    let origin = url.origin().ascii_serialization();
    let own = own.contains(&origin.as_str());
    is_safe(url) && (own || granted || host.endpoints.iter().any(same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_types::secret::Secret;

    fn stranger_of(address: &str, config: &str) -> Option<String> {
        let detail = [("address", address), ("namespace", "team:a"), ("living", "kv/x")];
        let lease = RevocationTarget {
            provider: "vault".into(),
            expires_at: chrono::DateTime::UNIX_EPOCH,
            handle: Some(Secret::new("hvs.x")),
            detail: detail.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            tried: false,
        };
        let host = dataflow_config::host_parse::parse("config.yml", config).unwrap();
        assert_eq!(disallowed_origin(&RevocationTarget { handle: None, ..lease.clone() }, &host, &[]), None);
        disallowed_origin(&lease, &host, &["https://api.github.com"])
    }

    #[test]
    fn a_credential_goes_back_only_to_addresses_that_the_host_allows() {
        let endpoints = "endpoints: ['https://vault.example.test']";
        assert_eq!(stranger_of("https://vault.example.test/path", endpoints), None);
        assert_eq!(stranger_of("https://evil.test", endpoints).unwrap(), "https://evil.test");
        assert_eq!(stranger_of("http://vault.example.test", endpoints).unwrap(), "http://vault.example.test");
        assert_eq!(stranger_of("https://api.github.com", ""), None);
    }

    #[test]
    fn what_a_grant_names_is_allowed() {
        let grant = "grants: [{name: a, claims: {organization_slug: acme}, credentials: \
                     [{vault: {address: 'https://vault.example.test', role: r, export-token: true}}]}]";
        assert_eq!(stranger_of("https://vault.example.test", grant), None);
    }
}
