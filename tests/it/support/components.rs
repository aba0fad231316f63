//! Programs that nobody here wrote, against which the stories are checked.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where a component is, below `$DATAFLOW_COMPONENTS` or `target/components`; says so loudly where it is missing.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = place(name);
    if path.exists() {
        return Some(path);
    }
    not_run(&format!("`{name}` is not at {}", path.display()));
    None
}

/// A component that not every machine can have.
pub(crate) fn optional(name: &str) -> Option<PathBuf> {
    Some(place(name)).filter(|path| path.exists())
}

/// A server: where `variable` says, or where it is installed.
pub(crate) fn server(name: &str, variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).or_else(|| find(name))
}

/// Says loudly that something is not tried; in CI that is a failure.
pub(crate) fn not_run(why: &str) {
    told(why);
    assert!(env::var("CI").as_deref() != Ok("true"), "CI must run it: {why}");
}

/// Says loudly that something is not tried, which not even CI can.
pub(crate) fn told(why: &str) {
    // Past the test harness, which keeps what a passing test prints to itself.
    io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
}

fn place(name: &str) -> PathBuf {
    let folder = env::var_os("DATAFLOW_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/components"), PathBuf::from);
    folder.join(name)
}
