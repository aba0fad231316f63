//! Any answers of the agent, of the issuer and of every provider, while something is lent and given back: it ends well
//! or is refused, and no secret is disclosed, in whatever form a server repeats it.
#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use buildkite_dataflow::agent::job_api::JobApi;
use buildkite_dataflow::agent::oidc::{Issuer, TokenRequest};
use buildkite_dataflow::claims::SubjectToken;
use buildkite_dataflow::config::host::{HostConfig, Verify};
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::credential::{Credential, Material};
use buildkite_dataflow::host::http::{Http, Network};
use buildkite_dataflow::host::retry::Backoff;
use buildkite_dataflow::host::{Clock, Env, Host};
use buildkite_dataflow::job::identity::Verifier;
use buildkite_dataflow::job::keys::KeyStore;
use buildkite_dataflow::lease::Lease;
use buildkite_dataflow::lease::journal::Entry;
use buildkite_dataflow::policy::{Request, request};
use buildkite_dataflow::provider::source::Sources;
use buildkite_dataflow::provider::token::{Minter, Subject};
use buildkite_dataflow::provider::{self, Context, SettleContext};
use buildkite_dataflow::secret::{Mask, Secret};
use buildkite_dataflow::settlement::Settlement;
use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shape::{Bytes, edited};

mod asks;
mod echo;
mod shape;

/// Wherever a request goes, it ends at the socket.
const ANYWHERE: &str = "http://127.0.0.1:1";
/// `{"iss": "http://127.0.0.1:1", "sub": …, "iat": …, "exp": …}`: the job's token.
const SUBJECT: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjEiLCJzdWIiOiJqb2IiLCJhdWQiOiJhIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3NjcyMjk5OTl9.c2lnbmF0dXJlLW9mLXRoZS1qb2Itc3RhbmRzLWhlcmU";
/// What good answers call a credential: no settlement tells it.
const LENT: &str = "lent-hvs.CAESIJ2secret-value";
/// What is sent to some of them, long enough for lines that are wrapped, and what each quoting changes.
const ADMIN: &str =
    "held-by-an-admin+/'\"0$1\\2&3<4>5%6=789_0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLM";

type Answers = Arc<Mutex<VecDeque<(u16, Vec<u8>)>>>;

struct Asked {
    request: Request,
    good: Vec<Good>,
}

enum Good {
    Json(Value),
    Text(&'static str),
}

struct World {
    runtime: tokio::runtime::Runtime,
    answers: Answers,
    socket: PathBuf,
    http: Http,
    asked: Vec<Asked>,
    /// What stands in answers beside what is good.
    words: Vec<&'static str>,
    /// What must not be disclosed.
    hidden: Vec<String>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_660, 0).unwrap()
}

impl World {
    fn new() -> Self {
        let folder = shape::folder("answers");
        let (socket, token) = (folder.join("socket"), folder.join("token"));
        drop(std::fs::remove_file(&socket));
        std::fs::write(&token, SUBJECT).unwrap();
        let answers = Answers::default();
        serve(UnixListener::bind(&socket).unwrap(), &answers);
        let to: url::Url = ANYWHERE.parse().unwrap();
        let from = |origin: &&str| (origin.parse::<url::Url>().unwrap().origin(), to.clone());
        let routes = asks::ORIGINS.iter().map(from).collect();
        let echoes = || [SUBJECT, ADMIN].into_iter().flat_map(echo::all);
        let said = echoes().map(|echo| -> &'static str { Box::leak(echo.said.into_boxed_str()) });
        let network = Network { routes, unix_socket: Some(socket.clone()), ..Network::default() };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            answers,
            socket,
            http: Http::new(network),
            asked: asks::all(&token).into_iter().map(|(ask, good)| asked(ask, good)).collect(),
            words: OURS.into_iter().chain(said).collect(),
            hidden: echoes().flat_map(|echo| echo.hidden).collect(),
        }
    }

    fn will_answer(&self, good: &[Good], bytes: &mut Bytes<'_>) {
        let mut answers = self.answers.lock().unwrap();
        answers.clear();
        for at in 0..good.len() + 2 {
            let Some(good) = good.get(at).or(good.last()) else { continue };
            let status = STATUS[bytes.below(STATUS.len())];
            let mut body = match good {
                _ if status >= 400 => {
                    let said = self.words[bytes.below(self.words.len())];
                    edited(json!({"error": {"code": LENT, "message": said}}), bytes, &self.words)
                        .to_string()
                        .into_bytes()
                }
                Good::Json(good) => edited(good.clone(), bytes, &self.words).to_string().into_bytes(),
                Good::Text(text) => text.as_bytes().to_vec(),
            };
            if bytes.one() & 3 == 3 {
                let from = bytes.below(body.len() + 1);
                let to = (from + bytes.below(16)).min(body.len());
                body.splice(from..to, bytes.some().iter().copied());
            }
            answers.push_back((status, body));
        }
    }

