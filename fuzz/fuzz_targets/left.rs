//! Any bytes in the files that a block leaves for callbacks, for a sweep after a restart, and in what others hand back:
//! `block.json`, `NAME.kept`, a sealed lease, a link of a record. What is whole is handed out, everything else is refused.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use buildkite_dataflow::callback::Callback;
use buildkite_dataflow::host::{Clock, Env, Host};
use buildkite_dataflow::lease::cached::CachedCredential;
use buildkite_dataflow::lease::escrow::{PrivateKey, Escrowed};
use buildkite_dataflow::pipeline::plugin;
use buildkite_dataflow::record;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shape::{Bytes, edited};

mod shape;

struct World {
    folder: PathBuf,
    host: Host,
    runtime: tokio::runtime::Runtime,
    key: Option<PrivateKey>,
}

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq\n-----END PRIVATE KEY-----\n";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = shape::folder("left");
    fs::create_dir_all(folder.join("block")).unwrap();
    let config = json!({"state-directory": folder.join("state")});
    fs::write(folder.join("buildkite-dataflow.yml"), config.to_string()).unwrap();
    let env = Env::of([("BUILDKITE_CONFIG_PATH", folder.join("buildkite-agent.cfg").display().to_string())]);
    let clock = Clock::manual(DateTime::from_timestamp(1_767_225_660, 0).unwrap());
    let host = Host { env, clock, ..Host::real() };
    World {
        folder,
        host,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        key: PrivateKey::of_pem(KEY),
    }
});

const WORDS: [&str; 8] = ["aws", "vault", "refresh", "git", "fields", "nothing", "aws-keys", "${claims.sub}"];

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    match bytes.below(5) {
        0 | 1 => callback(&mut bytes),
        2 => link(&mut bytes),
        3 => survivor(&mut bytes),
        _ => {
            let text = bytes.text();
            drop((record::chain(&text), plugin::parse_plugins(&text)));
        }
    }
});

fn document(good: Value, bytes: &mut Bytes<'_>) -> Vec<u8> {
    if bytes.below(8) == 0 {
        bytes.some().to_vec()
    } else {
        edited(good, bytes, &WORDS).to_string().into_bytes()
    }
}

fn callback(bytes: &mut Bytes<'_>) {
    let world = &*WORLD;
    let folder = world.folder.join("block");
    let block = json!({"journal": folder.join("no-journal"), "parts": {"deploy": [0]}, "credentials": [
        {"name": "main", "refresh": true, "aws": {"role": "arn:aws:iam::123456789012:role/train"}},
        {"name": "git", "git": ["https://github.com/acme"], "vault": {"address": "https://v.test", "role": "r"}}]});
    let kept = json!({"issued-at": "2026-01-01T00:00:00Z", "expires-at": "2026-01-01T01:00:00Z", "principal": "p",
        "secret": {"aws-keys": {"access-key-id": "A", "secret-access-key": "s", "session-token": "t"}}});
    fs::write(folder.join("block.json"), document(block, bytes)).unwrap();
    fs::write(folder.join("main.kept"), document(kept, bytes)).unwrap();
    drop(CachedCredential::read(&folder, "main"));
    let callback = Callback::of(&world.host, folder, "main".to_owned());
    drop(world.runtime.block_on(callback.credential()));
}

/// The first line is one of a hook's, edited; the second is what it may be. Nobody sealed either.
fn survivor(bytes: &mut Bytes<'_>) {
    let label = json!({"version": 1, "boot": "b", "job": "j", "block": "j.i", "lease": "1",
        "expires-at": "2026-01-01T00:00:00Z"});
    let mut file = document(label, bytes);
    file.push(b'\n');
    file.extend_from_slice(STANDARD_NO_PAD.encode(bytes.some()).as_bytes());
    file.push(b'\n');
    if let Ok(survivor) = Escrowed::parse(&file) {
        assert!(WORLD.key.as_ref().is_none_or(|key| survivor.open(key).is_err()), "nobody sealed this");
    }
    drop(Escrowed::parse(bytes.some()));
}

fn link(bytes: &mut Bytes<'_>) {
    let good = json!({"schema": record::SCHEMA, "kind": "settled", "sequence": 1, "previous": null,
        "sealed-at": "2026-01-01T00:00:00Z", "run": {"job": "j", "instance": "i", "install": "plugin",
        "mode": "enforce", "producer": "p"}, "proof": {}, "settled": {"settlements": [
        {"request": "1", "settlement": {"outcome": "revoked", "at": "2026-01-01T00:00:00Z"}}]}});
    let read = record::read(&document(good, bytes));
    if let Ok(link) = read {
        let again = serde_json::to_vec(&link).unwrap();
        assert_eq!(record::read(&again).ok(), Some(link));
    }
}
