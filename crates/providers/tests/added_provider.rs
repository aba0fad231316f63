//! "To add a provider" of ARCHITECTURE.md, step by step: a provider with one entry, which uses nothing but what this
//! crate shows, is exchanged and settled against a server on loopback.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use dataflow_config::credential::{ProviderRequest, Settle};
use dataflow_config::git_ssh::GitSsh;
use dataflow_config::host::HostConfig;
use dataflow_config::host_parse;
use dataflow_host::Clock;
use dataflow_host::http::{self, Http, Method, Network};
use dataflow_host::retry::Backoff;
use dataflow_policy::request::Pending;
use dataflow_policy::{self as policy, Origin};
use dataflow_providers::call::{Refusal, Remedy, TIMEOUT, call};
use dataflow_providers::source::Sources;
use dataflow_providers::{Context, Error, Provider, SettleContext, giving_back};
use dataflow_types::credential::{Credential, Material, SettleWith};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::secret::Mask;
use dataflow_types::settlement::Settlement;
use dataflow_types::span::Span;

/// The entry: `mod.rs` of a provider.
static TICKETS: Provider = Provider {
    name: "tickets",
    settlements: &["already-expired", "revoked", "revoked-inferred"],
    public_details: &["desk"],
    own_addresses: &[],
    session: |_, job_id| format!("job {job_id}"),
    exchange: |request, session, context| Box::pin(exchange(request, session, context)),
    settle: |lease, context| Box::pin(settle(lease, context)),
};

/// `exchange.rs`: a request, and what its answer gives.
async fn exchange(
    request: &policy::Request,
    session: &str,
    context: &Context<'_>,
) -> Result<Credential, Error> {
    let ProviderRequest::OAuth(block) = &request.ask else { return Err(Error::OtherProvider(TICKETS.name)) };
    let desk = block.token_endpoint.clone().unwrap();
    let make =
        async |_| Ok(http::Request::new(Method::POST, desk.clone(), TIMEOUT).header("x-session", session)?);
    let answer = call(context, explain, make).await?;
    let fields = answer.fields()?;
    let token = fields.token("/ticket")?;
    let ends = fields.ends_in("/seconds", &token, Span(Duration::from_mins(5)), context.clock.now());
    let detail = BTreeMap::from([("desk".to_owned(), desk.to_string())]);
    Ok(Credential {
        variables: Vec::new(),
        files: Vec::new(),
        material: Material::Token(token.secret.clone()),
        expires_at: ends.at,
        principal: "desk".to_owned(),
        handle: token.secret.fingerprint().handle(),
        settle_with: SettleWith::Handle { secret: token.secret, detail },
        answer_lost: answer.lost,
        flaw: token.flaw.or(ends.flaw),
    })
}

/// `settle.rs`: a ticket deletes itself.
async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    let desk = lease.detail.get("desk").and_then(|desk| Url::parse(desk).ok());
    giving_back::delete_itself(lease, context, desk, "*/*").await
}

/// `refusal.rs`: what a refusal means.
fn explain(status: http::StatusCode, _: &[u8]) -> Refusal {
    let hint = (status == http::StatusCode::FORBIDDEN).then(|| "the desk is closed".to_owned());
    Refusal { hint, ..Refusal::by_status(status) }
}

