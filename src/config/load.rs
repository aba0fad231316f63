//! Finding the host config, and refusing one that others could have written.

use std::path::{Path, PathBuf};

use super::host::{HostConfig, parse};
use super::place::Error;
use crate::failure::{Class, Failure};
use crate::host::files::{self, Untrusted};
use crate::host::{Env, env};
use crate::secret::Fingerprint;

/// The file's name beside the agent's own config file.
pub const BESIDE_AGENT: &str = "buildkite-dataflow.yml";
/// Where it is looked for otherwise.
pub const SYSTEM: &str = "/etc/buildkite-dataflow/config.yml";

/// A host config and where it came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What it says.
    pub config: HostConfig,
    /// The file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// Its digest, for the record.
    pub digest: Option<Fingerprint>,
}

/// Why the host config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Others could have written it.
    #[error("the host config is not used")]
    Untrusted(#[source] Untrusted),
    /// It says something wrong.
    #[error(transparent)]
    Wrong(#[from] Error),
}

impl LoadError {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Wrong(error) => error.failure(),
            Self::Untrusted(_) => Failure::of("untrusted-configuration", Class::Configuration, self)
                .hinted("it must belong to root or to the agent's user, and be writable by nobody else"),
        }
    }
}

/// Finds and reads the host config: beside the agent's own file, whose place the agent protects, or
/// [`SYSTEM`]; never through a variable that a job can set.
pub fn load(env: &Env) -> Result<Loaded, LoadError> {
    let beside = env.get(&env::CONFIG_PATH).map(Path::new).and_then(Path::parent);
    let candidates =
        beside.map(|folder| folder.join(BESIDE_AGENT)).into_iter().chain([PathBuf::from(SYSTEM)]);
    for file in candidates {
        let owners = [0, nix::unistd::geteuid().as_raw()];
        match files::read_trusted(&file, &owners) {
            Err(Untrusted::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(LoadError::Untrusted(error)),
            Ok(bytes) => {
                let folder = file.parent().unwrap_or_else(|| Path::new("/"));
                files::check_folder(folder, &owners).map_err(LoadError::Untrusted)?;
                let digest = Some(Fingerprint::of(&bytes));
                let config = parse(&file.display().to_string(), &String::from_utf8_lossy(&bytes))?;
                return Ok(Loaded { config, file: Some(file), digest });
            }
        }
    }
    Ok(Loaded::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::host::Mode;

    #[test]
    fn the_file_beside_the_agents_own_is_read_and_refused_when_others_can_write_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(BESIDE_AGENT);
        files::replace(&file, b"mode: observe\n").unwrap();
        let agent = folder.path().join("buildkite-agent.cfg");
        let env = Env::of([("BUILDKITE_CONFIG_PATH", agent.to_str().unwrap())]);
        assert_eq!(load(&env).unwrap().config.mode, Mode::Observe);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(load(&env), Err(LoadError::Untrusted(Untrusted::Writable { .. }))));
    }
}
