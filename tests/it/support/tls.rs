//! TLS in front of the sandbox, with a certificate that nobody knows.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An acceptor whose certificate is written to `ca.pem` in a folder.
pub(crate) fn acceptor(folder: &Path) -> TlsAcceptor {
    accepting(folder, Arc::new(NoClientAuth), rustls::ALL_VERSIONS)
}

/// The same with this verifier of clients and these versions.
pub(crate) fn accepting(
    folder: &Path,
    verifier: Arc<dyn ClientCertVerifier>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsAcceptor {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "away.example.test".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config =
        config.with_client_cert_verifier(verifier).with_single_cert(vec![made.cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// Passes on what arrives, decrypted, to `back`.
pub(crate) async fn serve(front: TcpListener, acceptor: TlsAcceptor, back: String) {
    while let Ok((stream, _)) = front.accept().await {
        let (acceptor, back) = (acceptor.clone(), back.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let Ok(mut tls) = acceptor.accept(stream).await else { return };
            let mut plain = TcpStream::connect(back).await.unwrap();
            plain.set_nodelay(true).unwrap();
            // A client that ends the connection hard is no fault of anybody's.
            let _ended = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
        });
    }
}
