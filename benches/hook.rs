//! What a hook costs, from exec to exit, over TLS, against a floor: the smallest client that makes the
//! same requests. `cargo bench --bench hook` prints the table that the README shows; with `-- roles` it
//! compares eight roles in one step with one.
//!
//! The sandbox stands behind a TLS front with a certificate of its own. The floor is this program
//! itself, started with `floor`: rustls and a socket, one blocking request after the other.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking, prints its table, and stands outside the doors that the lints guard"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buildkite_dataflow::host::Clock;
use buildkite_dataflow::host::serve::on_socket;
use buildkite_dataflow::rehearse::sandbox::Sandbox;
use buildkite_dataflow::rehearse::sandbox::agent_api::Job;
use buildkite_dataflow::rehearse::sandbox::issuer::{Issuer, JobClaims};
use buildkite_dataflow::rehearse::sandbox::job_api::JobApi;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use buildkite_dataflow::secret::Secret;
use nix::sys::resource::{UsageWho, getrusage};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

#[path = "../tests/it/support/tls.rs"]
mod tls;

const ROLE: &str = "arn:aws:iam::123456789012:role/bench";
const ROUNDS: usize = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("floor") => {
            floor(
                Path::new(&arguments[2]),
                arguments[3].parse().unwrap(),
                arguments[4].parse().unwrap(),
                &arguments[5],
            );
        }
        Some("roles") => several(&Arena::new()),
        _ => compare(),
    }
}

/// The binary to measure: cargo's own, or another build of it that `DATAFLOW_BINARY` names.
fn binary() -> PathBuf {
    let named = std::env::var_os("DATAFLOW_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_buildkite-dataflow").into())
}

/// Everything that both contenders are given.
struct Arena {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    sandbox: Arc<Sandbox>,
    api: Arc<JobApi>,
    port: u16,
    _server: buildkite_dataflow::host::serve::Server,
}

impl Arena {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let front = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = front.local_addr().unwrap().port();
        let issuer = Issuer::new(&format!("https://localhost:{port}")).unwrap();
        let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:*", "Principal": "*"}]});
        let roles = BTreeMap::from([(ROLE.to_owned(), Role { trust, max_duration: 3600 })]);
        let sandbox =
            Arc::new(runtime.block_on(Sandbox::start_with(issuer, 0, Clock::System, roles)).unwrap());
        let back = sandbox.url().trim_start_matches("http://").to_owned();
        runtime.spawn(tls::serve(front, tls::acceptor(folder.path()), back));
        let socket = folder.path().join("job.sock");
        let api = Arc::new(JobApi::new(Secret::new("bench-api-token"), BTreeMap::new()));
        let server = runtime.block_on(async { on_socket(&socket, Arc::clone(&api)) }).unwrap();
        let arena = Self { runtime, folder, sandbox, api, port, _server: server };
        arena.write_config();
        arena
    }

    /// A job of its own for each round, as each step has.
    fn job(&self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let claims =
            json!({"organization_slug": "acme", "pipeline_slug": "web", "build_number": 1, "job_id": id});
        let claims =
            JobClaims { claims: claims.as_object().unwrap().clone(), optional: serde_json::Map::new() };
        let token = Secret::new("bench-token");
        self.sandbox.agent().add(Job { id: id.clone(), token, claims, env: BTreeMap::new() });
        id
    }

    fn write_config(&self) {
        let folder = self.folder.path();
        let url = format!("https://localhost:{}", self.port);
        let config = json!({"issuers": [url], "aws": {"sts-endpoint": url}, "state-directory": folder.join("state"),
            "network": {"ca-file": folder.join("ca.pem")}});
        std::fs::create_dir_all(folder.join("agent")).unwrap();
        std::fs::write(folder.join("agent/buildkite-dataflow.yml"), config.to_string()).unwrap();
    }

    fn hook(&self, phase: &str, job: &str, block: &Value) -> Command {
        let folder = self.folder.path().display();
        let mut command = Command::new(binary());
        command.arg(format!("/hooks/{phase}")).env_clear();
        for (name, value) in self.api.env() {
            command.env(name, value.expose());
        }
        command
            .env("BUILDKITE_JOB_ID", job)
            .env("BUILDKITE_AGENT_ENDPOINT", format!("https://localhost:{}/v3", self.port))
            .env("BUILDKITE_AGENT_ACCESS_TOKEN", "bench-token")
            .env("BUILDKITE_CONFIG_PATH", format!("{folder}/agent/buildkite-agent.cfg"))
            .env("BUILDKITE_AGENT_JOB_API_SOCKET", format!("{folder}/job.sock"))
            .env("BUILDKITE_AGENT_JOB_API_TOKEN", "bench-api-token")
            .env("BUILDKITE_COMMAND_EXIT_STATUS", "0")
            .env("BUILDKITE_HOOK_SCOPE", "plugin")
            .env("BUILDKITE_PLUGIN_CONFIGURATION", block.to_string());
        command
    }

    fn floor(&self, job: &str, redactions: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("floor").arg(self.folder.path());
        command.args([self.port.to_string(), redactions.to_string(), job.to_owned()]);
        command
    }
}

