//! Memory-backed storage. Everybody may make folders where it is, so no name there is ours before we have made it: a
//! folder of this user's is known by its owner and its mode, whatever it is called.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{fault, files};

/// What is kept here is small: where there is less room, in bytes, it is as if there were none.
#[cfg(target_os = "linux")]
const ROOM: u64 = 1 << 20;

/// A folder of this user in storage that does not outlive the system: `None` where there is none.
pub fn folder() -> Option<PathBuf> {
    let shared = shared()?;
    has_room(&shared).then_some(())?;
    match folder_in(&shared) {
        Ok(folder) => Some(folder),
        Err(error) => {
            tracing::warn!(%error, "memory-backed storage is not used");
            None
        }
    }
}

/// Where something of this name is, in any folder of this user's there.
pub fn find(name: &str) -> Option<PathBuf> {
    let shared = shared()?;
    let usual = shared.join(usual());
    let is_there = |folder: &PathBuf| std::fs::symlink_metadata(folder.join(name)).is_ok();
    let found = is_ours(&usual).then_some(usual).filter(is_there);
    found.or_else(|| others(&shared).into_iter().find(is_there)).map(|folder| folder.join(name))
}

/// What lies in the folders of this user's there, at most so much of each.
pub fn list(most: usize) -> Vec<PathBuf> {
    let Some(shared) = shared() else { return Vec::new() };
    let usual = Some(shared.join(usual())).filter(|folder| is_ours(folder));
    let folders = usual.into_iter().chain(others(&shared));
    folders.flat_map(|folder| files::list_at_most(&folder, most).unwrap_or_default()).collect()
}

/// Whether this is something in a folder of this user's there, made or not.
pub fn holds(path: &Path) -> bool {
    let (Some(shared), Some(folder)) = (shared(), path.parent()) else { return false };
    folder.parent() == Some(&shared) && is_ours(folder)
}

#[cfg(target_os = "linux")]
fn shared() -> Option<PathBuf> {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    let shared = Path::new("/dev/shm");
    statfs(shared).ok().filter(|system| system.filesystem_type() == TMPFS_MAGIC)?;
    no_other_can_move(shared).then(|| shared.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn shared() -> Option<PathBuf> {
    None
}

#[cfg(target_os = "linux")]
fn has_room(shared: &Path) -> bool {
    let system = nix::sys::statvfs::statvfs(shared);
    system.is_ok_and(|system| system.blocks_available().saturating_mul(system.fragment_size()) >= ROOM)
}

#[cfg(not(target_os = "linux"))]
fn has_room(_: &Path) -> bool {
    false
}

#[cfg(any(target_os = "linux", test))]
/// Whether what a user makes in a folder stays as it is, whatever other users do.
fn no_other_can_move(shared: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let me = nix::unistd::geteuid().as_raw();
    std::fs::metadata(shared).is_ok_and(|meta| {
        let is_trusted = [0, me].contains(&meta.uid());
        meta.is_dir() && is_trusted && (meta.mode() & STICKY != 0 || meta.mode() & 0o022 == 0)
    })
}

fn usual() -> String {
    format!("buildkite-dataflow-{}", nix::unistd::geteuid())
}

fn folder_in(shared: &Path) -> io::Result<PathBuf> {
    let usual = shared.join(usual());
    fault::act("folder in memory")?;
    if is_ours(&usual) {
        return Ok(usual);
    }
    // Another user may be quicker: then what is there is theirs, and not to be used.
    drop(DirBuilder::new().mode(0o700).create(&usual));
    if is_ours(&usual) {
        return Ok(usual);
    }
    if let Some(other) = others(shared).into_iter().next() {
        return Ok(other);
    }
    let prefix = format!("{}-", self::usual());
    let made = tempfile::Builder::new()
        .prefix(&prefix)
        .rand_bytes(16)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(shared)?
        .keep();
    is_ours(&made).then_some(made).ok_or_else(|| io::Error::other("a folder that was just made is not ours"))
}

/// Folders of ours by other names: there are some where another user took the usual one.
fn others(shared: &Path) -> Vec<PathBuf> {
    // A folder counts the folders in it, in most file systems: where ours is the only one there is nothing to list.
    let folders = std::fs::metadata(shared).map_or(u64::MAX, |meta| meta.nlink());
    if folders == 2 + u64::from(is_ours(&shared.join(usual()))) {
        return Vec::new();
    }
    let prefix = format!("{}-", usual());
    let is_named = |folder: &PathBuf| {
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
    };
    let listed = files::list(shared).unwrap_or_default();
    listed.into_iter().filter(is_named).filter(|folder| is_ours(folder)).collect()
}

/// Whether a folder is no link, this user's, and closed to everybody else.
fn is_ours(folder: &Path) -> bool {
    files::is_private_folder(folder, nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_name_that_is_taken_is_left_and_another_folder_is_found_again() {
        let shared = tempfile::tempdir().unwrap();
        let name = shared.path().join(usual());
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), &name).unwrap();
        let made = folder_in(shared.path()).unwrap();
        assert!(made != name && made.starts_with(shared.path()));
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder_in(shared.path()).unwrap(), made);
        std::fs::remove_file(&name).unwrap();
        assert_eq!(folder_in(shared.path()).unwrap(), name);
    }

    #[test]
    fn where_others_could_move_our_folder_none_is_used() {
        let shared = tempfile::tempdir().unwrap();
        for (mode, expected) in [(0o1777, true), (0o755, true), (0o777, false), (0o775, false)] {
            std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(no_other_can_move(shared.path()), expected, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let shared = tempfile::tempdir().unwrap();
        let name = shared.path().join(usual());
        std::fs::create_dir(&name).unwrap();
        std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(folder_in(shared.path()).unwrap(), name);
    }
}
