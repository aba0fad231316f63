//! A folder of records: one file a link, never written twice. All below the sink is made and opened by descriptor,
//! and no link is followed there.

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::shared::Rights;
use super::{Error, Outcome, Sink, Storing};
use dataflow_config::sink::FileSink;
use dataflow_host::files::{self, Untrusted};
use dataflow_host::folder::Folder;
use dataflow_record::place::Place;

/// No link of a record is longer, in bytes: a file of its name that is longer is another.
const MOST: u64 = 16 << 20;

/// A folder of records on this host.
#[derive(Clone, Debug)]
pub struct File(FileSink);

impl File {
    /// The folder that a host config names.
    pub fn new(config: FileSink) -> Self {
        Self(config)
    }
}

impl Sink for File {
    fn name(&self) -> String {
        self.0.directory.display().to_string()
    }

    fn store(&self, place: &Place, document: &str, _: DateTime<Utc>) -> Storing {
        let (sink, place, document) = (self.0.clone(), place.clone(), document.to_owned());
        Storing::Blocking(Box::new(move || match store(&sink, &place, &document) {
            Ok(()) => Outcome::Stored,
            // Also where another document has the name: an operator may move it.
            Err(error) => Outcome::TryAgain(error),
        }))
    }
}

/// Stores a document at its place in a sink. The same one stored before is fine; another of its name is an error.
pub(super) fn store(sink: &FileSink, place: &Place, document: &str) -> Result<(), Error> {
    let failed = |source| Error { sink: sink.directory.display().to_string(), source };
    let rights = Rights::of(sink).map_err(failed)?;
    let leaf = leaf(&sink.directory, place, &rights).map_err(failed)?;
    let (mode, group) = rights.of_files();
    match leaf.create_new(&place.name, document.as_bytes(), mode, group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = leaf.read(&place.name, MOST).map_err(|error| failed(io::Error::other(error)))?;
            if there == document.as_bytes() { Ok(()) } else { Err(failed(error)) }
        }
        result => result.map_err(failed),
    }
}

fn leaf(directory: &Path, place: &Place, rights: &Rights) -> io::Result<Folder> {
    let root = match Folder::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::private_folder(directory).map_err(io::Error::other)?;
            Folder::open(directory)?
        }
        root => root?,
    };
    rights.begin(&root)?;
    let above = rights.above();
    let names: Vec<&str> = above.iter().chain(&place.folders).map(String::as_str).collect();
    // Most often they are all there, and as they should be.
    let at_once = if rights.are_usual() { root.below_all(&names).ok() } else { None };
    let leaf = at_once.map_or_else(|| make_all(root, &names, rights), Ok)?;
    leaf.check(&[nix::unistd::geteuid().as_raw()]).map_err(io::Error::other)?;
    Ok(leaf)
}

fn make_all(root: Folder, names: &[&str], rights: &Rights) -> io::Result<Folder> {
    let mut folder = root;
    for name in names {
        let (below, _) = folder.make(name, 0o700).map_err(|error| told(&folder, name, &error))?;
        rights.settle(&below)?;
        folder = below;
    }
    Ok(folder)
}

/// A link's error says no name.
fn told(folder: &Folder, name: &str, error: &io::Error) -> io::Error {
    io::Error::other(Untrusted::Io {
        path: folder.path().join(name),
        source: error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { folders: vec!["v=1".into(), "org=acme".into()], name: "job-1.x.0-start.json".into() }
    }

    fn sink(folder: &Path) -> FileSink {
        FileSink::private(folder.to_owned())
    }

    #[test]
    fn a_link_is_stored_once_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let sink = sink(&folder.path().join("made/here"));
        store(&sink, &place(), "{}").unwrap();
        store(&sink, &place(), "{}").unwrap();
        assert!(store(&sink, &place(), "[]").is_err());
        let path = sink.directory.join("v=1/org=acme/job-1.x.0-start.json");
        assert_eq!(std::fs::read(path).unwrap(), b"{}");
    }

    #[test]
    fn a_link_among_the_folders_of_a_sink_is_refused_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("v=1")).unwrap();
        let error = store(&sink(folder.path()), &place(), "{}").unwrap_err();
        assert!(error.source.to_string().contains("v=1"), "{}", error.source);
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
