//! Memory-backed storage.

use std::path::PathBuf;

/// A folder of this user in storage that does not outlive the system: `None` where there is none.
pub fn folder() -> Option<PathBuf> {
    let folder = place()?;
    match super::files::private_folder(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            tracing::warn!(%error, "memory-backed storage is not used");
            None
        }
    }
}

/// Where that folder is, made or not.
pub fn place() -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::statfs::{TMPFS_MAGIC, statfs};
        let shared = std::path::Path::new("/dev/shm");
        statfs(shared).ok().filter(|system| system.filesystem_type() == TMPFS_MAGIC)?;
        Some(shared.join(format!("buildkite-dataflow-{}", nix::unistd::geteuid())))
    }
    #[cfg(not(target_os = "linux"))]
    None
}
