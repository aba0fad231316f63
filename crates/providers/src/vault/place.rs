//! Where a Vault is, and requests to it.

use url::Url;

use crate::call;
use dataflow_config::vault::Vault;
use dataflow_host::http::{self, Method, Request};

/// Where a Vault is, as its settlement must know it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Url,
    pub(super) namespace: Option<String>,
}

impl Place {
    pub(super) fn of(vault: &Vault) -> Self {
        Self { address: vault.address.clone(), namespace: vault.namespace.clone() }
    }

    /// The URL of a path below `v1`.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path.split('/'));
        }
        url
    }

    /// A request that Vault reads as one for this namespace.
    pub(super) fn request(&self, method: Method, url: Url) -> Result<Request, http::Error> {
        // Vault refuses requests without the first where it guards against forged ones.
        let request = Request::new(method, url, call::TIMEOUT).header("x-vault-request", "true")?;
        match &self.namespace {
            Some(namespace) => request.header("x-vault-namespace", namespace),
            None => Ok(request),
        }
    }
}
