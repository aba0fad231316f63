//! What a hook costs, from exec to exit, over TLS, against a floor: the smallest client that makes the
//! same requests. `cargo bench --bench hook` prints the table that the README shows; with
//! `-- several` it compares eight roles in one step with one, and five providers with the slowest of them, and
//! tells what a callback costs; with `-- against BINARY` it compares this build with that one, in turn.
//!
//! The sandbox stands behind a TLS front with a certificate of its own. The floor is this program
//! itself, started with `floor`: rustls and a socket, one blocking request after the other. It trusts that certificate
//! alone, and verifies and reads nothing. With `packaged` it is a second floor: the same requests with reqwest, the AWS
//! SDK, openidconnect and `serde_yaml`, for a host that trusts what its system trusts. The peer is what a user would
//! have instead: a shell hook with the agent, the AWS CLI and jq.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking, prints its table, and stands outside the doors that the lints guard"
)]

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

mod against;
mod arena;
#[path = "../../tests/it/support/components.rs"]
#[expect(dead_code, reason = "the tests find more components than the bench")]
mod components;
mod cost;
mod floor;
mod packaged;
mod peer;
mod several;
#[path = "../../tests/it/support/tls.rs"]
mod tls;

use arena::{Arena, ROLE, binary};
use cost::{Cost, median, peak, row, run};
use peer::Peer;

const ROUNDS: usize = 40;

/// Whether the programs are copies already.
const INSTALLED: &str = "DATAFLOW_INSTALLED";

/// Debian's bundle.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(which @ ("floor" | "packaged")) => {
            let (folder, job) = (Path::new(&arguments[2]), &arguments[5]);
            let (port, redactions) = (arguments[3].parse().unwrap(), arguments[4].parse().unwrap());
            if which == "floor" {
                floor::floor(folder, port, redactions, job);
            } else {
                packaged::packaged(folder, port, redactions, job, Path::new(AUTHORITIES));
            }
        }
        _ if std::env::var_os(INSTALLED).is_none() => installed(&arguments),
        Some("several") => several::compare(),
        Some("against") => against::compare(Path::new(&arguments[2])),
        _ => compare(),
    }
}

/// Runs this bench again from copies, as an installer leaves programs: the kernel maps what a linker has just written
/// in smaller pieces, for up to a millisecond more.
fn installed(arguments: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &Path| {
        let to = folder.path().join(from.file_name().unwrap());
        std::fs::copy(from, &to).unwrap();
        to
    };
    let mut arguments = arguments.to_vec();
    if let [_, which, base, ..] = arguments.as_mut_slice()
        && which == "against"
    {
        let named = folder.path().join("base");
        std::fs::copy(&base, &named).unwrap();
        *base = named.into_os_string().into_string().unwrap();
    }
    let mut again = std::process::Command::new(copy(&std::env::current_exe().unwrap()));
    again.args(&arguments[1..]).env("DATAFLOW_BINARY", copy(&binary())).env(INSTALLED, "yes");
    assert!(again.status().unwrap().success());
}

fn compare() {
    let arena = Arena::new();
    println!(
        "| from exec to exit, median of {ROUNDS} | wall ms | CPU ms | wall / floor |\n|---|---|---|---|"
    );
    let idle: Vec<Cost> = (0..ROUNDS).map(|_| nothing(&arena)).collect();
    row("pre-command of a block that asks for nothing", &idle, None);
    // The host's first step fetches the issuer's keys; it also tells how many texts a hook redacts.
    let (first, _) = step(&arena, 20);
    let (redactions, memory) = (arena.api.hidden(), peak());
    row("the host's first step: pre-command, 20 ms a request", &[first], None);
    beside_floor(&arena, redactions, 20, "20 ms a request");
    beside_floor(&arena, redactions, 0, "no latency");
    // What is left without the disk: the difference is what the hook's own fsyncs take.
    let volatile = Arena::on(Path::new("/dev/shm"));
    step(&volatile, 0);
    beside_floor(&volatile, redactions, 0, "no latency, state in memory");
    let size = std::fs::metadata(binary()).unwrap().len() as f64 / 1e6;
    println!("\npeak memory of a hook {memory:.1} MB; binary {size:.1} MB; no process started by a hook");
    println!(
        "{redactions} texts redacted a step; an fsync of this disk takes {:.2} ms (median)",
        fsync(arena.folder.path())
    );
    arena.runtime.shutdown_background();
    volatile.runtime.shutdown_background();
}

/// A step whose block asks for nothing.
fn nothing(arena: &Arena) -> Cost {
    run(arena.hook("pre-command", "", &json!({})))
}

/// A job with one role: its pre-command and its post-command.
fn step(arena: &Arena, latency: u64) -> (Cost, Cost) {
    let block = json!({"credentials": [{"aws": {"role": ROLE, "region": "eu-west-1"}}]});
    let job = arena.job();
    arena.sandbox.faults().set_latency(std::time::Duration::from_millis(latency));
    let before = run(arena.hook("pre-command", &job, &block));
    (before, run(arena.hook("post-command", &job, &block)))
}

/// Steps with `latency` in milliseconds for each request, each after the floor's.
fn beside_floor(arena: &Arena, redactions: usize, latency: u64, called: &str) {
    let (mut ours, mut floor, mut packaged, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (shell, mut peers) = (Peer::find(arena), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(run(arena.floor("floor", &arena.job(), redactions)));
        packaged.push(run(arena.floor("packaged", &arena.job(), redactions)));
        peers.extend(shell.iter().map(|shell| run(shell.hook(arena))));
        let (before, end) = step(arena, latency);
        ours.push(before);
        after.push(end);
    }
    let ratio = |costs: &[Cost]| {
        let ratio = |(cost, floor): (&Cost, &Cost)| Cost { wall: cost.wall / floor.wall, ..Cost::default() };
        let ratios: Vec<Cost> = costs.iter().zip(&floor).map(ratio).collect();
        Some(median(&ratios, |cost| cost.wall))
    };
    row(&format!("the floor, {called}"), &floor, None);
    row(&format!("the same packages, {called}"), &packaged, ratio(&packaged));
    row(&format!("pre-command with one role, {called}"), &ours, ratio(&ours));
    if shell.is_some() {
        row(&format!("peer: a shell hook with the AWS CLI and jq, {called}"), &peers, ratio(&peers));
    }
    row("post-command", &after, None);
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
