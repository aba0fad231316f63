//! Two builds beside each other in one run: whether a change made a figure worse.

use std::path::Path;

use crate::arena::Arena;
use crate::cost::{Cost, median};
use crate::{nothing, step};

/// More than for the table: what is looked for is small.
const ROUNDS: usize = 100;

/// Each build with a host of its own, and both in turn.
pub(crate) fn compare(base: &Path) {
    println!("| median of {ROUNDS}, base and this | wall ms | CPU ms | texts redacted |\n|---|---|---|---|");
    beside("no latency", base, &std::env::temp_dir(), 0);
    beside("no latency, state in memory", base, Path::new("/dev/shm"), 0);
    beside("20 ms a request", base, &std::env::temp_dir(), 20);
    let size = |of: &Path| std::fs::metadata(of).unwrap().len() as f64 / 1e6;
    println!("\nbinary: {}", change(size(base), size(&crate::arena::binary()), 2));
}

fn beside(called: &str, base: &Path, disk: &Path, latency: u64) {
    let mut arenas = [Arena::on(disk), Arena::on(disk)];
    base.clone_into(&mut arenas[0].binary);
    // The host's first step, which fetches the issuer's keys.
    let texts = arenas.each_ref().map(|arena| {
        step(arena, latency);
        arena.api.hidden()
    });
    let mut costs: [[Vec<Cost>; 3]; 2] = Default::default();
    for round in 0..ROUNDS {
        for turn in [round % 2, 1 - round % 2] {
            let (before, after) = step(&arenas[turn], latency);
            for (all, one) in costs[turn].iter_mut().zip([nothing(&arenas[turn]), before, after]) {
                all.push(one);
            }
        }
    }
    let [old, new] = &costs;
    for (at, what) in
        ["a block that asks for nothing", "pre-command with one role", "post-command"].iter().enumerate()
    {
        let of = |of: fn(&Cost) -> f64| change(median(&old[at], of), median(&new[at], of), 2);
        let column = if at == 1 { format!("{} {}", texts[0], texts[1]) } else { String::new() };
        println!("| {what}, {called} | {} | {} | {column} |", of(|cost| cost.wall), of(|cost| cost.cpu));
    }
    for arena in arenas {
        arena.runtime.shutdown_background();
    }
}

fn change(old: f64, new: f64, digits: usize) -> String {
    format!("{old:.digits$} {new:.digits$} {:+.1} %", (new / old - 1.0) * 100.0)
}
