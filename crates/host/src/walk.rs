//! Every file below a folder that others write to: bounded in depth and in number, links never followed.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::{Folder, Is};

/// A sink is six folders deep, and seven where users share it.
const DEPTH: usize = 16;

/// A year of a large organization's records.
const MOST: usize = 4_000_000;

/// What lies below a folder.
#[derive(Debug, Default)]
pub struct Walked {
    /// Everything that is no folder, sorted.
    pub files: Vec<PathBuf>,
    /// The folders that could not be looked into, and why.
    pub troubles: Vec<(PathBuf, io::Error)>,
}

/// Every file below a folder; none when there is no such folder.
pub fn below(path: &Path) -> io::Result<Walked> {
    let mut walked = Walked::default();
    match Folder::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        folder => look(&folder?, &mut walked, DEPTH)?,
    }
    walked.files.sort();
    Ok(walked)
}

fn look(folder: &Folder, walked: &mut Walked, depth: usize) -> io::Result<()> {
    let names = match folder.names() {
        Ok(names) => names,
        Err(error) => {
            walked.troubles.push((folder.path().to_owned(), error));
            return Ok(());
        }
    };
    for name in names {
        let path = folder.path().join(&name);
        match folder.named(&name) {
            Ok(Some(found)) if found.is == Is::Folder => match folder.below(&name) {
                Ok(_) if depth == 0 => {
                    walked.troubles.push((path, io::Error::other("too deep for a record")));
                }
                Ok(inner) => look(&inner, walked, depth - 1)?,
                // Removed since, by whoever keeps the folder tidy.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => walked.troubles.push((path, error)),
            },
            Ok(Some(_)) => walked.files.push(path),
            Ok(None) => {}
            Err(error) => walked.troubles.push((path, error)),
        }
        if walked.files.len() + walked.troubles.len() > MOST {
            return Err(io::Error::other(format!("more than {MOST} files: name a folder further down")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_walk_ends_where_links_lead_in_circles_and_folders_have_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let deep = (0..40).fold(folder.path().join("a"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("too-deep"), "").unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/x"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/circle")).unwrap();
        let walked = below(folder.path()).unwrap();
        assert_eq!(walked.files, [folder.path().join("b/circle"), folder.path().join("b/x")]);
        assert_eq!(walked.troubles.len(), 1);
        assert!(below(&folder.path().join("nothing")).unwrap().files.is_empty());
    }
}
