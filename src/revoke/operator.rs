//! Who revokes: an identity of its own at one Vault, from the variables that Vault's own command line reads.

use std::path::{Path, PathBuf};

use url::Url;

use super::impossible;
use dataflow_config::address::is_safe;
use dataflow_config::host_find::Loaded;
use dataflow_host::http::Network;
use dataflow_host::http::identity::Identity;
use dataflow_host::{Env, env, files};
use dataflow_types::failure::Failure;
use dataflow_types::secret::Secret;

/// An operator of one Vault.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) address: Url,
    pub(super) namespace: Option<String>,
    pub(super) token: Secret,
}

impl Operator {
    /// The one of the environment. A record names an address too, and it is sent nothing but what is this one's:
    /// whoever can write records could have the operator's token otherwise.
    pub(super) fn of(env: &Env) -> Result<Self, Failure> {
        let address = env.get(&env::VAULT_ADDR).ok_or_else(|| {
            impossible("`VAULT_ADDR` is not set")
                .hinted("it says which Vault is asked, and sent the operator's token")
        })?;
        let parsed = address.parse().ok().filter(is_safe);
        let address = parsed.ok_or_else(|| {
            impossible(format!(
                "`VAULT_ADDR`: expected an address such as `https://vault.example.test:8200`, saw `{address}`"
            ))
        })?;
        let namespace = env.get(&env::VAULT_NAMESPACE).map(str::to_owned);
        Ok(Self { address, namespace, token: token(env)? })
    }

    /// The host's network, with what the environment says of this Vault's certificates.
    pub(super) fn network(&self, env: &Env, loaded: &Loaded) -> Network {
        let path = |variable| env.get(variable).map(PathBuf::from);
        let mut network = loaded.config.network();
        network.ca_file = path(&env::VAULT_CACERT).or(network.ca_file);
        if let (Some(certificate), Some(key)) = (path(&env::VAULT_CLIENT_CERT), path(&env::VAULT_CLIENT_KEY))
        {
            network.identities.insert(0, Identity { origin: self.address.origin(), certificate, key });
        }
        network
    }
}

/// As Vault's own command line looks for it.
fn token(env: &Env) -> Result<Secret, Failure> {
    if let Some(token) = env.secret(&env::VAULT_TOKEN) {
        return Ok(token);
    }
    let missing = || {
        impossible("neither `VAULT_TOKEN` nor `~/.vault-token` is there")
            .hinted("revoking needs a Vault token of the operator's own: `vault login`")
    };
    let path = Path::new(env.get(&env::HOME).ok_or_else(missing)?).join(".vault-token");
    let read =
        files::read_private(&path, &[nix::unistd::geteuid().as_raw()]).map_err(|error| match error {
            files::Untrusted::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => missing(),
            error => impossible(error.to_string()),
        })?;
    let text = String::from_utf8_lossy(&read).trim().to_owned();
    if text.is_empty() { Err(missing()) } else { Ok(Secret::new(text)) }
}
