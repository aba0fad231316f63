//! Several credentials in one step, and what a callback costs.

use std::time::Duration;

use buildkite_dataflow::config::credential::CredentialSource;
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::rehearse::sandbox::sts::Role;
use serde_json::{Value, json};

use crate::ROUNDS;
use crate::arena::{Arena, ROLE, binary};
use crate::cost::{Cost, median, row, run};

/// Servers that the blocks name, by their provider.
pub(crate) const ENDPOINTS: [(&str, &str); 2] =
    [("vault", "https://vault.example.com:8200"), ("oauth", "https://login.example.com")];

pub(crate) fn compare() {
    let arena = Arena::of_every_provider();
    arena.sandbox.faults().set_latency(Duration::from_millis(50));
    // The host's first step fetches the issuer's keys.
    step(&arena, &json!({"credentials": [{"aws": {"role": ROLE}}]}));
    println!(
        "| 50 ms a request, median of {ROUNDS} | wall ms | CPU ms | wall / slowest alone |\n|---|---|---|---|"
    );
    roles(&arena);
    providers(&arena);
    callback(&arena);
    arena.runtime.shutdown_background();
}

fn step(arena: &Arena, block: &Value) -> Cost {
    let job = arena.job();
    let before = run(arena.hook("pre-command", &job, block));
    run(arena.hook("post-command", &job, block));
    before
}

/// Eight roles in one step against one: they are asked for at once, with one token.
fn roles(arena: &Arena) {
    let role = |number: usize| format!("{ROLE}-{number}");
    let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:*", "Principal": "*"}]});
    (0..8).for_each(|n| arena.sandbox.sts().add(&role(n), Role { trust: trust.clone(), max_duration: 3600 }));
    let asks = |number| json!({"aws": {"role": role(number), "region": "eu-west-1", "profile": format!("p{number}")}});
    let block = |roles: usize| json!({"credentials": (0..roles).map(asks).collect::<Vec<_>>()});
    let (mut one, mut eight) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(step(arena, &block(1)));
        eight.push(step(arena, &block(8)));
    }
    let ratio = median(&eight, |cost| cost.wall) / median(&one, |cost| cost.wall);
    row("pre-command with one role", &one, None);
    row("pre-command with eight roles", &eight, Some(ratio));
}

/// Five providers in one step against each of them alone.
fn providers(arena: &Arena) {
    let five = [
        json!({"aws": {"role": ROLE, "region": "eu-west-1"}}),
        json!({"gcp": {"provider": "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/buildkite",
            "service-account": "train@acme-ml.iam.gserviceaccount.com", "credential-file": false, "access-token": true}}),
        json!({"azure": {"tenant-id": "11111111-1111-1111-1111-111111111111",
            "client-id": "22222222-2222-2222-2222-222222222222",
            "scopes": [{"scope": "https://vault.azure.net/.default", "env": "KEY_VAULT_TOKEN"}]}}),
        json!({"vault": {"address": "https://vault.example.com:8200", "role": "train",
            "secrets": [{"path": "database/creds/train", "key": "password", "env": "PGPASSWORD"}]}}),
        json!({"oauth": {"grant": "token-exchange", "issuer": "https://login.example.com", "client-id": "ci",
            "scope": "publish", "env": "PUBLISH_TOKEN"}}),
    ];
    let step_config = Step::parse(&json!({ "credentials": five }).to_string()).unwrap();
    let asked = step_config.credentials.iter().filter_map(|credential| match &credential.source {
        CredentialSource::Request(ask) => Some(ask.clone()),
        CredentialSource::Grant(_) => None,
    });
    let asked: Vec<_> = asked.collect();
    arena.sandbox.providers().iter().for_each(|service| service.prepare(&asked));
    let (mut alone, mut together) = (vec![Vec::new(); five.len()], Vec::new());
    for _ in 0..ROUNDS {
        for (one, costs) in five.iter().zip(&mut alone) {
            costs.push(step(arena, &json!({"credentials": [one]})));
        }
        together.push(step(arena, &json!({ "credentials": five })));
    }
    let slowest = alone.iter().map(|costs| median(costs, |cost| cost.wall)).fold(0.0, f64::max);
    for (one, costs) in five.iter().zip(&alone) {
        row(
            &format!("pre-command with {} alone", one.as_object().unwrap().keys().next().unwrap()),
            costs,
            None,
        );
    }
    row("pre-command with all five", &together, Some(median(&together, |cost| cost.wall) / slowest));
}

/// A callback that lends anew: two requests, of which the step waits for both.
fn callback(arena: &Arena) {
    let block = json!({"credentials": [{"name": "main", "refresh": true, "aws": {"role": ROLE}}]});
    let job = arena.job();
    run(arena.hook("pre-command", &job, &block));
    let folder = arena.api.env()["BUILDKITE_OIDC_TMPDIR"].expose().to_owned();
    let renew = || {
        std::fs::remove_file(format!("{folder}/main.kept")).unwrap();
        let mut command = arena.hook("pre-command", &job, &block);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new(binary());
        command.args(["credential-process", "--block", &folder, "main"]).env_clear().envs(environment);
        run(command)
    };
    let costs: Vec<Cost> = (0..ROUNDS).map(|_| renew()).collect();
    row("a callback that lends anew", &costs, None);
    run(arena.hook("post-command", &job, &block));
}
