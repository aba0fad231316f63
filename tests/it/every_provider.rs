//! What may go wrong at any provider, run at each: addresses, ways through the network, and sources. Answers are in
//! `every_answer`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::every_answer::GIVES;
use crate::support::hooks::{ROLE, Stage, aws};
use crate::support::lent::{of_held, stage};
use crate::support::network::{AWAY, pass_on, tunnel};
use crate::support::provider::{silence, waited};

pub(crate) const ALL: [&str; 9] =
    ["aws", "gcp", "azure", "vault", "secrets", "oauth", "github", "bitbucket", "buildkite"];

/// The smallest block of each, at the provider's usual address or at one such as people have.
fn asked(provider: &str) -> Value {
    match provider {
        "aws" => aws(&json!({}))["credentials"][0].clone(),
        "gcp" => json!({"gcp": {"provider":
            "projects/123/locations/global/workloadIdentityPools/ci/providers/buildkite"}}),
        "azure" => json!({"azure": {"tenant-id": "99999999-8888-4777-8666-555555555555",
            "client-id": "11111111-2222-4333-8444-555555555555"}}),
        "vault" => json!({"vault": {"address": "https://vault.example.test", "role": "train",
            "secrets": [{"path": "secret/data/train", "key": "api_key", "env": "API_KEY"}]}}),
        "secrets" => {
            json!({"secrets": {"source": "held", "store": "aws-secrets-manager", "region": "eu-west-1",
            "values": [{"name": "prod/db", "env": "PASSWORD"}]}})
        }
        "oauth" => json!({"oauth": {"issuer": "https://login.example.test", "grant": "token-exchange",
            "env": "API_TOKEN"}}),
        "github" => json!({"github":
            {"app-id": 7, "repositories": "acme/web", "private-key": of_held()}}),
        "bitbucket" => json!({"bitbucket": {"consumer": {"key": "consumer-key", "secret": of_held()}}}),
        "buildkite" => json!({"buildkite": {"organization": "acme", "client-id": "app-1", "key-id": "k1",
            "subject": "bot@acme.test", "scopes": "read_builds", "private-key": of_held()}}),
        other => panic!("{other}"),
    }
}

/// The credential `held` that it is made with, where it is made with one.
fn source(provider: &str) -> Option<Value> {
    let mut oauth = json!({"issuer": "https://login.example.test", "grant": "token-exchange"});
    let what = match provider {
        "secrets" => json!({"role": ROLE, "region": "eu-west-1"}),
        "github" | "buildkite" => {
            oauth["audience"] = json!("urn:rehearsal:private-key");
            oauth
        }
        "bitbucket" => oauth,
        _ => return None,
    };
    let kind = if provider == "secrets" { "aws" } else { "oauth" };
    Some(json!({"name": "held", "export": false, kind: what}))
}

/// Every address that the blocks above name or imply, and the service of the sandbox that stands in for it.
fn routes(stage: &Stage, base: &str) -> Value {
    let own = [
        ("https://sts.eu-west-1.amazonaws.com", "sts"),
        ("https://secretsmanager.eu-west-1.amazonaws.com", "secrets"),
        ("https://vault.example.test", "vault"),
        ("https://login.example.test", "oauth"),
    ];
    let known =
        stage.sandbox.providers().iter().flat_map(|service| {
            service.origins().into_iter().map(move |origin| (origin, service.provider()))
        });
    let to = |origin: &str, provider: &str| match stage.sandbox.provider(provider) {
        Some(service) => format!("{base}/{provider}{}", service.below(origin)),
        None => base.to_owned(),
    };
    own.into_iter()
        .chain(known)
        .map(|(origin, provider)| json!({"from": origin, "to": to(origin, provider)}))
        .collect()
}

/// A job that asks for it at `base`.
pub(crate) fn reached(provider: &str, base: impl FnOnce(&mut Stage) -> String) -> Stage {
    let mut stage = stage("gcp");
    stage.block =
        json!({"credentials": source(provider).into_iter().chain([asked(provider)]).collect::<Vec<_>>()});
    stage.config["aws"] = json!({});
    stage.config["endpoints"] = json!(["https://vault.example.test", "https://login.example.test"]);
    let base = base(&mut stage);
    stage.config["network"]["routes"] = routes(&stage, &base);
    stage.prepare();
    stage
}

pub(crate) fn plainly(provider: &str) -> Stage {
    reached(provider, |stage| stage.sandbox.url())
}