    fn host(&self) -> Host {
        let env = Env::of([
            ("BUILDKITE_AGENT_ENDPOINT", "http://127.0.0.1:1/v3"),
            ("BUILDKITE_AGENT_ACCESS_TOKEN", "bkaj_access-token-of-the-job"),
            ("BUILDKITE_JOB_ID", "job"),
        ]);
        Host { env, clock: Clock::manual(now()), ..Host::real() }
    }
}

const STATUS: [u16; 16] = [200, 200, 200, 200, 200, 200, 200, 204, 201, 400, 401, 403, 404, 422, 429, 503];
const OURS: [&str; 15] = [
    LENT,
    SUBJECT,
    ADMIN,
    "active",
    "access_token",
    "expires_in",
    "client_token",
    "auth",
    "SecretString",
    "value",
    "error_description",
    "invalid token",
    "lent\ncredential_process = x",
    "\r\nhost=evil.test",
    "\u{1b}[2J\0",
];

fn asked(ask: Value, good: Vec<Good>) -> Asked {
    let mut credentials = asks::sources();
    credentials.push(ask);
    let step = Step::read(json!({ "credentials": credentials })).unwrap();
    let request = request::of_step(&step, &HostConfig::default()).unwrap().pop().unwrap();
    Asked { request, good }
}

fn config() -> HostConfig {
    HostConfig { endpoints: vec![ANYWHERE.parse().unwrap()], ..HostConfig::default() }
}

/// Answers whatever is asked with what is next.
fn serve(listener: UnixListener, answers: &Answers) {
    let answers = Arc::clone(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || connection(&stream, &answers));
        }
    });
}

fn connection(stream: &UnixStream, answers: &Answers) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length =
                line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap_or(0));
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let next = answers.lock().unwrap().pop_front();
        let (status, body) = next.unwrap_or_else(|| (404, b"{}".to_vec()));
        let body = if status == 204 { Vec::new() } else { body };
        let length =
            if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} x\r\n{length}content-type: application/json\r\n\r\n");
        (&mut &*stream).write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

fuzz_target!(|input: &[u8]| {
    let world = &*WORLD;
    let mut bytes = Bytes(input);
    let which = bytes.below(world.asked.len() + 3);
    let done = match world.asked.get(which) {
        Some(asked) => {
            let tried = bytes.one() & 1 == 1;
            world.will_answer(&asked.good, &mut bytes);
            world.runtime.block_on(lend(world, &asked.request, tried))
        }
        None => world.runtime.block_on(others(world, which - world.asked.len(), &mut bytes)),
    };
    for told in done {
        for secret in &world.hidden {
            assert!(!told.contains(secret), "`{secret}` is told: {told}");
        }
    }
});

async fn lend(world: &World, request: &Request, tried: bool) -> Vec<String> {
    let (host, config, mask) = (world.host(), config(), Mask::default());
    let until = now() + TimeDelta::minutes(10);
    let issuer = Issuer::of(&host, &world.http, Duration::ZERO).unwrap();
    let minter = Arc::new(Minter { issuer, mask: mask.clone(), clock: host.clock.clone(), until });
    let refused = |error: &provider::Error| {
        assert!(
            error.left_until().is_none() || !error.nothing_issued(),
            "what was not made has no end: {error}"
        );
        let failure = error.failure(request, None);
        vec![mask.apply(&failure.sentence()), mask.apply(&error.reason()), failure.ident.to_string()]
    };
    let sources = Sources::named(["held", "pem", "keys"].map(str::to_owned).into_iter());
    let held = Secret::new(ADMIN);
    mask.add(&held);
    mask.add(&Secret::new(SUBJECT));
    let subject = match provider::token_key(request) {
        Some(key) => match Subject::mint(&minter, key).await {
            Ok(subject) => Some(subject),
            Err(error) => return refused(&error),
        },
        None => None,
    };
    sources.made("held", Some(Material::Token(held.clone())));
    sources.made("pem", Some(Material::Token(Secret::new(asks::pem()))));
    sources.made(
        "keys",
        Some(Material::AwsKeys {
            access_key_id: "AKIA".into(),
            secret_access_key: held.clone(),
            session_token: held.clone(),
        }),
    );
    let context = Context {
        host: &config,
        http: &world.http,
        clock: &host.clock,
        subject: subject.as_ref(),
        sources: &sources,
        folder: Path::new("/nowhere"),
        program: Path::new("/usr/bin/true"),
        mask: &mask,
        backoff: Backoff { attempts: 2, base: Duration::ZERO, jitter: false },
        until,
    };
    match provider::exchange(request, "session", &context).await {
        Ok(credential) => {
            one_line(&credential);
            give_back(world, request, &credential, &config, tried).await
        }
        Err(error) => refused(&error),
    }
}

