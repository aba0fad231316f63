//! Why a journal cannot be used.

use std::io;
use std::path::PathBuf;

use dataflow_host::files::Untrusted;

/// The file's name in the block's folder.
pub(super) const NAME: &str = "journal";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not ours, or cannot be read.
    #[error("the journal cannot be trusted")]
    Untrusted(#[from] Untrusted),
    /// It could not be written, or it is not certain that it was.
    #[error("`{path}` cannot be written durably")]
    NotDurable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its first line does not say whose it is.
    #[error("`{path}` does not begin as a journal does")]
    Headless {
        /// Which file.
        path: PathBuf,
    },
    /// A secret would lie on the disk as it is.
    #[error("the secrets of `{path}` cannot be encrypted: there is no memory-backed folder of this user")]
    NotEncrypted {
        /// Which file.
        path: PathBuf,
    },
    /// Another process is at it.
    #[error("`{path}` is in use by another process")]
    Busy {
        /// Which file.
        path: PathBuf,
    },
}
