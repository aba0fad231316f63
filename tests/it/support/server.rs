//! A server that nobody here wrote, as a process, and what a test says to it by itself.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A process that ends with its test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Server {
    /// Starts it, and waits until there is an answer at `url`.
    pub(crate) fn start(mut command: Command, url: &str) -> Self {
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        answers(url, None);
        server
    }
}

/// Waits until it is well at `url`.
pub(crate) fn answers(url: &str, header: Option<&str>) {
    let began = Instant::now();
    while ask("GET", url, header, &Value::Null).0 != 200 {
        assert!(began.elapsed() < Duration::from_mins(1), "{url} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port of the loopback that nobody listens at.
pub(crate) fn free_port() -> u16 {
    // Not one of those that the system gives to any process that asks: another test could be given it meanwhile.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 1000).unwrap() * 20;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends JSON, or nothing: the status, 0 where there is no answer, and the body.
pub(crate) fn ask(method: &str, url: &str, header: Option<&str>, body: &Value) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-X", method, "-w", "\n%{http_code}"]);
    if let Some(header) = header {
        curl.args(["-H", header]);
    }
    if !body.is_null() {
        curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
    }
    let text = String::from_utf8(curl.arg(url).output().unwrap().stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}
