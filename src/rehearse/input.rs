//! The files and folders that a rehearsal is given: each is there, is what it should be, and can be read, before
//! anything runs.

use std::path::{Path, PathBuf};

use super::Error;
use dataflow_host::files;

/// A file of text, which says something.
pub fn text(path: &Path) -> Result<String, Error> {
    // Asked first: opening a FIFO waits for whoever writes to it.
    let meta = path.metadata().map_err(|source| Error::Input { path: path.to_owned(), source })?;
    if meta.is_dir() {
        return Err(unfit(path, "is a folder, expected a file"));
    }
    if !meta.is_file() {
        return Err(unfit(path, "is no regular file"));
    }
    let bytes = files::read(path).map_err(Error::Read)?;
    let text = String::from_utf8(bytes).map_err(|_| unfit(path, "is not UTF-8 text"))?;
    if text.trim().is_empty() { Err(unfit(path, "is empty")) } else { Ok(text) }
}

/// A folder that is there and can be listed.
pub fn folder(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let meta = path.metadata().map_err(|source| Error::Input { path: path.to_owned(), source })?;
    if !meta.is_dir() {
        return Err(unfit(path, "is no folder"));
    }
    files::list(path).map_err(|source| Error::Input { path: path.to_owned(), source })
}

/// The folder that records go to: it is made, and something can be written there.
pub(super) fn records(path: &Path) -> Result<(), Error> {
    if path.exists() && !path.is_dir() {
        return Err(unfit(path, "is no folder"));
    }
    if !path.exists() {
        files::private_folder(path).map_err(Error::Read)?;
    }
    let tried = files::scratch(path, ".rehearsal-");
    tried.map(drop).map_err(|source| Error::Input { path: path.to_owned(), source })
}

fn unfit(path: &Path, problem: &'static str) -> Error {
    Error::Unfit { path: path.to_owned(), problem }
}
