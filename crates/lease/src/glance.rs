//! A glance at a folder that should hold a journal. Any process of this user can put anything there, in any number: no
//! more than the first line is read, and nothing is waited for.

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::entry::{Entry, Opened};
use super::error::{Error, NAME};
use super::lines::{parse, passes_its_check};
use dataflow_host::files::{self, Untrusted};
use dataflow_host::head;

/// The longest first line that this program writes is a fraction of it, in bytes.
const FIRST_LINE: u64 = 16 << 10;
/// Most first lines are shorter.
const USUALLY: u64 = 2 << 10;

/// What a folder of a block holds.
#[derive(Debug)]
pub enum Glance {
    /// The journal of this block.
    Of(Box<Opened>),
    /// Nothing yet, or nothing any more: a process may be making it at the moment.
    Void,
    /// Nothing that this program wrote, with the reason.
    Junk(Error),
    /// What is to be left alone, with the reason: another user's, or of a later version.
    Strange(Error),
}

impl Glance {
    /// Looks at the journal in `folder`.
    pub fn at(folder: &Path) -> Self {
        let path = folder.join(NAME);
        let me = [nix::unistd::geteuid().as_raw()];
        let mut read = head::read(&path, &me, USUALLY);
        if matches!(&read, Ok(head) if first_line(&head.bytes).is_none() && is_begun(&head.bytes)) {
            read = head::read(&path, &me, FIRST_LINE);
        }
        let head = match read {
            Ok(head) => head,
            Err(error) => return unread(&path, error),
        };
        if head.length == 0 {
            return Self::Void;
        }
        let line = first_line(&head.bytes).unwrap_or_default();
        match parse(line).entries.into_iter().next() {
            Some(Entry::Opened(_)) if head.length > files::MAX_LENGTH => {
                Self::Strange(Untrusted::TooLong { path, most: files::MAX_LENGTH }.into())
            }
            Some(Entry::Opened(opened)) => Self::Of(Box::new(opened)),
            // Of another version: it knows what to do with it.
            _ if passes_its_check(line) => Self::Strange(Error::Headless { path }),
            _ => Self::Junk(Error::Headless { path }),
        }
    }

    /// When the journal in `folder` was made, as the file system says and no process can change.
    pub fn made(folder: &Path) -> Option<DateTime<Utc>> {
        head::look(&folder.join(NAME)).ok()?.made
    }

    /// Whether nothing was put into `folder`, which is this user's, since `before`.
    pub fn is_older(folder: &Path, before: DateTime<Utc>) -> bool {
        let me = nix::unistd::geteuid().as_raw();
        let is = |path: &Path| match head::look(path) {
            Ok(found) => found.owner == me && found.changed < before,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        is(folder) && is(&folder.join(NAME))
    }
}

fn unread(path: &Path, error: Untrusted) -> Glance {
    let kind = match &error {
        Untrusted::Io { source, .. } => Some(source.kind()),
        _ => None,
    };
    if kind == Some(io::ErrorKind::NotFound) {
        return Glance::Void;
    }
    // A pipe, a folder, a link: a file with two names may be a journal.
    let is_no_file = head::look(path).is_ok_and(|found| !found.is_file);
    match error {
        _ if kind == Some(io::ErrorKind::NotADirectory) || is_no_file => Glance::Junk(error.into()),
        error => Glance::Strange(error.into()),
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').next().filter(|line| line.ends_with(b"\n"))
}

/// Whether the rest of a line that begins so may be one of ours.
fn is_begun(bytes: &[u8]) -> bool {
    matches!(bytes.split_at_checked(17), Some((sum, rest)) if rest.starts_with(b"{")
        && matches!(sum.split_last(), Some((b' ', sum)) if sum.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    fn journal(folder: &Path) -> std::path::PathBuf {
        drop(Journal::create(folder, Opened::of_nobody()).unwrap());
        folder.join(NAME)
    }

    fn word(folder: &Path) -> &'static str {
        match Glance::at(folder) {
            Glance::Of(_) => "of",
            Glance::Void => "void",
            Glance::Junk(_) => "junk",
            Glance::Strange(_) => "strange",
        }
    }

    #[test]
    fn what_no_version_of_this_program_wrote_is_junk_and_what_it_may_have_written_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("block");
        assert_eq!(word(&folder), "void");
        let path = journal(&folder);
        assert_eq!(word(&folder), "of");
        for (bytes, expected) in [
            (&b""[..], "void"),
            (b"\0\0\0\0", "junk"),
            (b"0123456789abcdef {}\n", "junk"),
            (b"44136fa355b3678a {}\n", "strange"),
            (b"44136fa355b3678a {}", "junk"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(word(&folder), expected, "{}", bytes.escape_ascii());
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(word(&folder), "junk");
        std::fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(word(&root.path().join("file")), "junk");
    }

    #[test]
    fn a_first_line_may_be_longer_than_usual_and_not_without_end() {
        let root = tempfile::tempdir().unwrap();
        let long = |length| Opened { socket: Some("s".repeat(length).into()), ..Opened::of_nobody() };
        for (length, expected) in [(4000, "of"), (20_000, "junk")] {
            let folder = root.path().join(length.to_string());
            drop(Journal::create(&folder, long(length)).unwrap());
            assert_eq!(word(&folder), expected, "{length}");
        }
    }

    #[test]
    fn a_journal_longer_than_any_is_not_read_and_not_junk() {
        let root = tempfile::tempdir().unwrap();
        let path = journal(&root.path().join("block"));
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(word(&root.path().join("block")), "strange");
    }
}
