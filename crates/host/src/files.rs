//! Private files: 0600 in 0700 folders, never through a link, replaced whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

use super::fault;
use super::folder::Folder;
pub use super::untrusted::Untrusted;
use super::untrusted::{check_owner, io_at, read_all, read_whole};

/// No file that this program reads is longer, in bytes.
pub const MAX_LENGTH: u64 = 16 << 20;

/// Reads a file only its owner can have written: the owner one of `owners`, not writable by others, no link.
pub fn read_trusted(path: &Path, owners: &[u32]) -> Result<Vec<u8>, Untrusted> {
    read_open(&open_no_follow(path).map_err(io_at(path))?, path, owners)
}

/// The same of a file that is open already, from where it stands; `path` is for errors.
pub fn read_open(file: &File, path: &Path, owners: &[u32]) -> Result<Vec<u8>, Untrusted> {
    let meta = file.metadata().map_err(io_at(path))?;
    if meta.nlink() != 1 {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    read_checked(file, &meta, path, owners)
}

/// The same of a file that the host config names, and of that itself. It may have further names: a user who made one
/// can neither change it nor put another in its place, and stores of packages link files that are the same.
pub fn read_named(path: &Path, owners: &[u32]) -> Result<Vec<u8>, Untrusted> {
    let file = open_no_follow(path).map_err(io_at(path))?;
    read_checked(&file, &file.metadata().map_err(io_at(path))?, path, owners)
}

fn read_checked(file: &File, meta: &fs::Metadata, path: &Path, owners: &[u32]) -> Result<Vec<u8>, Untrusted> {
    fault::look("read");
    if !meta.is_file() {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    check_owner(path, meta, owners)?;
    read_whole(file, meta, path, MAX_LENGTH)
}

/// The same of a file that holds a secret: others may not even read it; its group may.
pub fn read_private(path: &Path, owners: &[u32]) -> Result<Vec<u8>, Untrusted> {
    let file = open_no_follow(path).map_err(io_at(path))?;
    let meta = file.metadata().map_err(io_at(path))?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o004 != 0 {
        return Err(Untrusted::Readable { path: path.to_owned(), mode });
    }
    read_checked(&file, &meta, path, owners)
}

/// Checks that only the owner, one of `owners`, can put files into a folder.
pub fn check_folder(path: &Path, owners: &[u32]) -> Result<(), Untrusted> {
    check_owner(path, &fs::metadata(path).map_err(io_at(path))?, owners)
}

/// Reads a file that somebody named: links are followed, and whoever asked checks the content. A pipe, a socket, a
/// device or a folder in its place is refused without waiting for it.
pub fn read(path: &Path) -> Result<Vec<u8>, Untrusted> {
    read_by(path, O_CLOEXEC | O_NONBLOCK)
}

/// The same of a file that was found and that nobody named: a link is refused too.
pub fn read_found(path: &Path) -> Result<Vec<u8>, Untrusted> {
    read_by(path, O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
}

fn read_by(path: &Path, flags: i32) -> Result<Vec<u8>, Untrusted> {
    fault::look("read");
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    read_all(&file.map_err(io_at(path))?, path, MAX_LENGTH)
}

// O_NONBLOCK: a FIFO in place of a file must not hang a hook.
pub(super) fn open_no_follow(path: &Path) -> io::Result<File> {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK).open(path)
}

/// Makes a folder that only this user can enter, parents included, and checks that it is ours.
pub fn private_folder(path: &Path) -> Result<(), Untrusted> {
    fault::act("private folder").map_err(io_at(path))?;
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_at(path))?;
    check_folder(path, &[nix::unistd::geteuid().as_raw()])
}

/// Opens a file of this user for reading and appending, 0600; `new` makes it if it is not there. Whatever else stands
/// in its place is refused: what is written there would be lost, or be somebody's.
pub fn open_append(path: &Path, new: bool) -> io::Result<File> {
    fault::act("open")?;
    let mut options = OpenOptions::new();
    options.create(new).read(true).append(true).mode(0o600).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let file = options.open(path)?;
    let meta = file.metadata()?;
    // One without a name was removed a moment ago: whoever asked finds out.
    if !meta.is_file() || meta.nlink() > 1 {
        return Err(io::Error::other(Untrusted::NotRegular { path: path.to_owned() }));
    }
    Ok(file)
}

/// Writes at the end of an open file.
pub fn append(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::act("append")?;
    file.write_all(bytes)
}

/// Makes what was written to an open file durable.
pub fn sync(file: &File) -> io::Result<()> {
    fault::act("sync")?;
    file.sync_data()
}

/// Takes an open file's readability by others away.
pub fn close_to_others(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

/// Whether somebody removed an open file since.
pub fn is_gone(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() == 0)
}

/// Writes a file whole or not at all, 0600, durable when this returns.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fault::act("replace")?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Writes a file whole or not at all, 0600; a power cut may lose it, as is fine for what can be fetched again.
pub fn replace_lossy(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fault::act("replace, lossy")?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// A lock that others see; it goes with this value, or with the process.
#[derive(Debug)]
pub struct Locked(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Takes the lock that a file stands for; `None` while another process has it.
pub fn lock(path: &Path) -> io::Result<Option<Locked>> {
    let file = open_append(path, true)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Locked(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the lock that a folder stands for; `None` while another process has it.
pub fn lock_folder(path: &Path) -> io::Result<Option<Locked>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_DIRECTORY);
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let folder = options.open(path)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(Locked(folder))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    fault::act("sync folder")?;
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    OpenOptions::new().read(true).custom_flags(O_DIRECTORY | O_NONBLOCK).open(path)?.sync_all()
}

/// The names in a folder, sorted; none when there is no such folder.
pub fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    list_at_most(path, usize::MAX)
}

/// The same for at most so many of them, the first that the system names: a folder that others fill costs no more.
pub fn list_at_most(path: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
    fault::look("list");
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.take(most).map(|entry| entry.map(|e| e.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// When a regular file was last written; `None` for a link, a folder, or nothing at all.
pub fn written(path: &Path) -> Option<DateTime<Utc>> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    // Whoever wrote it may have set a time that no calendar has.
    DateTime::from_timestamp(meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or_default())
}

/// How long a file is, in bytes, without following a link.
pub fn length(path: &Path) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|meta| meta.len())
}

/// When a folder's names last changed; `None` for a link, a file, or nothing at all.
pub fn rearranged(path: &Path) -> Option<DateTime<Utc>> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir)?;
    meta.modified().ok().map(DateTime::from)
}

