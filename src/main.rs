//! The hook binary and command-line tool.

fn main() -> std::process::ExitCode {
    buildkite_dataflow::cli::main()
}
