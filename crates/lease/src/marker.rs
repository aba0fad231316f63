//! How a state directory is known: it is this user's, and a marker lies in it. A folder that is another program's, or
//! that somebody put in the place of a state directory, is neither filled nor tidied.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use dataflow_host::drop_box::WRITING;
use dataflow_host::files::{self, Untrusted};
use dataflow_host::folder::{Folder, Is};

/// The marker's name.
pub const MARKER: &str = ".buildkite-dataflow-state";

const TEXT: &str = "This folder belongs to buildkite-dataflow, which removes what it made here.\n";

/// What version 0.1.0, which left no marker, made in a state directory.
const BEFORE: [&str; 4] = ["jobs", "cache", "files", "records"];

/// Whether a name says nothing of whose a folder is: a new file system holds it, or a hook died over the marker.
fn is_nothing(name: &OsStr) -> bool {
    name == "lost+found" || name.to_string_lossy().starts_with(WRITING)
}

/// Why a folder is no state directory.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// Another user's, or one that others can change.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It holds what this program did not put there.
    #[error("`{path}` holds `{name}` and no `{MARKER}`: it is another program's")]
    Others {
        /// Which folder.
        path: PathBuf,
        /// What it holds.
        name: String,
    },
    /// Something stands in the place of its marker.
    #[error("`{path}` is in the place of the marker of a state directory, and is no file of this user")]
    Marker {
        /// What stands there.
        path: PathBuf,
    },
    /// Its marker could not be written.
    #[error("`{path}` cannot be written durably")]
    NotDurable {
        /// The marker.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another user could send us anywhere.
    #[error("`{path}` is a link of user {owner}")]
    Link {
        /// Which link.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

/// What stands where a state directory is looked for.
enum Found {
    Nothing,
    Empty(Folder),
    Unmarked(Folder),
    Marked(Folder),
}

/// Opens the state directory, and makes it where there is none yet.
pub(super) fn open_or_make(root: &Path) -> Result<Folder, Foreign> {
    match look(root)? {
        Found::Marked(folder) => Ok(folder),
        Found::Empty(folder) | Found::Unmarked(folder) => mark(folder),
        Found::Nothing => {
            files::private_folder(root)?;
            mark(Folder::open(root).map_err(|source| io_at(root, source))?)
        }
    }
}

/// Opens the state directory where there is one, and makes nothing but the marker of one that has none yet.
pub(super) fn open(root: &Path) -> Result<Option<Folder>, Foreign> {
    match look(root)? {
        Found::Marked(folder) => Ok(Some(folder)),
        Found::Unmarked(folder) => mark(folder).map(Some),
        Found::Nothing | Found::Empty(_) => Ok(None),
    }
}

fn look(root: &Path) -> Result<Found, Foreign> {
    let io = |source| io_at(root, source);
    let me = nix::unistd::geteuid().as_raw();
    let folder = match Folder::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        folder => folder.map_err(io)?,
    };
    folder.check(&[me])?;
    let marker = folder.named(MARKER).map_err(io)?;
    if marker.is_some_and(|marker| marker.is == Is::File && marker.owner == me) {
        return Ok(Found::Marked(folder));
    }
    if marker.is_some() {
        return Err(Foreign::Marker { path: root.join(MARKER) });
    }
    if let Some(owner) = files::link_of(root).filter(|owner| ![0, me].contains(owner)) {
        return Err(Foreign::Link { path: root.to_owned(), owner });
    }
    let names = folder.names().map_err(io)?;
    let foreign = |name: &OsStr| !is_nothing(name) && !BEFORE.iter().any(|ours| name == *ours);
    let others =
        |name: &OsStr| Foreign::Others { path: root.to_owned(), name: name.to_string_lossy().into_owned() };
    if let Some(name) = names.iter().find(|name| foreign(name)) {
        return Err(others(name));
    }
    let jobs = match folder.below("jobs") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        jobs => Some(jobs.map_err(io)?),
    };
    let blocks = jobs.as_ref().map_or_else(|| Ok(Vec::new()), Folder::names).map_err(io)?;
    if let Some(name) = jobs.as_ref().and_then(|jobs| foreign_job(jobs, &blocks)) {
        return Err(others(OsStr::new(&format!("jobs/{name}"))));
    }
    // Without the folder of a block nothing says that it was a state directory: a sweep leaves it as it is.
    Ok(if blocks.is_empty() && !names.iter().any(|name| name == "records") {
        Found::Empty(folder)
    } else {
        Found::Unmarked(folder)
    })
}