/// Lends, gives back, and leaves nothing.
#[track_caller]
pub(crate) fn works(provider: &str, mut stage: Stage) {
    let lent = stage.hook("pre-command");
    assert_eq!(lent.status, 0, "{provider}: {}", lent.text);
    stage.command_ended(0);
    let ended = stage.hook("post-command");
    assert_eq!(ended.status, 0, "{provider}: {}", ended.text);
    stage.nothing_left();
}

/// No job's token was minted, and nobody was asked.
#[track_caller]
fn refused_at_once(provider: &str, mut stage: Stage, said: &str) {
    let text = stage.refuses(102, "bad-configuration");
    assert!(text.contains(said), "{provider}: {text}");
    assert!(stage.sandbox.agent().tokens().is_empty(), "{provider}");
    assert_eq!(stage.records().len(), 0, "{provider}");
}

#[test]
fn a_provider_that_says_nothing_is_given_up_at_the_deadline() {
    let given_up = |provider: &str, path: &str| {
        let mut stage = plainly(provider);
        stage.config["deadlines"] = json!({"grant": "2s"});
        stage.fault(path, 999, silence());
        let text = stage.refuses(106, "provider-unreachable");
        assert!(waited(&text) <= 2.0, "{provider}: {text}");
    };
    std::thread::scope(|scope| {
        for gives in &GIVES {
            scope.spawn(|| given_up(gives.provider, gives.path));
        }
    });
}

#[test]
fn every_provider_lends_at_its_own_addresses() {
    for provider in ALL {
        works(provider, plainly(provider));
    }
}

#[test]
fn every_provider_lends_where_no_command_line_of_a_vendor_can_be_found() {
    for provider in ALL {
        let stage = plainly(provider);
        stage.set("PATH", "/nonexistent");
        works(provider, stage);
    }
}

#[test]
fn an_address_that_the_host_does_not_allow_is_denied_at_every_provider_that_takes_one() {
    let evil = "https://evil.example.test";
    for (provider, place, value) in [
        ("aws", "/aws/endpoint", json!(evil)),
        ("gcp", "/gcp/universe", json!("evil.example.test")),
        ("vault", "/vault/address", json!(evil)),
        ("secrets", "/secrets/address", json!(evil)),
        ("oauth", "/oauth/issuer", json!(evil)),
        ("oauth", "/oauth/revocation-endpoint", json!(evil)),
        ("github", "/github/api-url", json!(evil)),
        ("buildkite", "/buildkite/endpoint", json!(evil)),
        // Azure's authorities and Bitbucket Cloud's address are not to be chosen.
        (
            "bitbucket",
            "/bitbucket",
            json!({"data-center": {"url": evil, "project": "DATA", "admin": of_held()}}),
        ),
    ] {
        let mut stage = plainly(provider);
        let last = stage.block["credentials"].as_array_mut().unwrap().last_mut().unwrap();
        let (of, key) = place.rsplit_once('/').unwrap();
        last.pointer_mut(of).unwrap()[key] = value;
        let text = stage.refuses(103, "denied");
        assert!(text.contains("evil.example.test") && text.contains("`endpoints`"), "{place}: {text}");
        assert!(stage.issued(if provider == "aws" { "gcp" } else { provider }).is_empty(), "{place}");
    }
}

#[test]
fn a_private_authority_is_believed_by_every_provider_where_the_host_config_names_it_and_only_there() {
    for provider in ALL {
        let stage = reached(provider, |stage| {
            let base = format!("https://localhost:{}", stage.tls());
            stage.config["network"]["ca-file"] = json!(stage.folder.path().join("ca.pem"));
            base
        });
        works(provider, stage);
        let mut stage = reached(provider, |stage| format!("https://localhost:{}", stage.tls()));
        let text = stage.refuses(106, "provider-unreachable");
        assert!(text.contains("certificate"), "{provider}: {text}");
        assert_eq!(
            stage.sandbox.faults().asked("/token") + stage.sandbox.faults().asked("/"),
            0,
            "{provider}"
        );
    }
}

