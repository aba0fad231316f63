//! A Vault that speaks only to hosts that it knows by a certificate.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use buildkite_dataflow::record::end::SealedBy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::keeper::keepers;
use crate::support::agent::until;
use crate::support::hooks::Stage;
use crate::support::{child, components, tls};

const LOGIN: &str = "auth/jwt/login";

/// An acceptor of those only who show `client.pem`, whose key is `client.key`; nobody knows `stranger.pem`.
fn demanding(folder: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    for name in ["stranger", "client"] {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = folder.join(format!("{name}.key"));
        std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
        if name == "client" {
            roots.add(made.cert.der().clone()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    tls::accepting(folder, verifier, versions)
}

/// A job that asks a Vault behind TLS that demands a certificate; the host has one for it.
fn stage(versions: &[&'static SupportedProtocolVersion]) -> Stage {
    let mut stage = Stage::new();
    let acceptor = demanding(stage.folder.path(), versions);
    let port = stage.listen("127.0.0.1", |front| tls::serve(front, acceptor, stage.behind())).unwrap();
    let origin = format!("https://localhost:{port}");
    stage.block = json!({"credentials": [{"vault": {"address": format!("{origin}/vault"), "role": "train",
        "export-token": true,
        "secrets": [{"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"}]}}]});
    let file = |name: &str| stage.folder.path().join(name);
    let network = json!({"ca-file": file("ca.pem"), "client-certificates": [
        {"endpoint": origin, "certificate": file("client.pem"), "key": file("client.key")}]});
    stage.config["endpoints"] = json!([origin]);
    stage.config["network"] = network;
    stage.prepare();
    stage
}

fn certificate(stage: &mut Stage) -> &mut Value {
    &mut stage.config["network"]["client-certificates"][0]
}

/// How many logins still work.
fn living(stage: &Stage) -> usize {
    let issued = stage.sandbox.provider("vault").unwrap().issued();
    issued.iter().filter(|one| one.what == "a token of Vault" && !one.revoked).count()
}

#[track_caller]
fn lends(stage: &mut Stage) {
    let ended = stage.hook("pre-command");
    assert_eq!((ended.status, living(stage)), (0, 1), "{}", ended.text);
}

#[test]
fn a_host_with_a_certificate_logs_in_reads_and_gives_back() {
    for version in [&TLS12, &TLS13] {
        let mut stage = stage(&[version]);
        lends(&mut stage);
        assert!(stage.variable("TRAIN_API_KEY").unwrap().starts_with("api_key-"));
        stage.command_ended(0);
        let ended = stage.hook("post-command");
        assert_eq!((ended.status, living(&stage)), (0, 0), "{}", ended.text);
        stage.nothing_left();
    }
}

#[test]
fn what_was_lent_is_of_use_to_whoever_has_a_certificate_of_their_own_and_to_nobody_else() {
    let Some(python) = components::find("venv/bin/python") else { return };
    let mut stage = stage(rustls::ALL_VERSIONS);
    lends(&mut stage);
    let hvac = |certificate: &str| {
        let mut command = child::command(&python, &["-c", HVAC]);
        command.env("FOLDER", stage.folder.path()).env("CERTIFICATE", certificate);
        for name in ["VAULT_ADDR", "VAULT_TOKEN"] {
            command.env(name, stage.variable(name).unwrap());
        }
        child::run(child::output(command, "")).stdout
    };
    assert_eq!(hvac("client"), "True\n");
    assert_eq!(hvac("stranger"), "refused\n");
    assert_eq!(hvac(""), "refused\n");
}

const HVAC: &str = r#"
import os, hvac, requests
folder, name = os.environ["FOLDER"], os.environ["CERTIFICATE"]
cert = (f"{folder}/{name}.pem", f"{folder}/{name}.key") if name else None
client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"], cert=cert, verify=f"{folder}/ca.pem")
try:
    print(client.is_authenticated())
except requests.exceptions.ConnectionError:
    print("refused")
"#;

#[test]
fn a_server_that_wants_another_certificate_or_one_at_all_is_told_with_what_it_was_shown() {
    let check = |change: &dyn Fn(&mut Stage), shown: &str| {
        for version in [&TLS12, &TLS13] {
            let mut stage = stage(&[version]);
            change(&mut stage);
            let text = stage.refuses(105, "client-certificate-refused");
            assert!(text.contains("received fatal alert") && text.contains(shown), "{text}");
            assert!(text.contains("hint: `network.client-certificates`"), "{text}");
            assert_eq!(stage.sandbox.faults().asked(LOGIN), 0);
        }
    };
    check(
        &|stage| stage.config["network"]["client-certificates"] = json!([]),
        "it was shown no client certificate",
    );
    let stranger = |stage: &mut Stage| {
        let [pem, key] = ["stranger.pem", "stranger.key"].map(|name| json!(stage.folder.path().join(name)));
        let one = certificate(stage);
        (one["certificate"], one["key"]) = (pem, key);
    };
    check(&stranger, "stranger.pem`");
}

#[test]
fn a_certificate_is_shown_to_its_own_origin_and_to_no_other() {
    let mut stage = stage(rustls::ALL_VERSIONS);
    // The same server by another name.
    let port = certificate(&mut stage)["endpoint"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    certificate(&mut stage)["endpoint"] = json!(format!("https://away.example.test:{port}"));
    let text = stage.refuses(105, "client-certificate-refused");
    assert!(text.contains("it was shown no client certificate"), "{text}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_anybody_is_asked() {
    let check = |change: &dyn Fn(&mut Stage), told: &str| {
        let mut stage = stage(rustls::ALL_VERSIONS);
        change(&mut stage);
        let text = stage.refuses(102, "client-certificate-unusable");
        assert!(text.contains("the client certificate for `https://localhost:"), "{text}");
        assert!(text.contains(told) && text.contains("hint: see `network.client-certificates`"), "{text}");
        assert_eq!(stage.sandbox.faults().asked(LOGIN), 0);
    };
    let names = |key: &'static str, file: &'static str| {
        move |stage: &mut Stage| {
            let path = json!(stage.folder.path().join(file));
            certificate(stage)[key] = path;
        }
    };
    check(&names("certificate", "none.pem"), "none.pem`: No such file");
    check(&names("certificate", "client.key"), "client.key` holds no certificate in PEM");
    check(&names("key", "none.key"), "none.key`: No such file");
    check(&names("key", "stranger.key"), "stranger.key` is not the key of `");
    let readable = |stage: &mut Stage| {
        let key = stage.folder.path().join("client.key");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    };
    check(&readable, "client.key` can be read by everybody (mode 0644)");
    let garbled = |stage: &mut Stage| {
        std::fs::write(stage.folder.path().join("client.key"), "no key").unwrap();
    };
    check(&garbled, "client.key` holds no private key in PEM");
}

#[test]
fn a_certificate_that_is_gone_at_the_end_is_told_and_what_comes_next_tries_again() {
    let mut stage = stage(rustls::ALL_VERSIONS);
    lends(&mut stage);
    stage.command_ended(0);
    let (key, away) = (stage.folder.path().join("client.key"), stage.folder.path().join("away"));
    std::fs::rename(&key, &away).unwrap();
    assert_eq!(stage.hook("post-command").status, 0);
    let end = stage.records().pop().unwrap().end.unwrap();
    let told = serde_json::to_value(&end.settlements[0].settlement).unwrap();
    assert_eq!(told["outcome"], "failed");
    assert!(told["reason"].as_str().unwrap().contains("client.key"), "{told}");
    std::fs::rename(&away, &key).unwrap();
    assert_eq!(stage.hook("pre-exit").status, 0);
    assert_eq!(living(&stage), 0);
    stage.nothing_left();
}

/// A shell that starts the hook: the hook's parent is the bootstrap.
fn bootstrap(stage: &Stage, script: &str) -> std::process::Command {
    stage.write_config();
    let hook = stage.command("pre-command");
    let mut bootstrap = std::process::Command::new("sh");
    bootstrap.args(["-c", script, "sh"]).arg(hook.get_program()).args(hook.get_args()).env_clear();
    for (name, value) in hook.get_envs() {
        bootstrap.env(name, value.unwrap());
    }
    bootstrap
}

#[test]
fn a_login_whose_bootstrap_and_keeper_died_is_given_back_with_the_certificate_by_a_sweep() {
    let mut stage = stage(rustls::ALL_VERSIONS);
    let mut shell = bootstrap(&stage, "\"$@\" >&2 && echo lent && read -r _");
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = [0; 5];
    shell.stdout.take().unwrap().read_exact(&mut told).unwrap();
    assert_eq!((&told, living(&stage)), (b"lent\n", 1));
    let [keeper] = keepers(stage.folder.path()).try_into().unwrap();
    let id = keeper.file_name().unwrap().to_str().unwrap().parse().unwrap();
    kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    until(|| "the keeper's end".to_owned(), || keepers(stage.folder.path()).is_empty());
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(living(&stage), 1);
    let ended = stage.sweep();
    assert_eq!((living(&stage), stage.open_journals().len()), (0, 0), "{}", ended.text);
    let end = stage.records().pop().unwrap().end.unwrap();
    assert_eq!((end.sealed_by, end.settlements[0].settlement.word()), (SealedBy::Sweep, "revoked-in-part"));
}

#[test]
fn a_login_whose_bootstrap_died_is_given_back_with_the_certificate() {
    let mut stage = stage(rustls::ALL_VERSIONS);
    let output = bootstrap(&stage, "\"$@\"; exit $?").output().unwrap();
    assert!(output.status.success(), "{}", stage.ended(&output).text);
    // By its keeper.
    until(
        || "everything to be given back".to_owned(),
        || living(&stage) == 0 && stage.open_journals().is_empty(),
    );
    assert_eq!(
        stage.records().pop().unwrap().end.unwrap().settlements[0].settlement.word(),
        "revoked-in-part"
    );
}
