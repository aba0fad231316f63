//! What a process costs.

use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// One process, from exec to exit.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// Runs a process as a child of this one, which stands for the job's bootstrap.
pub(crate) fn run(mut command: Command) -> Cost {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let millis = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
        millis(usage.user_time()) + millis(usage.system_time())
    };
    // What the process before left to do: the servers' last work, and the system's, would be counted here.
    std::thread::sleep(std::time::Duration::from_millis(10));
    let (before, began) = (used(), Instant::now());
    let output = command.output().unwrap();
    let wall = began.elapsed().as_secs_f64() * 1e3;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    Cost { wall, cpu: used() - before }
}

/// The largest child of this process so far, in megabytes.
pub(crate) fn peak() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() as f64 / 1024.0
}

pub(crate) fn median(costs: &[Cost], of: fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn row(name: &str, costs: &[Cost], ratio: Option<f64>) {
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let (wall, cpu) = (median(costs, |c| c.wall), median(costs, |c| c.cpu));
    println!("| {name} | {wall:.1} | {cpu:.1} | {ratio} |");
}
