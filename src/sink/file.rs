//! A folder of records: one file a link, never written twice.

use std::io;
use std::path::Path;

use super::Error;
use crate::host::files;
use crate::lease::journal::Sealed;

/// Stores a link below `folder`. The same link stored before is fine; another of its name is an error.
pub fn store(folder: &Path, link: &Sealed) -> Result<(), Error> {
    let path = folder.join(&link.path);
    let failed = |source| Error { sink: folder.display().to_string(), source };
    let parent = path.parent().unwrap_or(folder);
    files::private_folder(parent).map_err(|error| failed(io::Error::other(error)))?;
    match files::create_new(&path, link.document.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = files::read(&path).map_err(|error| failed(io::Error::other(error)))?;
            if there == link.document.as_bytes() { Ok(()) } else { Err(failed(error)) }
        }
        result => result.map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fingerprint;

    fn link(document: &str) -> Sealed {
        Sealed {
            kind: "start".into(),
            digest: Fingerprint::of(document.as_bytes()),
            path: "v=1/org=acme/job-1.0-start.json".into(),
            document: document.into(),
        }
    }

    #[test]
    fn a_link_is_stored_once_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), &link("{}")).unwrap();
        store(folder.path(), &link("{}")).unwrap();
        assert!(store(folder.path(), &link("[]")).is_err());
        assert_eq!(std::fs::read(folder.path().join(link("").path)).unwrap(), b"{}");
    }
}
