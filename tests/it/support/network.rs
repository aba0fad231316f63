//! Ways to the sandbox: through another address, and through a proxy.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A name that is no loopback, which the certificate in front of the sandbox is for too.
pub(crate) const AWAY: &str = "away.example.test";

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
