//! TLS in front of the sandbox, with a certificate that nobody knows.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An acceptor whose certificate is written to `ca.pem` in a folder.
pub(crate) fn acceptor(folder: &Path) -> TlsAcceptor {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "away.example.test".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
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
