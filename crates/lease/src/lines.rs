//! The lines of a journal, each with its check sum.

use std::io;

use super::entry::Entry;
use dataflow_types::secret::Fingerprint;

/// An entry as a line.
pub(super) fn line(entry: &Entry) -> io::Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{} {json}\n", check(&json)))
}

pub(super) fn check(json: &str) -> String {
    Fingerprint::of(json.as_bytes()).short(16).to_owned()
}

/// The JSON of a line that is as it was written.
fn checked(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.split_once(' ')?;
    (sum == check(json)).then_some(json)
}

/// Whether some version of this program wrote this line.
pub(super) fn passes_its_check(line: &[u8]) -> bool {
    checked(line).is_some()
}

/// What a journal's bytes hold.
#[derive(Debug)]
pub struct Parsed {
    /// Every whole entry.
    pub entries: Vec<Entry>,
    /// How many bytes the lines take that have an end.
    pub length: usize,
    /// How many of these lines are damaged. The first is never left out: without it there is nothing.
    pub damaged: usize,
}

/// The entries of a journal.
pub fn parse(bytes: &[u8]) -> Parsed {
    let whole = |line: &[u8]| serde_json::from_str(checked(line)?).ok();
    let mut parsed = Parsed { entries: Vec::new(), length: 0, damaged: 0 };
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        parsed.length += line.len();
        match whole(line) {
            Some(entry) => parsed.entries.push(entry),
            None => parsed.damaged += 1,
        }
        // Another line in the place of the first would be taken for it.
        if parsed.entries.is_empty() {
            break;
        }
    }
    parsed
}