/// What is handed over is one line, wherever it is put; a stored value may be any text.
fn one_line(credential: &Credential) {
    let stored = matches!(credential.material, Material::Fields(_));
    let secrets = if stored { Vec::new() } else { credential.secrets() };
    let told = [&credential.principal, &credential.handle].map(String::as_str);
    for text in secrets.iter().map(Secret::expose).chain(told) {
        assert!(!text.contains(char::is_control), "a control character is handed over");
    }
}

async fn give_back(
    world: &World,
    request: &Request,
    credential: &Credential,
    config: &HostConfig,
    tried: bool,
) -> Vec<String> {
    let lease = Lease::on(credential, "1", request.ask.kind().provider(), "session", now());
    let line = serde_json::to_string(&Entry::Leased(lease.clone())).unwrap();
    let read = serde_json::from_str(&line).unwrap();
    assert!(matches!(read, Entry::Leased(_)), "a lease is not read as it was written: {line}");
    let clock = Clock::manual(now());
    let settling = SettleContext { host: config, http: &world.http, clock: &clock };
    let settlement = provider::settle(&lease.terms(tried), &settling).await;
    let line = serde_json::to_string(&settlement).unwrap();
    assert_eq!(serde_json::from_str::<Settlement>(&line).unwrap(), settlement);
    // What is short stands in any text, and what the provider calls a name is none of its secrets.
    for secret in credential.secrets().iter().filter(|secret| secret.expose().contains(LENT)) {
        let named =
            credential.principal.contains(secret.expose()) || credential.handle.contains(secret.expose());
        let told = format!("{line}{settlement}{settlement:?}{lease:?}{credential:?}");
        assert!(named || !told.contains(secret.expose()), "what was lent is told: {told}");
    }
    let facts: Vec<String> =
        lease.facts(buildkite_dataflow::provider::public_details(&lease.provider)).into_values().collect();
    let names = [&credential.principal, &credential.handle].into_iter().chain(&facts).cloned();
    [line, settlement.to_string(), format!("{lease:?}{credential:?}")].into_iter().chain(names).collect()
}

/// The agent's token, the issuer's keys, and the Job API.
async fn others(world: &World, which: usize, bytes: &mut Bytes<'_>) -> Vec<String> {
    let host = world.host();
    match which {
        0 => {
            world.will_answer(&[Good::Json(json!({ "token": SUBJECT, "message": "no" }))], bytes);
            let issuer = Issuer::of(&host, &world.http, Duration::ZERO).unwrap();
            host.mask.add(&Secret::new(SUBJECT));
            let minted = issuer.mint(&TokenRequest::default(), now() + TimeDelta::minutes(1)).await;
            minted.err().map(|error| host.mask.apply(&error.failure().sentence())).into_iter().collect()
        }
        1 => {
            let claims = edited(asks::claims(), bytes, &world.words);
            let token = SubjectToken::new(Secret::new(asks::token(&claims)));
            let audience = bytes.text();
            world.will_answer(&asks::discovery(), bytes);
            let once = Backoff { attempts: 1, base: Duration::ZERO, jitter: false };
            let store = KeyStore::new(&world.http, &host.clock, None, once, now() + TimeDelta::minutes(1));
            let issuers = [ANYWHERE.to_owned()];
            for verify in [Verify::Required, Verify::WhenAvailable] {
                let verifier = Verifier { issuers: &issuers, verify, keys: &store };
                drop(
                    verifier
                        .identify(&token, &audience, now())
                        .await
                        .map_err(|error| error.failure().sentence()),
                );
            }
            Vec::new()
        }
        _ => {
            world.will_answer(&[Good::Json(json!({ "error": "no" }))], bytes);
            let job = JobApi::at(world.socket.clone(), Secret::new("job-api-token"));
            drop(job.redact(&Secret::new(ADMIN)).await.map_err(|error| error.failure().sentence()));
            let set = job.set(&BTreeMap::from([("A", "b")])).await;
            drop(set.map_err(|error| (error.is_transient(), error.failure().sentence())));
            Vec::new()
        }
    }
}
