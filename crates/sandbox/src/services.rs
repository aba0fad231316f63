//! Every provider that the sandbox has. A new one is a line here.

use super::service::{Service, Surroundings};

/// Every service there is.
pub(super) fn all(with: &Surroundings) -> Vec<Box<dyn Service>> {
    vec![
        Box::new(crate::gcp::Google::new(with.clone())),
        Box::new(crate::azure::Entra::new(with.clone())),
        Box::new(crate::vault::Vault::new(with)),
        Box::new(crate::secrets::SecretsManagers::new(with)),
        Box::new(crate::oauth::Server::new(with)),
        Box::new(crate::github::GitHub::new(with)),
        Box::new(crate::bitbucket::Bitbucket::default()),
        Box::new(crate::buildkite::Buildkite::new(with)),
    ]
}
