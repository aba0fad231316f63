//! Any bytes in the files that a block leaves for callbacks, and in what others hand back: `block.json`, `NAME.kept`, a
//! link of a record. What is whole is handed out, everything else is refused.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use buildkite_dataflow::hook::renew::Callback;
use buildkite_dataflow::host::{Clock, Env, Host};
use buildkite_dataflow::lease::kept::Kept;
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
}

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
    }
});

const WORDS: [&str; 8] = ["aws", "vault", "refresh", "git", "fields", "nothing", "aws-keys", "${claims.sub}"];

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    match bytes.below(4) {
        0 | 1 => callback(&mut bytes),
        2 => link(&mut bytes),
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
    drop(Kept::read(&folder, "main"));
    let callback = Callback::of(&world.host, folder, "main".to_owned());
    drop(world.runtime.block_on(callback.credential()));
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
