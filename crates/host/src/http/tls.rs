//! Whom TLS trusts.

use std::path::PathBuf;
use std::sync::Arc;

use base64_simd::STANDARD;
use memchr::memmem;
use rustls::pki_types::CertificateDer;

use super::error::{Error, setup};
use super::identity::Identity;
use super::network::Network;
use crate::files;

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
        roots.add_parsable_certificates(certificates(&pem));
    }
    if roots.is_empty() { Err(Error::NoCertificates(SYSTEM_CERTIFICATES.join(", "))) } else { Ok(roots) }
}

/// The certificates of a PEM file (RFC 7468), without those that are no base64.
///
/// A system trusts some 150, and every hook that asks anybody reads them all: the reader of `rustls-pki-types` takes the
/// same time for every byte, as private keys need it, and was two fifths of all that a hook computed.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'_>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let bodies = memmem::find_iter(pem, BEGIN).filter_map(move |at| {
        let body = pem.get(at + BEGIN.len()..)?;
        body.get(..memmem::find(body, END)?)
    });
    bodies.filter_map(|body| STANDARD.decode_to_vec(joined(body)).ok()).map(CertificateDer::from)
}

/// A text without the ends of its lines, which keep a decoder from taking many bytes at a time.
fn joined(text: &[u8]) -> Vec<u8> {
    let (mut joined, mut from) = (Vec::with_capacity(text.len()), 0);
    for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
        joined.extend_from_slice(text.get(from..end).unwrap_or_default().trim_ascii());
        from = end + 1;
    }
    joined
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn certificates_are_read_as_the_reader_of_rustls_reads_them() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert;
        let (pem, der) = (made.pem(), made.der());
        let bundles = [
            format!("# a comment\n{pem}\n\n{pem}"),
            format!("{}{pem}", pem.replace('\n', "\r\n")),
            format!("{pem}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{pem}"),
        ];
        for bundle in &bundles {
            let ours: Vec<_> = certificates(bundle.as_bytes()).collect();
            let theirs: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).flatten().collect();
            assert_eq!(ours, theirs, "{bundle}");
            assert_eq!(ours, [der.clone(), der.clone()], "{bundle}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_left_out_and_the_others_stay() {
        let pem = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
        let odd = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA";
        let bundle = format!("{odd}{pem}{torn}");
        assert_eq!(certificates(bundle.as_bytes()).count(), 1);
        assert_eq!(certificates(b"").count(), 0);
    }
}
