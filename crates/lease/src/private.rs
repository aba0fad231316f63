//! The door for folders of secrets: the files of a block's credentials. They are in memory-backed storage, where this
//! user has some, else beside the journal; each says whose it is, for its journal may be gone before it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::encryption;
use super::entry::Opened;
use super::state::State;
use dataflow_host::{files, head, memory};

/// How the name of a folder ends in memory-backed storage.
const ENDING: &str = "files";
/// More than the longest first line of a journal and the place of one, in bytes.
const OWNER: u64 = 32 << 10;

/// Whose the files are, written beside them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Owner {
    /// The folder of the block's journal.
    pub journal: PathBuf,
    /// The journal's first line.
    pub opened: Opened,
}

impl Owner {
    /// The name of its file, which no file of a credential has.
    pub const FILE: &str = ".owner";

    fn of(folder: &Path) -> Option<Self> {
        let me = [nix::unistd::geteuid().as_raw()];
        let head = head::read(&folder.join(Self::FILE), &me, OWNER).ok()?;
        serde_json::from_slice(&head.bytes).ok()
    }
}

/// A folder of files that was found.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub folder: PathBuf,
    /// The folder of its block's journal, where that is known.
    pub journal: Option<PathBuf>,
    is_beside: bool,
}

impl Found {
    /// Whose it says it is; `None` where that is not what it is called by.
    pub fn owner(&self) -> Option<Owner> {
        let is_its = |owner: &Owner| self.folder.file_name() == Some(in_memory(&owner.journal).as_ref());
        Owner::of(&self.folder).filter(|owner| self.is_beside || is_its(owner))
    }
}

fn in_memory(block: &Path) -> String {
    format!("{}.{ENDING}", encryption::name(block))
}

/// In the state directory in which the block is, whatever the host config says by now.
fn on_disk(block: &Path) -> PathBuf {
    let root = block.parent().and_then(Path::parent).unwrap_or(block);
    root.join("files").join(block.file_name().unwrap_or_default())
}

/// Where the files of a block go that begins; nothing is made yet.
pub fn new(block: &Path) -> PathBuf {
    memory::folder().map_or_else(|| on_disk(block), |folder| folder.join(in_memory(block)))
}

/// Makes such a folder, for this user alone.
pub fn make(folder: &Path) -> io::Result<()> {
    files::private_folder(folder).map_err(io::Error::other)
}

/// Where the files of a block are.
pub fn of(block: &Path) -> PathBuf {
    memory::find(&in_memory(block)).unwrap_or_else(|| on_disk(block))
}

/// Whether what lies there is on no disk.
pub fn is_in_memory(folder: &Path) -> bool {
    memory::holds(folder)
}

/// Removes the files of a block, wherever they are; the first trouble, after all was tried.
pub fn remove(block: &Path) -> io::Result<()> {
    let memory = memory::find(&in_memory(block)).map_or(Ok(()), |folder| files::remove(&folder));
    memory.and(files::remove(&on_disk(block)))
}

/// The folders of files of this user: in this state directory, and in memory of any. At most so many names are read in
/// each place.
pub fn all(state: &State, most: usize) -> Vec<Found> {
    let beside = files::list_at_most(&state.root().join("files"), most).unwrap_or_default();
    let beside = beside.into_iter().map(|folder| {
        let journal = state.root().join("jobs").join(folder.file_name().unwrap_or_default());
        Found { folder, journal: Some(journal), is_beside: true }
    });
    let is_folder = |path: &PathBuf| path.extension().is_some_and(|ending| ending == ENDING);
    let inside = memory::list(most).into_iter().filter(is_folder);
    beside.chain(inside.map(|folder| Found { folder, journal: None, is_beside: false })).collect()
}
