//! How the static binary is linked: with packed relocations (`DT_RELR`).
//!
//! It may be loaded at any address, and what it holds addresses of is adjusted each time it is started. Unpacked, the
//! list of these places is half a megabyte, and to go through it was a quarter of what a hook computes that has nothing
//! to do. Only the C library that is linked in reads the packed list: glibc can from 2.36 on.

#![expect(clippy::disallowed_methods, reason = "this is how a build script listens")]

use std::process::Command;

/// The first version of glibc whose static programs read packed relocations.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    let is_gnu = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    // Of another machine's C library nothing is known.
    let is_here = variable("HOST") == variable("TARGET");
    if is_static && is_gnu && is_here && glibc().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let output = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = output.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
