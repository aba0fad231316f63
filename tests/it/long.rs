//! One step with everything at once, which outlives what it was lent first.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use buildkite_dataflow::host::serve::Response;
use buildkite_dataflow::record::end::End;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::components;
use crate::support::hooks::{ROLE, Stage};
use crate::support::lent::{held, of_held};

const PATIENCE: Duration = Duration::from_secs(40);
const PUBLIC: &str = "https://login.microsoftonline.com";

/// Asks again and again, and gives up at a time.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A job with one block that asks five providers, of which two have a token file that lives for seconds.
fn stage() -> Stage {
    let mut stage = Stage::asking("aws", &json!({"role": ROLE}));
    stage.speak_tls();
    let authority = stage.variable("BUILDKITE_AGENT_ENDPOINT").unwrap().replace("/v3", "/azure");
    let mut routes = stage.config["network"]["routes"].as_array().unwrap().clone();
    routes.retain(|route| route["from"] != PUBLIC);
    routes.push(json!({"from": PUBLIC, "to": authority}));
    stage.config["network"] = json!({"ca-file": stage.folder.path().join("ca.pem"), "routes": routes});
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    let secret = |key: &str, env: &str| json!({"path": "database/creds/train", "key": key, "env": env});
    let short = json!({"lifetime": "3s"});
    stage.block = json!({"credentials": [
        {"name": "live-role", "refresh": true, "aws": {"role": ROLE, "region": "eu-west-1", "profile": "live"}},
        {"vault": {"address": stage.sandbox.provider_url("vault"), "role": "train", "export-token": true,
            "secrets": [secret("username", "PGUSER"), secret("password", "PGPASSWORD")]}},
        {"gcp": {"provider": "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite",
            "project": "proj", "token": short}},
        {"azure": {"tenant-id": "acme.onmicrosoft.com", "client-id": "11111111-2222-4333-8444-555555555555",
            "token": short}},
        held(&stage, false),
        {"bitbucket": {"consumer": {"key": "abc", "secret": of_held()}}},
    ]});
    stage.prepare();
    stage
}

/// The clients of the step: one process from its begin to its end.
struct Clients {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    fn start(stage: &Stage) -> Option<Self> {
        let mut python = Command::new(components::find("venv/bin/python")?);
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/long_step.py")).env_clear();
        python.envs(stage.api.env().iter().map(|(name, value)| (name, value.expose())));
        let folder = stage.folder.path();
        python.env("AWS_ENDPOINT_URL", stage.sandbox.url()).env("HOME", folder);
        python.env("REQUESTS_CA_BUNDLE", folder.join("ca.pem"));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, asks, answers: BufReader::new(answers) })
    }

    #[track_caller]
    fn ask(&mut self) -> Value {
        self.asks.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn end(mut self) {
        drop(self.asks);
        assert!(self.child.wait().unwrap().success());
    }
}

/// The token that lies in a file that a variable names.
fn token_in(stage: &Stage, variable: &str) -> String {
    std::fs::read_to_string(stage.variable(variable).unwrap()).unwrap()
}

/// When a token of the job ends.
fn ends(stage: &Stage, token: &str) -> DateTime<Utc> {
    let claims = stage.sandbox.issuer().verify(token).unwrap();
    DateTime::from_timestamp(claims.seconds("exp").unwrap(), 0).unwrap()
}

/// The words of each lease's settlements, by its request's place in the block.
fn settled(end: &End) -> BTreeMap<&str, Vec<&str>> {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in &end.settlements {
        words.entry(one.request.split('+').next().unwrap()).or_default().push(one.settlement.word());
    }
    words
}

#[test]
fn a_step_that_outlives_everything_it_was_lent_goes_on_in_every_client_and_all_is_settled() {
    let mut stage = stage();
    stage.lends();
    // The keys that the clients begin with, and those after them, end in seconds.
    stage.sandbox.sts().cut_short(TimeDelta::seconds(5));
    let kept = stage.private_files();
    std::fs::remove_file(kept.iter().find(|path| path.ends_with("live-role.kept")).unwrap()).unwrap();
    let Some(mut clients) = Clients::start(&stage) else { return };
    let first = clients.ask();
    let lent = stage.sandbox.sts().issued().pop().unwrap();
    assert_eq!((&first["aws"], &first["vault"]), (&json!(lent.arn), &json!(true)));
    let token = token_in(&stage, "AZURE_FEDERATED_TOKEN_FILE");
    let over = lent.expires_at.max(ends(&stage, &token));
    until("what was lent first does not end", || Utc::now() > over);
    let second = clients.ask();
    for cloud in ["aws", "google", "azure"] {
        assert_ne!(first[cloud], second[cloud], "{cloud}");
    }
    assert_eq!((stage.sandbox.sts().issued().len(), &second["vault"]), (3, &json!(true)));
    assert!(ends(&stage, &token_in(&stage, "AZURE_FEDERATED_TOKEN_FILE")) > over);
    clients.end();
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
    let records = stage.records();
    let [_, last] = records.as_slice() else { panic!("{} links", records.len()) };
    let end = last.end.as_ref().unwrap();
    let words = settled(end);
    // Each renewal is a lease; the session that the clients began with was over before the step was, and of what
    // is given back at once the one that ends first comes first.
    assert_eq!((words["1"].len(), words["1"][0]), (3, "already-expired"));
    for request in ["3", "4"] {
        // What a cloud gave for a token lives for longer than the token.
        assert!(
            words[request].len() > 1 && words[request].iter().all(|word| *word == "expires"),
            "{words:?}"
        );
    }
    assert_eq!((&words["2"][..], &words["5"][..]), (&["revoked"][..], &["revoked"][..]));
    let place = |request: &str| end.settlements.iter().position(|one| one.request == request).unwrap();
    assert!(
        place("6") < place("5"),
        "what was made with another is settled before it: {:?}",
        end.settlements
    );
    for provider in ["vault", "oauth"] {
        assert!(stage.issued(provider).iter().all(|one| one.revoked), "{provider}");
    }
}

#[test]
fn a_keeper_whose_refresh_failed_tries_again_after_a_wait_that_follows_the_hosts_retries() {
    let azure = json!({"tenant-id": "acme.onmicrosoft.com", "client-id": "11111111-2222-4333-8444-555555555555",
        "token": {"lifetime": "3s"}});
    let mut stage = Stage::asking("azure", &azure);
    stage.lends();
    let first = token_in(&stage, "AZURE_FEDERATED_TOKEN_FILE");
    let before = stage.sandbox.faults().asked("/oidc/tokens");
    // With the default of a second each would cost a quarter of a minute.
    stage.fault("/oidc/tokens", 3, Response::json(403, &json!({"message": "not now"})));
    until("the file was not written anew", || token_in(&stage, "AZURE_FEDERATED_TOKEN_FILE") != first);
    assert!(stage.sandbox.faults().asked("/oidc/tokens") >= before + 4);
    stage.command_ended(0);
    assert_eq!(stage.hook("post-command").status, 0);
    stage.nothing_left();
}
