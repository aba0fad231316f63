//! The floor.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use crate::arena::ROLE;

/// The smallest client: one token, one exchange, the redactions and the export.
pub(crate) fn floor(folder: &Path, port: u16, redactions: usize, job: &str) {
    let roots = authorities([folder.join("ca.pem").as_path()]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut socket = std::net::TcpStream::connect(("localhost", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut tls = rustls::Stream::new(&mut connection, &mut socket);
    let ask = br#"{"audience":"sts.amazonaws.com"}"#;
    let path = format!("/v3/jobs/{job}/oidc/tokens");
    let answer = request(&mut tls, "POST", &path, "Authorization: Token bench-token\r\n", ask);
    let token: Value = serde_json::from_slice(&answer).unwrap();
    let form = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={ROLE}&RoleSessionName=floor&WebIdentityToken={}",
        token["token"].as_str().unwrap()
    );
    let answer = request(
        &mut tls,
        "POST",
        "/",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        form.as_bytes(),
    );
    assert!(String::from_utf8_lossy(&answer).contains("<SecretAccessKey>"));
    let mut job = UnixStream::connect(folder.join("job.sock")).unwrap();
    let bearer = "Authorization: Bearer bench-api-token\r\n";
    for number in 0..redactions {
        let body = format!(r#"{{"redact":"a-secret-of-some-length-{number}"}}"#);
        request(&mut job, "POST", "/api/current-job/v0/redactions", bearer, body.as_bytes());
    }
    request(&mut job, "PATCH", "/api/current-job/v0/env", bearer, br#"{"env":{"FLOOR":"1"}}"#);
}

/// What is in these files.
pub(crate) fn authorities<'a>(files: impl IntoIterator<Item = &'a Path>) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    for path in files {
        let pem = std::fs::read(path).unwrap();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    roots
}

fn request(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        answer.extend_from_slice(&chunk[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if answer.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return answer.split_off(end + 4);
        }
    }
}
