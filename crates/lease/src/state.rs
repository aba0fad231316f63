//! Where leases are kept while jobs run: one folder a block of a job, below the host's state directory.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encryption::Key;
use super::journal::{self, Error, Journal};
use super::marker::{self, Foreign, is_block};
use dataflow_config::host::HostConfig;
use dataflow_host::files::Untrusted;
use dataflow_host::folder::{Folder, Is};
use dataflow_host::process;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::file_name::plain;

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
            Self::Foreign(Foreign::Marker { .. }) => {
                "a step of the agent's user may have put it there: remove it, and the next job makes the marker anew"
            }
            Self::Foreign(Foreign::Link { .. }) => {
                "name the folder itself in `state-directory` of the host config"
            }
            _ => {
                "`state-directory` in the host config must name a folder on a disk with room, of the agent's user and \
                 closed to others"
            }
        };
        Failure::of(Ident::StateUnusable, self).hinted(hint)
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

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
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

    /// The same, of these instances alone, whatever the job: what others left is not looked at.
    pub fn blocks_of(&self, instances: &[&str]) -> Vec<PathBuf> {
        let wanted: Vec<String> = instances.iter().map(|instance| plain(instance)).collect();
        self.named(|_, instance| wanted.iter().any(|wanted| wanted == instance))
    }

    /// The same, of one job alone.
    pub fn blocks_of_job(&self, job: &str) -> Vec<PathBuf> {
        let wanted = plain(job);
        self.named(|job, _| job == wanted)
    }

    fn named(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<PathBuf> {
        let is_wanted = |folder: &PathBuf| {
            let mut parts = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().split('.');
            matches!((parts.next(), parts.next()), (Some(job), Some(instance)) if wanted(job, instance))
        };
        self.blocks().into_iter().filter(is_wanted).collect()
    }

    /// Removes the folder of a block that holds no journal, and what stands in the place of one; whether it did. Where
    /// anything else lies in it, or where an empty one has another name than ours have, it stays.
    pub fn remove(&self, folder: &Path) -> io::Result<bool> {
        let (jobs, name) = (self.jobs()?, folder.file_name().unwrap_or_default());
        let names = jobs.below(name)?.names()?;
        let is_ours = !names.is_empty() || name.to_str().is_some_and(is_block);
        if !is_ours || names.iter().any(|name| name != journal::NAME) {
            return Ok(false);
        }
        Key::forget(folder);
        jobs.remove(name).map(|()| true)
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_is_removed_held_nothing_but_what_stood_in_the_place_of_a_journal() {
        let names = ["empty.x", "unwritten.x", "junk", "deep.x/journal/a", "nightly", "other.x/theirs"];
        let (folder, state) = state(&names);
        let path = |name: &str| folder.path().join("jobs").join(name);
        std::fs::write(path("unwritten.x/journal"), "").unwrap();
        std::fs::create_dir_all(path("junk")).unwrap();
        std::fs::write(path("junk/journal"), "junk").unwrap();
        std::fs::write(path("other.x/journal"), "junk").unwrap();
        let removed = state.blocks().iter().filter(|folder| state.remove(folder).unwrap()).count();
        assert_eq!((removed, state.blocks()), (4, vec![path("nightly"), path("other.x")]));
    }

    #[test]
    fn what_is_swapped_in_for_a_state_directory_is_neither_listed_nor_tidied() {
        let (folder, state) = state(&["a.x"]);
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(other.path().join("jobs/a.x")).unwrap();
        std::os::unix::fs::symlink(other.path().join("jobs/a.x"), folder.path().join("jobs/link.x")).unwrap();
        let moved = folder.path().with_extension("moved");
        std::fs::rename(folder.path(), &moved).unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path()).unwrap();
        assert_eq!(state.blocks(), [folder.path().join("jobs/a.x")]);
        assert!(state.remove(&folder.path().join("jobs/a.x")).unwrap());
        assert!(state.remove(&folder.path().join("jobs/link.x")).is_err());
        assert!(other.path().join("jobs/a.x").exists() && !moved.join("jobs/a.x").exists());
        std::fs::remove_file(folder.path()).unwrap();
        std::fs::rename(&moved, folder.path()).unwrap();
    }

    #[test]
    fn a_hook_looks_at_blocks_of_its_own_kind_alone() {
        let (folder, state) = state(&["job-1.abc", "job-1.def", "job-2.abc.c1.3", "junk", "x.y"]);
        let path = |name: &str| folder.path().join("jobs").join(name);
        assert_eq!(state.blocks_of(&["abc", "z"]), [path("job-1.abc"), path("job-2.abc.c1.3")]);
        assert_eq!(state.blocks_of_job("job-1"), [path("job-1.abc"), path("job-1.def")]);
    }
}