/// A name in `jobs` that this program did not make.
fn foreign_job(jobs: &Folder, names: &[OsString]) -> Option<String> {
    let has_journal =
        |name: &OsString| jobs.below(name).and_then(|block| block.named("journal")).ok().flatten().is_some();
    let mut foreign = names.iter().filter(|name| !is_block(&name.to_string_lossy()) && !has_journal(name));
    foreign.next().map(|name| name.to_string_lossy().into_owned())
}

/// Whether a folder of one block of a job can have this name: `JOB.INSTANCE`, and what tells it apart.
pub(super) fn is_block(name: &str) -> bool {
    let parts = || name.split('.');
    (2..=4).contains(&parts().count())
        && parts().all(|part| !part.is_empty() && dataflow_types::file_name::plain(part) == part)
}

fn mark(folder: Folder) -> Result<Folder, Foreign> {
    match folder.create_new(MARKER, TEXT.as_bytes(), 0o600, None) {
        // Another hook was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|source| Foreign::NotDurable { path: folder.path().join(MARKER), source })?,
    }
    Ok(folder)
}

fn io_at(path: &Path, source: io::Error) -> Untrusted {
    Untrusted::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            match name.strip_suffix('/') {
                Some(name) => fs::create_dir_all(folder.path().join(name)).unwrap(),
                None => fs::write(folder.path().join(name), "").unwrap(),
            }
        }
        folder
    }

    #[test]
    fn a_new_folder_an_empty_one_and_one_of_the_first_version_become_state_directories() {
        for names in [
            &[][..],
            &["lost+found/", ".writing-0"],
            &["jobs/", "cache/", "records/v=1/", "files/"],
            &["jobs/0194.abc.1/", "jobs/odd/", "jobs/odd/journal"],
        ] {
            let folder = folder(names);
            open_or_make(folder.path()).unwrap();
            assert!(folder.path().join(MARKER).is_file(), "{names:?}");
            fs::write(folder.path().join("what a step put there"), "").unwrap();
            open_or_make(folder.path()).unwrap();
        }
        let folder = folder(&[]);
        open_or_make(&folder.path().join("deep/state")).unwrap();
    }

    #[test]
    fn a_folder_of_another_program_is_refused_as_it_is() {
        for (names, told) in [
            (&["jobs/nightly/", "cache/"][..], "jobs/nightly"),
            (&["jobs/nightly/", "jobs/nightly/log"], "jobs/nightly"),
            (&["jobs/", "notes"], "notes"),
            (&[".git/"], ".git"),
        ] {
            let folder = folder(names);
            for error in [open_or_make(folder.path()).err(), open(folder.path()).err()] {
                assert!(matches!(error, Some(Foreign::Others { name, .. }) if name == told), "{names:?}");
            }
            assert!(!folder.path().join(MARKER).is_file());
        }
    }

    #[test]
    fn what_stands_in_the_place_of_the_marker_is_named() {
        let folder = folder(&["jobs/", ".buildkite-dataflow-state/"]);
        for error in [open_or_make(folder.path()).err(), open(folder.path()).err()] {
            let path = folder.path().join(MARKER);
            assert!(matches!(error, Some(Foreign::Marker { path: named }) if named == path));
        }
    }

    #[test]
    fn looking_makes_no_state_directory() {
        let folder = folder(&[]);
        assert!(open(&folder.path().join("none")).unwrap().is_none());
        assert!(open(folder.path()).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::create_dir(folder.path().join("jobs")).unwrap();
        assert!(open(folder.path()).unwrap().is_none());
        assert!(!folder.path().join(MARKER).exists());
    }
}
