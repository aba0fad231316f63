//! Where leases are kept while jobs run: one folder a block of a job, below the host's state directory.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::journal::{self, Error, Journal};
use super::marker::{self, Foreign, is_block};
use super::rest::Key;
use crate::config::host::HostConfig;
use crate::failure::{Class, Failure};
use crate::host::files::Untrusted;
use crate::host::folder::{Folder, Is, Named};
use crate::host::process;

/// The folder in the agent user's home that is used without a host config.
const DEFAULT: &str = ".buildkite-dataflow";

/// The state directory, held open: what is listed and tidied in it is in the folder that was checked.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
    held: Arc<Folder>,
}

/// Why there is no state directory.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The agent's user has no home.
    #[error("there is no state directory")]
    NoHome(#[source] std::io::Error),
    /// It is not ours, or cannot be made.
    #[error("the state directory cannot be used")]
    Foreign(#[source] Foreign),
    /// The journal in it cannot be written.
    #[error("leases cannot be written down")]
    Journal(#[source] Error),
}

impl Unusable {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let hint = match self {
            Self::Foreign(Foreign::Others { .. }) => {
                "name a folder of its own in `state-directory` of the host config: one that is empty, or not there yet"
            }
            Self::Foreign(Foreign::Link { .. }) => {
                "name the folder itself in `state-directory` of the host config"
            }
            _ => {
                "`state-directory` in the host config must name a folder on a disk with room, of the agent's user and \
                 closed to others"
            }
        };
        Failure::of("state-unusable", Class::Configuration, self).hinted(hint)
    }
}

impl State {
    /// The host's state directory, made where it is not there yet.
    pub fn of(config: &HostConfig) -> Result<Self, Unusable> {
        let root = place(config)?;
        let held = marker::open_or_make(&root).map_err(Unusable::Foreign)?;
        let me = [nix::unistd::geteuid().as_raw()];
        for name in ["jobs", "cache"] {
            let io = |source| Untrusted::Io { path: root.join(name), source };
            let made = held.make(name, 0o700).map_err(io).and_then(|(folder, _)| folder.check(&me));
            made.map_err(|error| Unusable::Foreign(error.into()))?;
        }
        Ok(Self { root, held: Arc::new(held) })
    }

    /// The same, where there is one: a sweep makes none.
    pub fn standing(config: &HostConfig) -> Result<Option<Self>, Unusable> {
        let root = place(config)?;
        let held = marker::open(&root).map_err(Unusable::Foreign)?;
        if held.is_some() { Self::of(config).map(Some) } else { Ok(None) }
    }

    /// Where what can be fetched again is remembered.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where records go without a sink in the host config.
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// A folder for one block of one job, not there yet: an earlier run of the same job may have left
    /// one that nobody could settle.
    pub fn block(&self, job: &str, instance: &str, container: Option<&str>) -> PathBuf {
        let parts = [Some(job), Some(instance), container];
        let name: Vec<String> = parts.into_iter().flatten().map(plain).collect();
        let folder = |number: u32| match number {
            0 => self.root.join("jobs").join(name.join(".")),
            _ => self.root.join("jobs").join(format!("{}.{number}", name.join("."))),
        };
        (0..100).map(folder).find(|folder| !folder.exists()).unwrap_or_else(|| folder(100))
    }

    /// The private folder of the block that has this folder: the files of its credentials. It is in the state
    /// directory in which the block is, whatever the host config says by now.
    pub fn files(block: &Path) -> PathBuf {
        let root = block.parent().and_then(Path::parent).unwrap_or(block);
        root.join("files").join(block.file_name().unwrap_or_default())
    }

    /// The folders of all blocks that are not closed. What is no folder in their place is none of ours.
    pub fn blocks(&self) -> Vec<PathBuf> {
        let listed = self.jobs().and_then(|jobs| {
            let is_folder =
                |name: &OsString| matches!(jobs.named(name), Ok(Some(named)) if named.is == Is::Folder);
            Ok(jobs
                .names()?
                .into_iter()
                .filter(is_folder)
                .map(|name| self.root.join("jobs").join(name))
                .collect())
        });
        listed.unwrap_or_else(|error| {
            tracing::warn!(%error, "the state directory cannot be listed");
            Vec::new()
        })
    }

    fn jobs(&self) -> io::Result<Folder> {
        self.held.below("jobs")
    }

    /// Removes folders without a journal that were left before `before` by a process that ended between
    /// two acts. An empty journal counts as none: its first line is durable before anything is asked. A folder in which
    /// anything else lies, or that has another name than ours have, stays.
    pub fn remove_husks(&self, before: DateTime<Utc>) {
        let husks = self.jobs().and_then(|jobs| {
            for name in jobs.names()?.iter().filter_map(|name| name.to_str()).filter(|name| is_block(name)) {
                if jobs.named(name)?.is_some_and(|named| is_old(named, before)) {
                    self.remove_husk(&jobs, name).unwrap_or_else(|error| {
                        tracing::warn!(name, %error, "an empty folder stays");
                    });
                }
            }
            Ok(())
        });
        husks.unwrap_or_else(|error: io::Error| tracing::warn!(%error, "empty folders stay"));
    }

    fn remove_husk(&self, jobs: &Folder, name: &str) -> io::Result<()> {
        let husk = jobs.below(name)?;
        let names = husk.names()?;
        for name in &names {
            let is_void = matches!(husk.named(name)?, Some(file) if file.is == Is::File && file.length == 0);
            if !(name == journal::NAME && is_void) {
                return Ok(());
            }
        }
        Key::forget(&self.root.join("jobs").join(name));
        names.iter().try_for_each(|name| husk.remove_one(name, Is::File))?;
        jobs.remove_one(name, Is::Folder)
    }

    /// Opens a journal that may be another process's at the moment or damaged: then it is left alone.
    pub fn open(&self, folder: &Path) -> Option<Journal> {
        match Journal::open(folder) {
            Ok(journal) => Some(journal),
            Err(Error::Busy { .. }) => None,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "a journal is left alone");
                None
            }
        }
    }
}

