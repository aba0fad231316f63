//! Where leases are kept while jobs run: one folder a block of a job, below the host's state directory.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::journal::{Error, Journal};
use super::rest::Key;
use crate::config::host::HostConfig;
use crate::failure::{Class, Failure};
use crate::host::files::{self, Untrusted};
use crate::host::process;

/// The folder in the agent user's home that is used without a host config.
const DEFAULT: &str = ".buildkite-dataflow";

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    root: PathBuf,
}

/// Why there is no state directory.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The agent's user has no home.
    #[error("there is no state directory")]
    NoHome(#[source] std::io::Error),
    /// It is not ours, or cannot be made.
    #[error("the state directory cannot be used")]
    Untrusted(#[source] Untrusted),
    /// The journal in it cannot be written.
    #[error("leases cannot be written down")]
    Journal(#[source] Error),
}

impl Unusable {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        Failure::of("state-unusable", Class::Configuration, self).hinted(
            "`state-directory` in the host config must name a folder on a disk with room, of the agent's user and \
             closed to others",
        )
    }
}

impl State {
    /// The host's state directory, made where it is not there yet.
    pub fn of(config: &HostConfig) -> Result<Self, Unusable> {
        let root = match &config.state_directory {
            Some(folder) => folder.clone(),
            None => process::user().map_err(Unusable::NoHome)?.home.join(DEFAULT),
        };
        files::private_folder(&root.join("jobs")).map_err(Unusable::Untrusted)?;
        files::private_folder(&root.join("cache")).map_err(Unusable::Untrusted)?;
        files::check_folder(&root, &[nix::unistd::geteuid().as_raw()]).map_err(Unusable::Untrusted)?;
        Ok(Self { root })
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

    /// The folders of all blocks that are not closed.
    pub fn blocks(&self) -> Vec<PathBuf> {
        let listed = files::list(&self.root.join("jobs"));
        listed.unwrap_or_else(|error| {
            tracing::warn!(%error, "the state directory cannot be listed");
            Vec::new()
        })
    }

    /// Removes folders without a journal that were left before `before` by a process that ended between
    /// two acts. An empty journal counts as none: its first line is durable before anything is asked.
    pub fn remove_husks(&self, before: DateTime<Utc>) {
        for folder in self.blocks() {
            let old = files::rearranged(&folder).is_some_and(|at| at < before);
            if old && Journal::is_void(&folder) {
                Key::forget(&folder);
                files::remove(&folder).unwrap_or_else(|error| {
                    tracing::warn!(folder = %folder.display(), %error, "an empty folder stays");
                });
            }
        }
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
        assert!(matches!(State::of(&config), Err(Unusable::Untrusted(Untrusted::Writable { .. }))));
    }

    #[test]
    fn only_old_folders_in_which_nothing_was_written_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let state = State { root: folder.path().to_owned() };
        for name in ["empty", "unwritten", "begun"] {
            std::fs::create_dir_all(folder.path().join("jobs").join(name)).unwrap();
        }
        std::fs::write(folder.path().join("jobs/unwritten/journal"), "").unwrap();
        std::fs::write(folder.path().join("jobs/begun/journal"), "damaged").unwrap();
        state.remove_husks(Utc::now() - chrono::TimeDelta::days(1));
        assert_eq!(state.blocks().len(), 3);
        state.remove_husks(Utc::now() + chrono::TimeDelta::days(1));
        assert_eq!(state.blocks(), [folder.path().join("jobs/begun")]);
    }
}