/// One process, from exec to exit.
#[derive(Clone, Copy, Default)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Runs a process as a child of this one, which stands for the job's bootstrap.
fn run(mut command: Command) -> Cost {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let millis = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
        millis(usage.user_time()) + millis(usage.system_time())
    };
    let (before, began) = (used(), Instant::now());
    let output = command.output().unwrap();
    let wall = began.elapsed().as_secs_f64() * 1e3;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    Cost { wall, cpu: used() - before }
}

/// The largest child of this process so far, in megabytes.
fn peak() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() as f64 / 1024.0
}

fn median(costs: &[Cost], of: fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare() {
    let arena = Arena::new();
    let block = json!({"credentials": [{"aws": {"role": ROLE, "region": "eu-west-1"}}]});
    let step = |latency: u64| {
        let job = arena.job();
        arena.sandbox.faults().set_latency(Duration::from_millis(latency));
        let before = run(arena.hook("pre-command", &job, &block));
        (before, run(arena.hook("post-command", &job, &block)))
    };
    println!(
        "| from exec to exit, median of {ROUNDS} | wall ms | CPU ms | wall / floor |\n|---|---|---|---|"
    );
    let nothing: Vec<Cost> = (0..ROUNDS).map(|_| run(arena.hook("pre-command", "", &json!({})))).collect();
    row("pre-command of a block that asks for nothing", &nothing, None);
    // The host's first step fetches the issuer's keys; it also tells how many texts a hook redacts.
    let (first, _) = step(20);
    let (redactions, memory) = (arena.api.hidden(), peak());
    row("the host's first step: pre-command, 20 ms a request", &[first], None);
    for latency in [20, 0] {
        let (mut ours, mut floor, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floor.push(run(arena.floor(&arena.job(), redactions)));
            let (before, end) = step(latency);
            ours.push(before);
            after.push(end);
        }
        let ratios: Vec<Cost> = ours
            .iter()
            .zip(&floor)
            .map(|(ours, floor)| Cost { wall: ours.wall / floor.wall, ..Cost::default() })
            .collect();
        row(&format!("the floor, {latency} ms a request"), &floor, None);
        let ratio = median(&ratios, |cost| cost.wall);
        row(&format!("pre-command with one role, {latency} ms a request"), &ours, Some(ratio));
        row("post-command", &after, None);
    }
    let size = std::fs::metadata(binary()).unwrap().len() as f64 / 1e6;
    println!("\npeak memory of a hook {memory:.1} MB; binary {size:.1} MB; no process started by a hook");
    println!(
        "{redactions} texts redacted a step; an fsync of this disk takes {:.2} ms (median)",
        fsync(arena.folder.path())
    );
    arena.runtime.shutdown_background();
}

/// Eight roles in one step against one: they are asked for at once, with one token.
fn several(arena: &Arena) {
    let role = |number: usize| format!("{ROLE}-{number}");
    let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:*", "Principal": "*"}]});
    (0..8).for_each(|n| arena.sandbox.sts().add(&role(n), Role { trust: trust.clone(), max_duration: 3600 }));
    let asks = |number| json!({"aws": {"role": role(number), "region": "eu-west-1", "profile": format!("p{number}")}});
    let block = |roles: usize| json!({"credentials": (0..roles).map(asks).collect::<Vec<_>>()});
    arena.sandbox.faults().set_latency(Duration::from_millis(50));
    let step = |block: &Value| {
        let job = arena.job();
        let before = run(arena.hook("pre-command", &job, block));
        run(arena.hook("post-command", &job, block));
        before
    };
    // The host's first step fetches the issuer's keys.
    step(&block(1));
    let (mut one, mut eight) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(step(&block(1)));
        eight.push(step(&block(8)));
    }
    let ratio = median(&eight, |cost| cost.wall) / median(&one, |cost| cost.wall);
    println!("| 50 ms a request, median of {ROUNDS} | wall ms | CPU ms | wall / one |\n|---|---|---|---|");
    row("pre-command with one role", &one, None);
    row("pre-command with eight roles", &eight, Some(ratio));
}

fn row(name: &str, costs: &[Cost], ratio: Option<f64>) {
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let (wall, cpu) = (median(costs, |c| c.wall), median(costs, |c| c.cpu));
    println!("| {name} | {wall:.1} | {cpu:.1} | {ratio} |");
}

/// What the disk asks for a small append.
fn fsync(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("fsync")).unwrap();
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            file.write_all(&[7; 400]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The smallest client: one token, one exchange, the redactions and the export.
fn floor(folder: &Path, port: u16, redactions: usize, job: &str) {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(folder.join("ca.pem")).unwrap();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
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
