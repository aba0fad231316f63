//! Stories of two users of one host. Only root can have them.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::odd::soon;

/// A user who is not root, and another.
pub(crate) const ONE: u32 = 4251;
pub(crate) const OTHER: u32 = 4252;
/// A group that both are in.
pub(crate) const GROUP: u32 = 4253;

/// Whether this process can be two users. Where it cannot, the story says loudly that it was not told; in CI it fails.
#[track_caller]
pub(crate) fn two_users(story: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{story}: CI must run this as root");
    super::components::told(&format!("SKIPPED, for only root has two users: {story}"));
    false
}

/// A command that this user runs, in a group that others are in too.
pub(crate) fn of_user(mut command: Command, user: u32) -> Command {
    command.uid(user).gid(GROUP).current_dir("/");
    command
}

/// Runs it to its end, which comes soon.
#[track_caller]
pub(crate) fn as_user(command: Command, user: u32) -> (Option<i32>, String) {
    soon(of_user(command, user))
}

/// Gives a folder, and all that is in it, to a user.
pub(crate) fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// A folder in which every user may have things, and none can take another's away.
pub(crate) fn common() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("df").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    chown(folder.path(), Some(0), Some(0)).unwrap();
    folder
}

/// Everything below a folder, with its owner, mode and content: to see whether anything changed.
pub(crate) fn everything(folder: &Path) -> Vec<(PathBuf, u32, u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        found.push((path.clone(), meta.uid(), meta.mode(), content));
        if meta.is_dir() {
            found.extend(everything(&path));
        }
    }
    found
}
