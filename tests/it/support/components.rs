//! Programs that nobody here wrote, against which the stories are checked.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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

/// A server that takes long to build: where `variable` says, or where `.ci/components NAME` built it; says so loudly
/// where it is not.
pub(crate) fn by_name(name: &str, variable: &str) -> Option<PathBuf> {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let here =
        env::var_os(variable).map(PathBuf::from).or_else(|| optional(name)).filter(|path| path.exists());
    let mut names = TOLD.lock().unwrap();
    if here.is_none() && !names.iter().any(|told| told == name) {
        names.push(name.to_owned());
        told(&format!("`{name}` is not asked: `.ci/components {name}` builds it, or {variable} names one"));
    }
    here
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

/// Says loudly that something is not tried which no package brings: CI goes on where it cannot have it either.
pub(crate) fn not_here(why: &str) {
    io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
}

fn place(name: &str) -> PathBuf {
    let folder = env::var_os("DATAFLOW_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/components"), PathBuf::from);
    folder.join(name)
}
