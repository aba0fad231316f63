//! Which files are trusted, and why one is not.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It could not be opened, looked at or read.
    #[error("cannot read `{path}`")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a regular file, or one with several names.
    #[error("`{path}` is not a regular file with one name")]
    NotRegular {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else's.
    #[error("`{path}` belongs to user {owner}, expected {expected}")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        expected: String,
    },
    /// Others may write to it.
    #[error("`{path}` can be written by others (mode {mode:04o})")]
    Writable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may read what should be secret.
    #[error("`{path}` can be read by everybody (mode {mode:04o})")]
    Readable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than any file of ours.
    #[error("`{path}` is longer than {most} bytes")]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// How long it may be.
        most: u64,
    },
}

pub(super) fn io_at(path: &Path) -> impl Fn(io::Error) -> Untrusted {
    |source| Untrusted::Io { path: path.to_owned(), source }
}

/// Refuses a file of another user than these, and one that others may write to.
pub(super) fn check_owner(path: &Path, meta: &fs::Metadata, owners: &[u32]) -> Result<(), Untrusted> {
    if !owners.contains(&meta.uid()) {
        let expected = owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        return Err(Untrusted::Owner { path: path.to_owned(), owner: meta.uid(), expected });
    }
    // A sticky folder (/tmp) lets others add files but not replace ours; a file has no such excuse.
    let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
    if meta.mode() & 0o022 != 0 && !sticky {
        return Err(Untrusted::Writable { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    Ok(())
}

/// Room for the files of `/proc` that are read, in bytes.
const LEAST: usize = 1 << 10;

/// Every read ends here: of a regular file, and not longer than `most` bytes.
pub(super) fn read_all(file: &File, path: &Path, most: u64) -> Result<Vec<u8>, Untrusted> {
    let meta = file.metadata().map_err(io_at(path))?;
    read_whole(file, &meta, path, most)
}

/// The same of a file whose status was asked for a moment ago.
pub(super) fn read_whole(
    file: &File,
    meta: &fs::Metadata,
    path: &Path,
    most: u64,
) -> Result<Vec<u8>, Untrusted> {
    if !meta.is_file() {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    // Before a byte is read: to make a file full of holes costs nothing.
    if meta.len() > most {
        return Err(Untrusted::TooLong { path: path.to_owned(), most });
    }
    // What lies in /proc says that it is empty.
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default().max(LEAST) + 1);
    file.take(most + 1).read_to_end(&mut bytes).map_err(io_at(path))?;
    if bytes.len() as u64 > most {
        return Err(Untrusted::TooLong { path: path.to_owned(), most });
    }
    Ok(bytes)
}
