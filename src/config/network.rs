//! The `network` block of the host config.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::aws::is_safe;
use crate::host::http::Network;

/// The network, as this host reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NetworkConfig {
    /// Certificates trusted beside the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The proxy for requests that leave the host.
    pub proxy: Option<Url>,
    /// Origins that this host reaches by another way: private endpoints.
    pub routes: Vec<Route>,
}

/// Another way to one origin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The origin that providers are known by, such as `https://sts.googleapis.com`.
    pub from: Url,
    /// Where its requests go instead; a path stands before theirs.
    pub to: Url,
}

impl NetworkConfig {
    /// What is wrong, with the key that is wrong.
    pub fn check(&self) -> Result<(), (String, String)> {
        let mut routes = self.routes.iter().enumerate();
        let Some((index, route)) = routes.find(|(_, route)| !is_safe(&route.to)) else { return Ok(()) };
        let seen = route.to.origin().ascii_serialization();
        Err((format!("routes[{index}].to"), format!("expected an https URL, saw `{seen}`")))
    }

    /// How requests leave this host.
    pub fn settings(&self) -> Network {
        Network {
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            routes: self.routes.iter().map(|route| (route.from.origin(), route.to.clone())).collect(),
            unix_socket: None,
        }
    }
}
