//! A folder held by its descriptor. What is done below it stays below it, whatever somebody puts in the place of its
//! path meanwhile; a link below it is never followed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::fault;
use super::untrusted::{Untrusted, check_owner, read_all};

/// How a file begins that is not whole yet.
pub const WRITING: &str = ".writing-";

/// How deep a folder is removed: ours are three deep.
const DEPTH: usize = 32;

/// What a name stands for, without following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a pipe, a socket or a device.
    Other,
}

/// What a folder says of one of its names.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// What it is.
    pub is: Is,
    /// Whose it is.
    pub owner: u32,
    /// How long it is, in bytes.
    pub length: u64,
    /// When it, or its names, last changed; `None` for a time that no calendar has.
    pub written: Option<DateTime<Utc>>,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that this host's administrator names: a link is followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        fault::look("open folder");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { file: file.into(), path: path.to_owned() })
    }

    /// Opens a folder in this one; a link is refused.
    pub fn below(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = one_name(name.as_ref())?;
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.file, name, flags, Mode::empty())?;
        Ok(Self { file: file.into(), path: self.path.join(name) })
    }

    /// Opens a folder at the end of a path of single names below this one, in one call; a link on the way is refused, as
    /// is everything where the system has no such call.
    pub fn below_all(&self, names: &[&str]) -> io::Result<Self> {
        let path = names.iter().map(|name| one_name(name.as_ref())).collect::<io::Result<PathBuf>>()?;
        Ok(Self { file: open_beneath(&self.file, &path)?, path: self.path.join(path) })
    }

    /// Opens a folder in this one, made with these permissions where it is not there yet; whether it was made.
    pub fn make(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<(Self, bool)> {
        let name = one_name(name.as_ref())?;
        match self.below(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened?, false)),
        }
        fault::act("make folder")?;
        let is_new = match rustix::fs::mkdirat(&self.file, name, bits(0o700)) {
            Err(Errno::EXIST) => false,
            result => result.map(|()| true)?,
        };
        let folder = self.below(name)?;
        if is_new && mode != 0o700 {
            folder.set_mode(mode)?;
        }
        Ok((folder, is_new))
    }

    /// Where it was opened: for messages, and for names that are handed on.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is, and who may do what with it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether only its owner, one of `owners`, can put files into it.
    pub fn check(&self, owners: &[u32]) -> Result<(), Untrusted> {
        let io = |source| Untrusted::Io { path: self.path.clone(), source };
        check_owner(&self.path, &self.metadata().map_err(io)?, owners)
    }

    /// Sets its permissions.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Gives it to a group.
    pub fn set_group(&self, group: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.file, None, Some(group))
    }

    /// Makes its names durable.
    pub fn sync(&self) -> io::Result<()> {
        fault::act("sync folder")?;
        self.file.sync_all()
    }

    /// Its names, sorted.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        fault::look("list");
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What stands under a name; `None` where nothing does.
    pub fn named(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Named>> {
        match rustix::fs::statat(&self.file, one_name(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => Ok(Some(told(&stat?))),
        }
    }

    /// Reads a file of at most `most` bytes; a link, a pipe, a device or a folder in its place is refused.
    pub fn read(&self, name: impl AsRef<OsStr>, most: u64) -> Result<Vec<u8>, Untrusted> {
        fault::look("read");
        let path = self.path.join(name.as_ref());
        let io = |source| Untrusted::Io { path: path.clone(), source };
        let name = one_name(name.as_ref()).map_err(io)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.file, name, flags, Mode::empty());
        read_all(&file.map_err(|error| io(error.into()))?.into(), &path, most)
    }

    /// Writes a file that must not be there yet, whole or not at all, durable when this returns; `AlreadyExists`
    /// otherwise. It gets these permissions, and this group where one is named.
    pub fn create_new(&self, name: &str, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
        fault::act("create")?;
        let name = one_name(name.as_ref())?;
        if self.named(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let half = format!("{WRITING}{:032x}", fastrand::u128(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, half.as_str(), flags, bits(0o600))?;
        let written = whole(&file.into(), bytes, mode, group).and_then(|()| self.rename_new(&half, name));
        if written.is_err() {
            let _left = rustix::fs::unlinkat(&self.file, half.as_str(), AtFlags::empty());
        }
        written.and_then(|()| self.sync())
    }

    fn rename_new(&self, from: &str, to: &OsStr) -> io::Result<()> {
        use rustix::fs::{RenameFlags, linkat, renameat_with, unlinkat};
        match renameat_with(&self.file, from, &self.file, to, RenameFlags::NOREPLACE) {
            // Not every file system can; a second name is never made over a first one either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                linkat(&self.file, from, &self.file, to, AtFlags::empty())?;
                Ok(unlinkat(&self.file, from, AtFlags::empty())?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Removes a name that is no folder, or a folder that holds nothing.
    pub fn remove_one(&self, name: impl AsRef<OsStr>, is: Is) -> io::Result<()> {
        fault::act("remove")?;
        self.unlink(one_name(name.as_ref())?, is)
    }

    fn unlink(&self, name: &OsStr, is: Is) -> io::Result<()> {
        let flags = if is == Is::Folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        Ok(rustix::fs::unlinkat(&self.file, name, flags)?)
    }

    /// Removes a name, and where it is a folder all that is in it. Links are removed and never followed; a folder of
    /// another user, or on another file system, stays with what it holds. It goes on past what cannot be removed,
    /// and tells the first trouble.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fault::act("remove")?;
        let me = (nix::unistd::geteuid().as_raw(), self.metadata()?.dev());
        self.remove_deep(one_name(name.as_ref())?, me, DEPTH)
    }

    fn remove_deep(&self, name: &OsStr, me: (u32, u64), depth: usize) -> io::Result<()> {
        let Some(there) = self.named(name)? else { return Ok(()) };
        // A folder that is empty needs no look inside.
        let first = self.unlink(name, there.is);
        if there.is != Is::Folder || !matches!(&first, Err(error) if is_full(error)) {
            return first
                .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
        }
        let folder = self.below(name)?;
        let meta = folder.metadata()?;
        if (meta.uid(), meta.dev()) != me || depth == 0 {
            let what = format!("`{}` is not ours to remove", folder.path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let mut worst = Ok(());
        for name in folder.names()? {
            worst = worst.and(folder.remove_deep(&name, me, depth - 1));
        }
        worst.and_then(|()| self.unlink(name, Is::Folder))
    }
}

fn whole(mut file: &File, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Some(group) = group.filter(|group| file.metadata().is_ok_and(|meta| meta.gid() != *group)) {
        std::os::unix::fs::fchown(file, None, Some(group))?;
    }
    if mode != 0o600 {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.sync_all()
}

fn is_full(error: &io::Error) -> bool {
    // POSIX allows both words.
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(target_os = "linux")]
fn open_beneath(folder: &File, path: &Path) -> io::Result<File> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)?.into())
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_: &File, _: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// One name of a folder: no path leads through this door.
fn one_name(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        let what = format!("`{}` is not one name", name.to_string_lossy());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(name)
}

fn bits(mode: RawMode) -> Mode {
    Mode::from_raw_mode(mode)
}

fn told(stat: &Stat) -> Named {
    let is = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Is::File,
        FileType::Directory => Is::Folder,
        _ => Is::Other,
    };
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Named {
        is,
        owner: stat.st_uid,
        length: u64::try_from(stat.st_size).unwrap_or_default(),
        written: DateTime::from_timestamp(stat.st_mtime, nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let open = Folder::open(folder.path()).unwrap();
        (folder, open)
    }

    #[test]
    fn no_name_leads_out_of_a_folder() {
        let (_folder, open) = folder();
        for name in ["", ".", "..", "../x", "/etc", "a/b", "a\0b"] {
            assert!(open.make(name, 0o700).is_err(), "{name:?}");
            assert!(open.create_new(name, b"", 0o600, None).is_err(), "{name:?}");
            assert!(open.remove(name).is_err() && open.read(name, 9).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_link_below_is_not_followed_and_removing_it_leaves_what_it_points_to() {
        let (folder, open) = folder();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        assert!(open.below("link").is_err() && open.make("link", 0o700).is_err());
        fs::create_dir_all(folder.path().join("full/deep")).unwrap();
        symlink(elsewhere.path(), folder.path().join("full/deep/link")).unwrap();
        open.remove("full").unwrap();
        open.remove("link").unwrap();
        open.remove("nothing").unwrap();
        assert_eq!(open.names().unwrap(), [] as [OsString; 0]);
        assert!(elsewhere.path().join("kept").exists());
    }

    #[test]
    fn what_is_done_in_a_folder_stays_in_it_after_its_path_became_anothers() {
        let (folder, open) = folder();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(elsewhere.path().join("inner/theirs")).unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let inner = open.below("inner").unwrap();
        fs::rename(folder.path().join("inner"), folder.path().join("moved")).unwrap();
        symlink(elsewhere.path().join("inner"), folder.path().join("inner")).unwrap();
        inner.create_new("x", b"x", 0o600, None).unwrap();
        inner.remove("theirs").unwrap();
        assert!(folder.path().join("moved/x").exists());
        assert_eq!(fs::read_dir(elsewhere.path().join("inner")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_made_once_and_what_is_there_stays() {
        let (folder, open) = folder();
        open.create_new("x", b"one", 0o640, None).unwrap();
        let again = open.create_new("x", b"two", 0o600, None).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(open.read("x", 9).unwrap(), b"one");
        assert_eq!(fs::metadata(folder.path().join("x")).unwrap().mode() & 0o777, 0o640);
        assert!(matches!(open.read("x", 2), Err(Untrusted::TooLong { .. })));
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(open.read("pipe", 9), Err(Untrusted::NotRegular { .. })));
        assert_eq!(open.names().unwrap(), ["pipe", "x"]);
    }

    #[test]
    fn another_users_folder_stays_and_what_is_beside_it_goes() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (folder, open) = folder();
        let theirs = folder.path().join("ours/a-theirs");
        fs::create_dir_all(theirs.join("deep")).unwrap();
        fs::write(folder.path().join("ours/b"), "x").unwrap();
        std::os::unix::fs::chown(&theirs, Some(4242), None).unwrap();
        assert!(open.remove("ours").unwrap_err().to_string().contains("not ours"));
        assert!(theirs.join("deep").exists() && !folder.path().join("ours/b").exists());
    }
}
