//! Client certificates: by which servers know this host. One is shown to one origin, and its key signs for no other.

use std::error::Error as _;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::Error;
use crate::files::{self, Untrusted};

/// A certificate, its key, and the one origin that they are for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The origin that is connected to, after every route.
    pub origin: url::Origin,
    /// The certificate and what leads to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, not encrypted.
    pub key: PathBuf,
}

impl Identity {
    fn unusable(&self, problem: String) -> Error {
        Error::Identity { endpoint: self.origin.ascii_serialization(), problem }
    }

    fn unread(&self, error: &Untrusted) -> Error {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.unusable(format!("{error}{cause}"))
    }

    /// Has TLS show it.
    pub(super) fn shown(
        &self,
        builder: rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>,
    ) -> Result<rustls::ClientConfig, Error> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let pem = files::read(&self.certificate).map_err(|error| self.unread(&error))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(self.unusable(format!("`{certificate}` holds no certificate in PEM")));
        }
        let owners = [0, nix::unistd::geteuid().as_raw()];
        let pem = files::read_private(&self.key, &owners).map_err(|error| self.unread(&error))?;
        let found = PrivateKeyDer::from_pem_slice(&Zeroizing::new(pem)).map_err(|_| {
            self.unusable(format!("`{key}` holds no private key in PEM that is not encrypted"))
        })?;
        builder.with_client_auth_cert(chain, found).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                self.unusable(format!("`{key}` is not the key of `{certificate}`"))
            }
            error => self.unusable(format!("`{certificate}` with `{key}`: {error}")),
        })
    }
}

/// The alert by which a server says that it wants another client certificate, or one at all. Before TLS 1.3
/// many say no more than that the handshake failed.
pub(super) fn alert(error: &reqwest::Error) -> Option<String> {
    use rustls::AlertDescription as Alert;
    let said = of_tls(error)?;
    let rustls::Error::AlertReceived(alert) = said else { return None };
    let ours = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::HandshakeFailure
    );
    ours.then(|| said.to_string())
}

fn of_tls<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(said) = error.downcast_ref() {
        return Some(said);
    }
    // An error of I/O names what its content was caused by, and not the content.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let next: &(dyn std::error::Error + 'static) = match inner {
        Some(inner) => inner,
        None => error.source()?,
    };
    of_tls(next)
}
