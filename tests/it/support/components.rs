//! Programs that nobody here wrote, against which the stories are checked.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where a component is, below `$DATAFLOW_COMPONENTS` or `target/components`; says so loudly where it is missing.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("DATAFLOW_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/components"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    // Past the test harness, which keeps what a passing test prints to itself.
    let line = format!("NOT RUN: `{name}` is not at {}\n", path.display());
    io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(env::var("CI").as_deref() != Ok("true"), "CI must have `{name}`");
    None
}
