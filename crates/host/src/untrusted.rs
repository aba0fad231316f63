//! Why a file is not read.

use std::io;
use std::path::PathBuf;

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
