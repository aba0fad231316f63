//! The smallest hook binary: says how it was started, in one line of the file `PROBE_LOG`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let plugin = std::env::var("BUILDKITE_PLUGIN_NAME").unwrap_or_default();
    let phase = std::env::var("BUILDKITE_HOOK_PHASE").unwrap_or_else(|_| "(unset)".into());
    let argv: Vec<String> = std::env::args().collect();
    let Ok(log) = std::env::var("PROBE_LOG") else { return Ok(()) };
    let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
    writeln!(log, "ran\t{plugin}\t{phase}\t{}", argv.join(" "))
}
