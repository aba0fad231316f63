//! Who may do what with a sink's folders and files, as the host config says. A sink that a group may write to holds one
//! folder per user, so that nobody can replace or remove what another put there.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use dataflow_config::sink::FileSink;
use dataflow_host::folder::Folder;
use dataflow_host::process;

/// Who may do what; by default nobody else may do anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    mode: u32,
    group: Option<u32>,
    is_set: bool,
    user: u32,
}

/// Only the owner of an entry, or of its folder, can rename or remove it.
const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;

impl Rights {
    /// What a sink's config says.
    pub(super) fn of(sink: &FileSink) -> io::Result<Self> {
        let group = sink.group.as_deref().map(process::group).transpose()?;
        let (mode, is_set) = (sink.folder_mode(), sink.group.is_some() || sink.mode.is_some());
        Ok(Self { mode, group, is_set, user: nix::unistd::geteuid().as_raw() })
    }

    /// Whether the host config says nothing of them.
    pub(super) fn are_usual(&self) -> bool {
        !self.is_set
    }

    /// Whether several users put records there.
    fn is_shared(&self) -> bool {
        self.mode & GROUP_WRITES != 0
    }

    /// The folder of this user in a shared sink.
    pub(super) fn above(&self) -> Vec<String> {
        if self.is_shared() { vec![format!("user={}", self.user)] } else { Vec::new() }
    }

    /// Checks a sink's own folder, and settles it where it is this user's.
    pub(super) fn begin(&self, root: &Folder) -> io::Result<()> {
        if !self.is_set {
            return Ok(());
        }
        if root.metadata()?.uid() == self.user {
            self.set(root, self.mode)?;
        }
        let meta = root.metadata()?;
        if !self.is_shared() {
            return Ok(());
        }
        let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
        let trusted = owner == 0 || owner == self.user;
        let closed = mode & 0o002 == 0 && (mode & GROUP_WRITES == 0 || mode & STICKY != 0);
        if trusted && closed {
            return Ok(());
        }
        let (path, group) = (root.path().display(), self.group.unwrap_or_else(|| meta.gid()));
        Err(io::Error::other(format!(
            "`{path}` belongs to user {owner} with mode {mode:04o}, and one user could replace another's records: \
             as root, `install -d -o root -g {group} -m {:04o} {path}`",
            self.mode
        )))
    }

    /// Gives a folder that is this user's what the config says; another's stays as it is.
    pub(super) fn settle(&self, folder: &Folder) -> io::Result<()> {
        if !self.is_set || folder.metadata()?.uid() != self.user {
            return Ok(());
        }
        self.set(folder, self.mode & !(GROUP_WRITES | STICKY))
    }

    fn set(&self, folder: &Folder, mode: u32) -> io::Result<()> {
        let meta = folder.metadata()?;
        if let Some(group) = self.group.filter(|group| *group != meta.gid()) {
            folder.set_group(group)?;
        }
        if folder.metadata()?.mode() & 0o7777 == mode { Ok(()) } else { folder.set_mode(mode) }
    }

    /// The permissions of a link's file, and its group.
    pub(super) fn of_files(&self) -> (u32, Option<u32>) {
        (0o600 | self.mode & 0o044, self.group)
    }
}