fn place(config: &HostConfig) -> Result<PathBuf, Unusable> {
    match &config.state_directory {
        Some(folder) => Ok(folder.clone()),
        None => Ok(process::user().map_err(Unusable::NoHome)?.home.join(DEFAULT)),
    }
}

fn is_old(named: Named, before: DateTime<Utc>) -> bool {
    let ours = named.owner == nix::unistd::geteuid().as_raw();
    ours && named.is == Is::Folder && named.written.is_some_and(|at| at < before)
}

/// A text as one name in a folder: what could leave the folder or hide in it is replaced.
pub fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_=".contains(c) { c } else { '_' };
    let name: String = text.chars().map(safe).take(80).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_the_folder() {
        for text in ["..", "../../etc", "a/b", "", "a\0b", ".hidden"] {
            let name = plain(text);
            assert!(!name.contains('/') && !name.contains('.') && !name.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_state_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        std::fs::create_dir(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        let config = HostConfig { state_directory: Some(root), ..HostConfig::default() };
        assert!(matches!(
            State::of(&config),
            Err(Unusable::Foreign(Foreign::Untrusted(Untrusted::Writable { .. })))
        ));
    }

    fn state(names: &[&str]) -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let config = HostConfig { state_directory: Some(folder.path().into()), ..HostConfig::default() };
        let state = State::of(&config).unwrap();
        for name in names {
            std::fs::create_dir_all(folder.path().join("jobs").join(name)).unwrap();
        }
        (folder, state)
    }

    fn soon() -> DateTime<Utc> {
        Utc::now() + chrono::TimeDelta::days(1)
    }

    #[test]
    fn only_old_folders_in_which_nothing_was_written_are_removed() {
        let (folder, state) = state(&["empty.x", "unwritten.x", "begun.x", "nightly", "other.x/theirs"]);
        std::fs::write(folder.path().join("jobs/unwritten.x/journal"), "").unwrap();
        std::fs::write(folder.path().join("jobs/begun.x/journal"), "damaged").unwrap();
        state.remove_husks(Utc::now() - chrono::TimeDelta::days(1));
        assert_eq!(state.blocks().len(), 5);
        state.remove_husks(soon());
        let left = ["begun.x", "nightly", "other.x"].map(|name| folder.path().join("jobs").join(name));
        assert_eq!(state.blocks(), left);
    }

    #[test]
    fn what_is_swapped_in_for_a_state_directory_is_neither_listed_nor_tidied() {
        let (folder, state) = state(&["a.x"]);
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(other.path().join("jobs/theirs.x")).unwrap();
        std::os::unix::fs::symlink(other.path().join("jobs/theirs.x"), folder.path().join("jobs/link.x"))
            .unwrap();
        let moved = folder.path().with_extension("moved");
        std::fs::rename(folder.path(), &moved).unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path()).unwrap();
        assert_eq!(state.blocks(), [folder.path().join("jobs/a.x")]);
        state.remove_husks(soon());
        assert!(other.path().join("jobs/theirs.x").exists() && !moved.join("jobs/a.x").exists());
        std::fs::remove_file(folder.path()).unwrap();
        std::fs::rename(&moved, folder.path()).unwrap();
    }
}
