//! A folder that two users share: one owns it, the other's processes may leave files there. Both distrust what they find.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::fault;
use super::files::{self, Untrusted};
pub use super::folder::WRITING;

/// Whose folder it is: one that everybody may write to is refused, and so is a link.
pub fn owner(folder: &Path) -> Result<u32, Untrusted> {
    let io = |source| Untrusted::Io { path: folder.to_owned(), source };
    let meta = fs::symlink_metadata(folder).map_err(io)?;
    if !meta.is_dir() {
        return Err(io(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(Untrusted::Writable { path: folder.to_owned(), mode });
    }
    Ok(meta.uid())
}

/// Leaves a file, whole or not at all, which the folder's group may read; durable when this returns.
pub fn leave(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fault::act("leave")?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(WRITING).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(0o640))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    files::sync_folder(folder)
}

/// Reads what somebody left, whoever it was: no link, a regular file with one name, not longer than `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Untrusted> {
    fault::look("read");
    let io = |source| Untrusted::Io { path: path.to_owned(), source };
    let file = files::open_no_follow(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    super::untrusted::read_all(&file, path, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_left_can_be_read_by_the_folders_group_and_by_nobody_else() {
        let folder = folder();
        let path = folder.path().join("x");
        leave(&path, b"one").unwrap();
        leave(&path, b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert_eq!(files::list(folder.path()).unwrap(), [path]);
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_none() {
        let folder = folder();
        assert_eq!(owner(folder.path()).unwrap(), nix::unistd::geteuid().as_raw());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(owner(folder.path()), Err(Untrusted::Writable { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert!(matches!(owner(&link), Err(Untrusted::Io { .. })));
    }

    #[test]
    fn what_is_no_plain_file_or_too_long_is_not_read() {
        let folder = folder();
        let path = folder.path().join("x");
        leave(&path, b"four").unwrap();
        assert!(matches!(read(&path, 3), Err(Untrusted::TooLong { most: 3, .. })));
        let other = folder.path().join("y");
        fs::hard_link(&path, &other).unwrap();
        assert!(matches!(read(&path, 9), Err(Untrusted::NotRegular { .. })));
        std::os::unix::fs::symlink(&path, folder.path().join("z")).unwrap();
        assert!(matches!(read(&folder.path().join("z"), 9), Err(Untrusted::Io { .. })));
    }
}
