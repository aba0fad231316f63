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
    // Not `println!`, which the test harness keeps to itself when the test passes.
    writeln!(io::stderr(), "NOT RUN: `{name}` is not at {}", path.display()).unwrap();
    assert!(env::var("CI").as_deref() != Ok("true"), "CI must have `{name}`");
    None
}
