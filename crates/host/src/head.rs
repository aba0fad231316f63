//! The beginning of a file: enough to know whose it is, however long the rest is.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::fault;
use super::files::{self, Untrusted};
use super::untrusted::check_owner;

/// The first bytes of a file.
#[derive(Debug)]
pub struct Head {
    /// At most as many as were asked for.
    pub bytes: Vec<u8>,
    /// How long the whole file is.
    pub length: u64,
}

/// Reads at most `most` bytes from the beginning of a file: the owner one of `owners`, not writable by others, regular,
/// with one name. Nothing is waited for, and no link is followed.
pub fn read(path: &Path, owners: &[u32], most: u64) -> Result<Head, Untrusted> {
    fault::look("read");
    let io = |source| Untrusted::Io { path: path.to_owned(), source };
    let file = files::open_no_follow(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    check_owner(path, &meta, owners)?;
    let length = meta.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or_default());
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(Head { bytes, length })
}

/// What lies at a path, without following a link.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whose it is.
    pub owner: u32,
    /// When it was last written, or its names last changed; the epoch where no calendar has that time.
    pub changed: DateTime<Utc>,
    /// When it was made, where the file system knows: unlike the other times it cannot be set.
    pub made: Option<DateTime<Utc>>,
}

/// Looks at what lies at a path.
pub fn look(path: &Path) -> io::Result<Found> {
    let meta = fs::symlink_metadata(path)?;
    let changed = DateTime::from_timestamp(meta.mtime(), 0).unwrap_or_default();
    let made = meta.created().ok().map(DateTime::from);
    Ok(Found { is_file: meta.is_file(), owner: meta.uid(), changed, made })
}