/// Whose link stands there; `None` where it is no link.
pub fn link_of(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().filter(|meta| meta.file_type().is_symlink()).map(|meta| meta.uid())
}

/// Whether there is such a folder.
pub fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// A new private folder, removed with everything in it when the handle is dropped.
pub fn scratch(parent: &Path, prefix: &str) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(parent)
}

/// Writes a program: a file that may be executed by its owner.
pub fn write_program(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    replace_lossy(path, text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Makes a program stand in another folder too.
pub fn copy_program(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Whether a folder is a user's, and its mode gives its group and others nothing.
pub fn is_private_folder(path: &Path, user: u32) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == user && meta.mode().trailing_zeros() >= 6)
}

/// Removes a file or a whole folder; one that is not there is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    match Folder::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fault::act("remove"),
        folder => folder?.remove(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_was_replaced_reads_back_and_is_private() {
        let folder = folder();
        let path = folder.path().join("x");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_trusted(&path, &[me()]).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = folder();
        let path = folder.path().join("x");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read_trusted(&path, &[me()]), Err(Untrusted::Writable { .. })));
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("x");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_private(&path, &[me()]).unwrap(), b"one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_private(&path, &[me()]), Err(Untrusted::Readable { .. })));
    }

    #[test]
    fn another_users_file_is_refused() {
        let folder = folder();
        let path = folder.path().join("x");
        replace(&path, b"one").unwrap();
        assert!(matches!(read_trusted(&path, &[me() + 1]), Err(Untrusted::Owner { .. })));
    }

    #[test]
    fn links_and_pipes_are_refused_without_waiting() {
        let folder = folder();
        let (real, soft, hard, fifo) =
            ["real", "soft", "hard", "fifo"].map(|name| folder.path().join(name)).into();
        replace(&real, b"one").unwrap();
        std::os::unix::fs::symlink(&real, &soft).unwrap();
        assert!(matches!(read_trusted(&soft, &[me()]), Err(Untrusted::Io { .. })));
        fs::hard_link(&real, &hard).unwrap();
        assert!(matches!(read_trusted(&hard, &[me()]), Err(Untrusted::NotRegular { .. })));
        assert_eq!(read_named(&hard, &[me()]).unwrap(), b"one");
        assert!(matches!(read_named(&hard, &[me() + 1]), Err(Untrusted::Owner { .. })));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read_trusted(&fifo, &[me()]), Err(Untrusted::NotRegular { .. })));
    }

    #[test]
    fn what_is_read_or_opened_is_a_regular_file_and_no_longer_than_ours() {
        let folder = folder();
        let (pipe, huge, link) = ["pipe", "huge", "link"].map(|name| folder.path().join(name)).into();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for odd in [&pipe, &link, Path::new("/dev/zero"), folder.path()] {
            assert!(matches!(read(odd), Err(Untrusted::NotRegular { .. })), "{}", odd.display());
        }
        assert!(matches!(read(&huge), Err(Untrusted::TooLong { .. })));
        assert!(read_found(&link).is_err() && lock(&pipe).is_err() && open_append(&link, true).is_err());
        assert!(sync_folder(&pipe).is_err() && list(&pipe).is_err());
    }
}
