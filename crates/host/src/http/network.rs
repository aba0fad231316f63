//! What the host config says about the network.

use std::path::PathBuf;

use url::Url;

use super::identity::Identity;
use crate::direct::Direct;

/// What the host config says about the network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Certificates trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// The proxy for every request that leaves the host.
    pub proxy: Option<Url>,
    /// Who is asked directly all the same.
    pub direct: Vec<Direct>,
    /// Origins to reach by another way, and that way: private endpoints.
    pub routes: Vec<(url::Origin, Url)>,
    /// Origins to which a request may be sent on by the server that it was for.
    pub redirects: Vec<url::Origin>,
    /// Certificates by which servers know this host.
    pub identities: Vec<Identity>,
    /// A Unix socket to speak to, whatever the URL's host.
    pub unix_socket: Option<PathBuf>,
}

impl Network {
    /// The way to `url`: another origin, before whose path stands what the route has of one.
    pub(super) fn route(&self, url: Url) -> Url {
        let origin = url.origin();
        let Some((_, to)) = self.routes.iter().find(|(from, _)| *from == origin) else { return url };
        let mut routed = to.clone();
        routed.set_path(&format!("{}{}", to.path().trim_end_matches('/'), url.path()));
        routed.set_query(url.query());
        routed
    }

    /// The certificate for a URL, routed already, and its place in the list.
    pub(super) fn identity(&self, url: &Url) -> Option<(usize, &Identity)> {
        let origin = url.origin();
        self.identities.iter().enumerate().find(|(_, identity)| identity.origin == origin)
    }
}
