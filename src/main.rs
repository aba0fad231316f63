//! The hook binary and command-line tool.

fn main() {}
