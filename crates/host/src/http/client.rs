//! The clients of reqwest: one for most requests, and one for each certificate of this host.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use url::Url;

use super::error::{Error, setup};
use super::identity::Identity;
use super::network::Network;
use super::tls;
use crate::{direct, resolve};

/// The clients that show a certificate, one for each, made when it is needed first.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<usize, reqwest::Client>>);

impl Known {
    /// The client for `url`; nothing where no certificate is for its origin.
    pub(super) fn client(&self, network: &Network, url: &Url) -> Option<Result<reqwest::Client, Error>> {
        let (index, identity) = network.identity(url)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&index) {
            return Some(Ok(client.clone()));
        }
        let made = build(network, Some(identity));
        if let Ok(client) = &made {
            known.insert(index, client.clone());
        }
        Some(made)
    }

    /// What a server that wants another certificate was shown. The files are read again for the next request: a
    /// keeper lives longer than many a certificate.
    pub(super) fn refused(&self, network: &Network, url: &Url) -> String {
        let Some((index, identity)) = network.identity(url) else {
            return "it was shown no client certificate".to_owned();
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
        format!("it was shown `{}`", identity.certificate.display())
    }
}

pub(super) fn build(network: &Network, identity: Option<&Identity>) -> Result<reqwest::Client, Error> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .dns_resolver(resolve::System)
        .user_agent(concat!("buildkite-dataflow/", env!("CARGO_PKG_VERSION")));
    if let Some(socket) = &network.unix_socket {
        // No TLS on a socket, and the certificates are not read for it.
        builder = builder
            .unix_socket(socket.clone())
            .tls_backend_preconfigured(tls::config(rustls::RootCertStore::empty(), None)?);
    } else {
        builder = builder.tls_backend_preconfigured(tls::config(tls::roots(network)?, identity)?);
    }
    if let Some(proxy) = &network.proxy {
        builder = builder.proxy(direct::past(proxy, &network.direct).map_err(setup)?);
    }
    builder.build().map_err(setup)
}