/// `sandbox/`: a server that gives these answers, one each, and remembers what it was asked.
fn desk(answers: Vec<(u16, &'static str)>) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/desk", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&seen);
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() < 3 {
                    break;
                }
                if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            asked.lock().unwrap().push(head);
            let type_and_length = format!("content-type: application/json\r\ncontent-length: {}", body.len());
            write!(stream, "HTTP/1.1 {status} X\r\n{type_and_length}\r\nconnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
    (url.parse().unwrap(), seen)
}

fn request(desk: &Url) -> policy::Request {
    let block = serde_json::json!({ "grant": "token-exchange", "token-endpoint": desk });
    policy::Request {
        origin: Origin::Step,
        place: "credentials[0]".to_owned(),
        name: None,
        export: true,
        refresh: false,
        git: Vec::new(),
        git_ssh: GitSsh::default(),
        settle: Settle::Always,
        ask: ProviderRequest::OAuth(Box::new(serde_json::from_value(block).unwrap())),
        written: serde_json::Value::Null,
        pending: Pending::default(),
    }
}

fn lend(desk: &Url, host: &HostConfig) -> Result<Credential, Error> {
    let (http, sources, mask) =
        (Http::new(Network::default()), Sources::named(std::iter::empty()), Mask::default());
    let context = Context {
        host,
        http: &http,
        clock: &Clock::System,
        subject: None,
        sources: &sources,
        folder: Path::new("/nowhere"),
        program: Path::new("/nowhere/program"),
        mask: &mask,
        backoff: Backoff { attempts: 2, base: Duration::from_millis(1), jitter: false },
        until: Clock::System.now() + Duration::from_secs(20),
    };
    let request = request(desk);
    let session = (TICKETS.session)(&request, "7");
    run(TICKETS.lend(&request, &session, &context))
}

fn give_back(credential: &Credential, host: &HostConfig) -> Settlement {
    let SettleWith::Handle { secret, detail } = &credential.settle_with else { unreachable!() };
    let lease = RevocationTarget {
        provider: TICKETS.name.to_owned(),
        expires_at: credential.expires_at,
        handle: Some(secret.clone()),
        detail: detail.clone(),
        tried: false,
    };
    let http = Http::new(Network::default());
    let context = SettleContext { host, http: &http, clock: &Clock::System };
    run(TICKETS.give_back(&lease, &context))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_provider_that_is_one_entry_is_exchanged_and_settled() {
    let (url, seen) = desk(vec![(503, "{}"), (200, r#"{"ticket": "t-123456", "seconds": 60}"#), (204, "")]);
    let host = host_parse::parse("config.yml", &format!("endpoints: ['{url}']")).unwrap();
    let credential = lend(&url, &host).unwrap();
    let settlement = give_back(&credential, &host);
    assert_eq!(settlement.word(), "revoked");
    assert!(TICKETS.can_report(&settlement));
    let seen = seen.lock().unwrap();
    let verbs: Vec<&str> = seen.iter().filter_map(|head| head.split(' ').next()).collect();
    assert_eq!(verbs, ["POST", "POST", "DELETE"], "a busy server is asked again");
    assert!(seen[1].contains("x-session: job 7"));
    assert!(seen[2].contains("authorization: Bearer t-123456"));
}

#[test]
fn what_every_provider_is_held_to_holds_for_one_that_was_added() {
    let (url, _) = desk(vec![(200, r#"{"ticket": "two lines\n", "seconds": 60}"#), (204, ""), (403, "no")]);
    let host = host_parse::parse("config.yml", &format!("endpoints: ['{url}']")).unwrap();
    // No request can carry a token with a line break: it lives until its end.
    assert!(matches!(lend(&url, &host), Err(Error::NotGivenBack(_))));
    let (url, seen) = desk(vec![(200, r#"{"ticket": "t-1", "seconds": 60}"#), (403, "no")]);
    let credential = lend(&url, &host).unwrap();
    // A lease that names an address which the host config does not allow is sent nowhere.
    assert_eq!(give_back(&credential, &HostConfig::default()).word(), "failed");
    assert_eq!(seen.lock().unwrap().len(), 1);
    let refused = lend(&url, &host).unwrap_err();
    assert!(refused.nothing_issued());
    let failure = refused.failure(&request(&url), None);
    assert_eq!(failure.hint.as_deref(), Some("the desk is closed"));
    assert!(matches!(
        refused,
        Error::Call(dataflow_providers::call::CallError::Refused {
            refusal: Refusal { remedy: Remedy::Stop, .. },
            ..
        })
    ));
}
