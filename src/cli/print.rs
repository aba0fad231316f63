//! Printing that survives a log that went away: after a cancel the terminal may be closed, and a
//! write that fails must not stop a settlement.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::failure::Failure;
use crate::hook::Report;
use crate::secret::Mask;

/// Prints what a hook has to say.
pub(super) fn report(report: &Report, mask: &Mask) {
    let mut out = String::new();
    for line in &report.lines {
        // Writing to a string cannot fail.
        let _written = writeln!(out, "dataflow: {line}");
    }
    let mut err = String::new();
    for line in &report.warnings {
        let _written = writeln!(err, "dataflow: warning: {line}");
    }
    if let Some(failure) = &report.failure {
        err.push_str(&told(failure));
    }
    stdout(&mask.apply(&out));
    stderr(&mask.apply(&err));
}

/// Opens the group in the job's log and says what, why, what was presented, what to do, what is left.
fn told(failure: &Failure) -> String {
    let mut text = format!("^^^ +++\nerror[{}]: {}\n", failure.ident, failure.what);
    let mut line = |label: &str, value: &str| {
        let _written = writeln!(text, "  {label}{value}");
    };
    for cause in &failure.causes {
        line("caused by: ", cause);
    }
    if let Some(claims) = &failure.presented {
        line("presented: ", claims);
    }
    if let Some(hint) = &failure.hint {
        line("hint: ", hint);
    }
    if let Some(left) = &failure.left {
        line("", left);
    }
    text
}

/// Prints to standard output, as far as somebody reads it.
pub(super) fn stdout(text: &str) {
    let mut out = std::io::stdout().lock();
    let _lost = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error, as far as somebody reads it.
pub(super) fn stderr(text: &str) {
    let mut err = std::io::stderr().lock();
    let _lost = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