#[test]
fn the_host_configs_proxy_leads_to_every_provider() {
    for provider in ALL {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stage = reached(provider, |stage| {
            let to = format!("127.0.0.1:{}", stage.tls());
            let proxy = stage.listen("127.0.0.1", |front| tunnel(front, to, Arc::clone(&asked))).unwrap();
            stage.config["network"] = json!({"proxy": format!("http://127.0.0.1:{proxy}"),
                "ca-file": stage.folder.path().join("ca.pem")});
            format!("https://{AWAY}")
        });
        works(provider, stage);
        let asked = asked.lock().unwrap();
        let connects = format!("CONNECT {AWAY}:443 HTTP/1.1");
        assert!(!asked.is_empty() && asked.iter().all(|line| *line == connects), "{provider}: {asked:?}");
    }
}

#[test]
fn every_provider_is_reached_where_there_is_ipv6_alone() {
    for provider in ALL {
        let mut there = true;
        let stage = reached(provider, |stage| {
            let back = stage.behind();
            match stage.listen("::1", |front| pass_on(front, back)) {
                Ok(port) => format!("http://[::1]:{port}"),
                Err(error) => {
                    println!("NOT TESTED: this machine has no IPv6 loopback ({error})");
                    assert!(std::env::var_os("CI").is_none(), "CI needs an IPv6 loopback");
                    there = false;
                    stage.sandbox.url()
                }
            }
        });
        if there {
            works(provider, stage);
        }
    }
}

/// Puts another source into the last credential.
fn made_with(stage: &mut Stage, other: &str) {
    fn rename(value: &mut Value, other: &str) {
        match value {
            Value::Object(members) => {
                for (key, inner) in members {
                    if key == "source" { *inner = json!(other) } else { rename(inner, other) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rename(item, other)),
            _ => {}
        }
    }
    rename(stage.block["credentials"].as_array_mut().unwrap().last_mut().unwrap(), other);
}

const MADE_WITH_ANOTHER: [&str; 4] = ["secrets", "github", "bitbucket", "buildkite"];

#[test]
fn a_source_that_does_not_exist_is_named_before_any_request() {
    for provider in MADE_WITH_ANOTHER {
        let mut stage = plainly(provider);
        made_with(&mut stage, "hold");
        refused_at_once(provider, stage, "did you mean `held`?");
    }
}

#[test]
fn credentials_that_are_made_with_each_other_are_refused_before_any_request() {
    for provider in MADE_WITH_ANOTHER {
        let mut stage = plainly(provider);
        let oauth = json!({"issuer": "https://login.example.test", "grant": "client-credentials", "client-id": "svc",
            "client-secret": {"source": "other", "field": "token"}});
        stage.block["credentials"][0] = json!({"name": "held", "export": false, "oauth": oauth});
        stage.block["credentials"][1]["name"] = json!("other");
        refused_at_once(provider, stage, "is made with a credential that is made with it");
        let mut stage = plainly(provider);
        stage.block["credentials"][1]["name"] = json!("itself");
        made_with(&mut stage, "itself");
        refused_at_once(provider, stage, "is made with a credential that is made with it");
    }
}

#[test]
fn two_credentials_for_one_name_are_refused_before_any_request() {
    for provider in ALL {
        let mut stage = plainly(provider);
        let credentials = stage.block["credentials"].as_array_mut().unwrap();
        credentials.push(credentials.last().unwrap().clone());
        refused_at_once(provider, stage, "exports too");
        let mut stage = plainly(provider);
        let credentials = stage.block["credentials"].as_array_mut().unwrap();
        credentials.last_mut().unwrap()["name"] = json!("twice");
        credentials.push(json!({"name": "twice", "export": false, "oauth":
            {"issuer": "https://login.example.test", "grant": "token-exchange"}}));
        refused_at_once(provider, stage, "`twice` is the name of");
    }
}

#[test]
fn a_source_that_is_not_asked_for_is_told_before_any_provider_is_asked() {
    for provider in MADE_WITH_ANOTHER {
        let mut stage = plainly(provider);
        stage.block["credentials"][0]["if"] = json!("build.branch == 'another'");
        let text = stage.refuses(102, "bad-configuration");
        assert!(
            text.contains("which is not asked for: `build.branch == 'another'` is false"),
            "{provider}: {text}"
        );
        assert!(stage.sandbox.providers().iter().all(|service| service.issued().is_empty()), "{provider}");
        assert!(stage.sandbox.sts().issued().is_empty(), "{provider}");
        // With the same condition both are left out, and the step runs without them.
        stage.block["credentials"][1]["if"] = json!("build.branch == 'another'");
        works(provider, stage);
    }
}
