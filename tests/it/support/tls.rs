//! TLS in front of the sandbox, with a certificate that nobody knows; and a proxy on the way to it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A name that is no loopback, which the certificate is for too.
pub(crate) const AWAY: &str = "away.example.test";

/// An acceptor whose certificate is written to `ca.pem` in a folder.
pub(crate) fn acceptor(folder: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), AWAY.to_owned()]).unwrap();
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

/// Passes on what arrives, as it is.
pub(crate) async fn pass_on(front: TcpListener, back: String) {
    while let Ok((mut stream, _)) = front.accept().await {
        let back = back.clone();
        tokio::spawn(async move {
            let mut plain = TcpStream::connect(back).await.unwrap();
            let _ended = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
        });
    }
}

/// An HTTP proxy that tunnels to `back`, whatever host was asked for; what it was asked goes to `asked`.
pub(crate) async fn tunnel(front: TcpListener, back: String, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = front.accept().await {
        let (back, asked) = (back.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let line = String::from_utf8(head).unwrap().lines().next().unwrap_or_default().to_owned();
            asked.lock().unwrap().push(line);
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let mut plain = TcpStream::connect(back).await.unwrap();
            let _ended = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
        });
    }
}
