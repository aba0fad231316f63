//! The one door by which this program prints.
//!
//! What it has to say holds words of others: of a server, a token, a journal, a record, an argument, a step's command.
//! Each text is masked first and comes out on one line of plain characters: what could steer a terminal, hide or turn
//! words around, or speak to Buildkite's log is shown as an escape. Line breaks are this program's own.
//!
//! Printing survives a log that went away: after a cancel the terminal may be closed, and a write that fails must not
//! stop a settlement.

use std::fmt::Write as _;
#[cfg(feature = "tools")]
use std::io::IsTerminal as _;
use std::io::Write as _;

use crate::report::Report;
use dataflow_types::failure::Failure;
use dataflow_types::secret::{Mask, Secret};

/// Prints what a hook has to say.
pub(super) fn report(report: &Report, mask: &Mask) {
    let (mut out, mut err) = (String::new(), String::new());
    let line = |to: &mut String, label: &str, text: &str| {
        // Writing to a string cannot fail.
        let _written = writeln!(to, "{label}{}", one_line(&mask.apply(text)));
    };
    for text in &report.lines {
        line(&mut out, "dataflow: ", text);
    }
    for text in &report.warnings {
        line(&mut err, "dataflow: warning: ", text);
    }
    if let Some(failure) = &report.failure {
        told(failure, &mut |label, text| line(&mut err, label, text));
    }
    write_out(&out);
    write_err(&err);
}

/// Opens the group in the job's log and says what, why, what was presented, what to do, what is left.
fn told(failure: &Failure, line: &mut dyn FnMut(&str, &str)) {
    line(&format!("^^^ +++\nerror[{}]: ", failure.ident), &failure.what);
    for cause in &failure.causes {
        line("  caused by: ", cause);
    }
    if let Some(claims) = &failure.presented {
        line("  presented: ", claims);
    }
    if let Some(hint) = &failure.hint {
        line("  hint: ", hint);
    }
    if let Some(left) = &failure.left {
        line("  ", left);
    }
}

/// Prints lines of this program's own making on standard output. A part of one that may hold a line break goes through
/// [`one_line`] first.
pub(super) fn lines(text: &str) {
    write_out(&each_line(text));
}

/// The same, on standard error.
pub(super) fn complaint(text: &str) {
    write_err(&each_line(text));
}

/// Prints a heading, which stands out on a terminal.
#[cfg(feature = "tools")]
pub(super) fn heading(text: &str) {
    let (on, off) = if std_out().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    write_out(&format!("\n{on}{}{off}\n", one_line(text)));
}

/// Prints one event of the diagnostics on standard error.
pub(super) fn diagnostic(text: &str, mask: &Mask) {
    write_err(&format!("dataflow: {}\n", one_line(&mask.apply(text.trim_end_matches('\n')))));
}

/// Hands a rehearsed command what it asked the agent for, as it is: its own data.
#[cfg(feature = "tools")]
pub(super) fn answer(text: &str) {
    write_out(text);
}

/// Hands a secret to whoever called back for it, as it is.
pub(super) fn secret(text: &Secret) {
    write_out(&format!("{}\n", text.expose()));
}

/// Has a fault of this program, too, speak through this door.
pub(super) fn panics_through(mask: &Mask) {
    let mask = mask.clone();
    std::panic::set_hook(Box::new(move |fault| diagnostic(&fault.to_string(), &mask)));
}

/// `text` on one line of characters that can be seen and do nothing.
pub(super) fn one_line(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => plain.push_str("\\n"),
            '\t' => plain.push(' '),
            c if acts(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}

/// What a rehearsed command printed: its colours and its way back to the start of a line are left out.
#[cfg(feature = "tools")]
pub(super) fn command_line(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches('\r');
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let colours = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == ':');
        if let Some(after) = colours.strip_prefix(['m', 'K']) {
            rest = after;
        } else {
            plain.push_str("\x1b[");
            rest = after;
        }
    }
    plain.push_str(rest);
    one_line(&plain)
}

/// Each line of `text`, none of which begins a group of Buildkite's log (`process/` of buildkite/agent).
fn each_line(text: &str) -> String {
    let line = |line: &str| {
        let group = ["---", "+++", "~~~", "^^^"].iter().any(|mark| line.starts_with(mark));
        format!("{}{}", if group { " " } else { "" }, one_line(line))
    };
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

/// Whether a character does something instead of standing there: controls (Unicode's Cc: C0, DEL, C1), formats (Cf:
/// directions, joiners, marks of no width, tags), and separators of lines and paragraphs.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
fn std_out() -> std::io::Stdout {
    std::io::stdout()
}

/// As far as somebody reads it.
fn write_out(text: &str) {
    let mut out = std_out().lock();
    let _lost = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As far as somebody reads it.
#[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
fn write_err(text: &str) {
    let mut err = std::io::stderr().lock();
    let _lost = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_or_a_log_is_shown_as_an_escape() {
        for (text, shown) in [
            ("a\nb\tc", "a\\nb c"),
            ("\u{1b}]1338;url=http://x\u{7}", "\\u{1b}]1338;url=http://x\\u{7}"),
            ("\u{1b}_bk;t=1\u{7}", "\\u{1b}_bk;t=1\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2066}c\u{61c}", "a\\u{202e}b\\u{2066}c\\u{61c}"),
            ("a\u{200b}b\u{2028}c\u{feff}", "a\\u{200b}b\\u{2028}c\\u{feff}"),
            ("Grüße 🔑 日本語", "Grüße 🔑 日本語"),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }

    #[test]
    fn no_line_begins_a_group_of_the_log() {
        assert_eq!(
            each_line("--- a\n+++ b\n~~~ c\n^^^ +++\nd --- e"),
            " --- a\n +++ b\n ~~~ c\n ^^^ +++\nd --- e"
        );
    }

    #[test]
    fn the_colours_of_a_command_are_left_out() {
        assert_eq!(command_line("\u{1b}[1;31mred\u{1b}[0m\u{1b}[K\r"), "red");
        assert_eq!(command_line("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_one_line_that_does_nothing(text in any::<String>()) {
            prop_assert!(!one_line(&text).chars().any(|c| acts(c) || c == '\n'));
            prop_assert!(!command_line(&text).chars().any(|c| acts(c) || c == '\n'));
        }
    }
}
