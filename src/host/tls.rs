//! Whom TLS trusts.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::files;
use super::http::{Error, Network, setup};
use super::identity::Identity;

/// Where distributions keep the certificates that the host trusts; the first that exists is used.
pub(super) const SYSTEM_CERTIFICATES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) fn config(
    roots: rustls::RootCertStore,
    identity: Option<&Identity>,
) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(setup)?.with_root_certificates(roots);
    match identity {
        Some(identity) => identity.shown(builder),
        None => Ok(builder.with_no_client_auth()),
    }
}

pub(super) fn roots(network: &Network) -> Result<rustls::RootCertStore, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let system = SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.exists());
    for path in system.iter().chain(&network.ca_file) {
        let pem = files::read(path).map_err(Error::Certificates)?;
        // A bundle with one odd certificate is still a bundle: what cannot be parsed is left out.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    if roots.is_empty() { Err(Error::NoCertificates) } else { Ok(roots) }
}
