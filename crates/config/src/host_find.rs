//! Finding the host config, and refusing one that others could have written.

use std::path::{Path, PathBuf};

use super::host::HostConfig;
use super::host_parse::parse_on;
use super::place::{self, Error};
use dataflow_host::files::{self, Untrusted};
use dataflow_host::trail::Trail;
use dataflow_host::{Host, env};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::Fingerprint;

/// Where root's is. It rules wherever it is.
pub const SYSTEM: &str = "/etc/buildkite-dataflow/config.yml";
/// The file's name beside the agent's own config file, where root has none.
pub const BESIDE_AGENT: &str = "buildkite-dataflow.yml";
/// The file's name beside the program of a rehearsal, which has a copy of its own.
pub const BESIDE_PROGRAM: &str = "rehearsed.yml";

/// A host config and where it came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What it says.
    pub config: HostConfig,
    /// The file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// Its digest, for the record.
    pub digest: Option<Fingerprint>,
    /// What this user, who is the job's in a hook, could change so that another config rules: the file, or a folder or
    /// link on the way to it.
    pub changeable: Option<PathBuf>,
}

impl Loaded {
    /// Which config rules, and whether the job's user could change that. One sentence.
    pub fn standing(&self) -> String {
        match (&self.file, &self.changeable) {
            (None, _) => format!("no host config is there: the embedded defaults rule; root's is `{SYSTEM}`"),
            (Some(file), None) => {
                format!("`{}` rules, and the job's user cannot change it", file.display())
            }
            (Some(file), Some(place)) => format!(
                "`{}` rules, and is advisory: it can be changed by the job's user, at `{}`",
                file.display(),
                place.display()
            ),
        }
    }
}

/// Why the host config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Others could have written it.
    #[error("the host config is not used")]
    Untrusted(#[source] Untrusted),
    /// Root's is there, and others could have written it, or it cannot be looked at.
    #[error("root's host config is not used, and no other is")]
    Root(#[source] Untrusted),
    /// There is none, and something beside its place looks like one.
    #[error("`{near}` is not read: the host config is `{right}`")]
    Near {
        /// What is there.
        near: PathBuf,
        /// Where it would be read.
        right: PathBuf,
    },
    /// It says something wrong.
    #[error(transparent)]
    Wrong(#[from] Error),
}

impl LoadError {
    /// The failure as a person is told it.
    pub fn failure(&self) -> Failure {
        let hint = match self {
            Self::Wrong(error) => return error.failure(),
            Self::Near { near, right } => {
                let hint = format!("`sudo mv {} {}`, or remove it", near.display(), right.display());
                return Failure::of(Ident::BadConfiguration, self).hinted(hint);
            }
            Self::Untrusted(why) => format!(
                "it must belong to root or to the agent's user, and be writable by nobody else{}",
                repair(why, "; ")
            ),
            Self::Root(why) => format!(
                "it, its folders and the links to it must belong to root, be writable by nobody else, and be readable by \
                 the agent's user{}",
                repair(why, ": ")
            ),
        };
        Failure::of(Ident::UntrustedConfiguration, self).hinted(hint)
    }
}

/// The command that mends it, where one does.
fn repair(why: &Untrusted, before: &str) -> String {
    match why {
        Untrusted::Owner { path, .. } => format!("{before}`sudo chown -h root {}`", path.display()),
        Untrusted::Writable { path, .. } => format!("{before}`sudo chmod go-w {}`", path.display()),
        // A name is looked up in its folder, and a file is opened itself.
        Untrusted::Io { path, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let folder = path.parent().unwrap_or(path);
            format!("{before}`sudo chmod go+rX {} {}`", folder.display(), path.display())
        }
        _ => String::new(),
    }
}

/// Finds and reads the host config: root's, [`SYSTEM`], wherever there is one; else the one beside the agent's own file.
/// Never through a variable that a job can set. A rehearsal on a host with a config of root's has its own beside its own
/// copy of this program.
pub fn load(host: &Host) -> Result<Loaded, LoadError> {
    let user = nix::unistd::geteuid().as_raw();
    if let Some(loaded) = beside_program(&host.program, user) {
        return loaded;
    }
    let beside = host.env.get(&env::CONFIG_PATH).map(Path::new).and_then(Path::parent);
    load_of(Path::new(SYSTEM), &[0], beside, user)
}

/// The config of a rehearsal. Whoever can write into this user's private folder could as well replace the program there.
fn beside_program(program: &Path, user: u32) -> Option<Result<Loaded, LoadError>> {
    let file = program.with_file_name(BESIDE_PROGRAM);
    // Most often it is not there, and the way to it is of no interest.
    let is_there = files::is_private_folder(program.parent()?, user) && files::length(&file).is_ok();
    is_there.then(|| read(&file, Trail::of(&file), &[user], user, LoadError::Untrusted))
}

/// The same for a root of `roots`, and for `user`.
fn load_of(system: &Path, roots: &[u32], beside: Option<&Path>, user: u32) -> Result<Loaded, LoadError> {
    let trail = Trail::of(system);
    // Where a folder on the way could have been changed, what is not there now may have been.
    if let Some(why) = trail.open_to_others(roots) {
        return Err(LoadError::Root(why));
    }
    if !trail.leads_nowhere() {
        return read(system, trail, roots, user, LoadError::Root);
    }
    // Of root's too: a config under another name was meant to rule.
    refuse_near(system, &["config", "buildkite-dataflow", "dataflow"])?;
    let Some(file) = beside.map(|folder| folder.join(BESIDE_AGENT)) else { return Ok(Loaded::default()) };
    let trail = Trail::of(&file);
    if trail.leads_nowhere() {
        refuse_near(&file, &["buildkite-dataflow"])?;
        return Ok(Loaded::default());
    }
    let owners = [0, user];
    // Folders further up are the agent's: what they allow is told.
    let folder = trail.stops.iter().position(|stop| file.parent() == Some(&stop.path));
    let mut near = trail.stops.iter().skip(folder.unwrap_or_default());
    if let Some(why) = near.find_map(|stop| stop.open_to_others(&owners)) {
        return Err(LoadError::Untrusted(why));
    }
    read(&file, trail, &owners, user, LoadError::Untrusted)
}

/// Refuses what lies beside the place of a config that is not there and is one by its name: one of `stems`, nearly, with
/// an ending of YAML or JSON; or the folder's own name with such an ending.
fn refuse_near(right: &Path, stems: &[&str]) -> Result<(), LoadError> {
    let is_near = |path: &PathBuf| {
        let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().to_lowercase());
        let ending =
            part(path.extension()).is_some_and(|end| ["yml", "yaml", "json"].contains(&end.as_str()));
        ending && part(path.file_stem()).is_some_and(|stem| is_like(&stem, stems)) && path != right
    };
    let Some(folder) = right.parent() else { return Ok(()) };
    let mut beside = files::list(folder).unwrap_or_default();
    beside.extend(["yml", "yaml"].map(|ending| folder.with_extension(ending)));
    match beside.into_iter().find(|path| is_near(path) && files::length(path).is_ok()) {
        Some(near) => Err(LoadError::Near { near, right: right.to_owned() }),
        None => Ok(()),
    }
}

/// Whether a name is one of `known`, but for a slip in a short one, and for `_` and `-`.
fn is_like(name: &str, known: &[&str]) -> bool {
    let name = name.replace('_', "-");
    known.iter().any(|known| strsim::damerau_levenshtein(&name, known) <= 1)
}

/// Reads what a trail leads to.
fn read(
    file: &Path,
    trail: Trail,
    owners: &[u32],
    user: u32,
    untrusted: fn(Untrusted) -> LoadError,
) -> Result<Loaded, LoadError> {
    let changeable = trail.changeable_by(user).map(Path::to_owned);
    if let Some(why) = trail.broken {
        return Err(untrusted(why));
    }
    let bytes = files::read_named(&trail.end, owners).map_err(untrusted)?;
    let digest = Some(Fingerprint::of(&bytes));
    let config = checked(&file.display().to_string(), &bytes)?;
    Ok(Loaded { config, file: Some(file.to_owned()), digest, changeable })
}

/// The config that the bytes of a file say, where the files that every request needs can be read.
fn checked(file: &str, bytes: &[u8]) -> Result<HostConfig, Error> {
    parse_on(file, place::text(file, bytes)?, &|config| match &config.network.ca_file {
        Some(path) => authorities(path).map_err(|problem| {
            let seen = path.display();
            let problem = format!("saw `{seen}`, expected a PEM file of certificates: {problem}");
            Error::at(file, "network.ca-file", problem)
        }),
        None => Ok(()),
    })
}

fn authorities(path: &Path) -> Result<(), String> {
    match files::read(path) {
        Ok(pem) if memchr::memmem::find(&pem, b"-----BEGIN ").is_some() => Ok(()),
        Ok(_) => Err("it has no certificate in PEM".to_owned()),
        Err(Untrusted::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err("there is no such file".to_owned())
        }
        Err(Untrusted::Io { source, .. }) => Err(source.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Mode;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct Places(#[expect(dead_code, reason = "kept until the test ends")] tempfile::TempDir, PathBuf);

    impl Places {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().canonicalize().unwrap();
            for name in ["etc", "agent"] {
                fs::create_dir(path.join(name)).unwrap();
                fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(folder, path)
        }

        fn write(&self, name: &str, mode: &str) {
            files::replace(&self.1.join(name), format!("mode: {mode}\n").as_bytes()).unwrap();
        }

        fn allow(&self, name: &str, mode: u32) {
            fs::set_permissions(self.1.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn load(&self) -> Result<Loaded, LoadError> {
            let me = nix::unistd::geteuid().as_raw();
            let system = self.1.join("etc/dataflow/config.yml");
            load_of(&system, &[0, me], Some(&self.1.join("agent")), me)
        }

        fn mode(&self) -> Mode {
            self.load().unwrap().config.mode
        }
    }

    #[test]
    fn a_file_of_authorities_that_cannot_be_read_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let text = format!("network:\n  ca-file: {}\n", path.display());
        let refused = |problem: &str| {
            let error = checked("config.yml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("config.yml:2:12: `network.ca-file`: saw `/"), "{error}");
            assert!(error.contains(problem), "{error}");
        };
        refused("there is no such file");
        std::fs::write(&path, "hello").unwrap();
        refused("no certificate");
        // Beside what else is wrong.
        let more = format!("{text}mode: enforc\n");
        assert_eq!(checked("config.yml", more.as_bytes()).unwrap_err().lines().len(), 2);
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert!(checked("config.yml", text.as_bytes()).is_ok());
    }

    #[test]
    fn the_file_beside_the_agents_own_is_read_and_refused_when_others_can_write_it() {
        let places = Places::new();
        places.write("agent/buildkite-dataflow.yml", "observe");
        assert_eq!(places.mode(), Mode::Observe);
        places.allow("agent/buildkite-dataflow.yml", 0o666);
        assert!(matches!(places.load(), Err(LoadError::Untrusted(Untrusted::Writable { .. }))));
        places.allow("agent/buildkite-dataflow.yml", 0o600);
        places.allow("agent", 0o777);
        assert!(matches!(places.load(), Err(LoadError::Untrusted(Untrusted::Writable { .. }))));
    }

    #[test]
    fn roots_config_rules_and_none_beside_the_agent_is_looked_at() {
        let places = Places::new();
        fs::create_dir(places.1.join("etc/dataflow")).unwrap();
        places.write("etc/dataflow/config.yml", "enforce");
        fs::write(places.1.join("agent/buildkite-dataflow.yml"), "no yaml: [").unwrap();
        assert_eq!(places.mode(), Mode::Enforce);
    }

    #[test]
    fn a_config_of_root_that_cannot_be_trusted_or_looked_at_lets_no_other_rule() {
        let trouble: [fn(&Places); 6] = [
            |places| places.allow("etc/dataflow/config.yml", 0o666),
            |places| places.allow("etc/dataflow", 0o777),
            |places| places.allow("etc", 0o775),
            |places| {
                places.allow("etc", 0o777);
                fs::remove_dir_all(places.1.join("etc/dataflow")).unwrap();
            },
            |places| {
                fs::remove_file(places.1.join("etc/dataflow/config.yml")).unwrap();
                symlink("gone.yml", places.1.join("etc/dataflow/config.yml")).unwrap();
            },
            |places| {
                fs::remove_dir_all(places.1.join("etc/dataflow")).unwrap();
                nix::unistd::mkfifo(&places.1.join("etc/dataflow"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ];
        for (case, make) in trouble.iter().enumerate() {
            let places = Places::new();
            fs::create_dir(places.1.join("etc/dataflow")).unwrap();
            places.write("etc/dataflow/config.yml", "enforce");
            places.write("agent/buildkite-dataflow.yml", "observe");
            make(&places);
            assert!(matches!(places.load(), Err(LoadError::Root(_))), "case {case}: {:?}", places.load());
        }
    }

    #[test]
    fn a_config_under_a_near_name_is_reported_and_not_passed_over() {
        for name in ["config.yaml", "Config.yml", "config.json", "buildkite-dataflow.yml", "confg.yml"] {
            let places = Places::new();
            fs::create_dir(places.1.join("etc/dataflow")).unwrap();
            places.write(&format!("etc/dataflow/{name}"), "enforce");
            places.write("agent/buildkite-dataflow.yml", "observe");
            let failure = places.load().unwrap_err().failure();
            assert!(failure.what.contains(name), "{failure:?}");
            assert!(failure.hint.unwrap().contains("sudo mv "));
        }
        for name in ["agent/buildkite-dataflow.yaml", "agent/buildkite_dataflow.yml"] {
            let places = Places::new();
            places.write(name, "observe");
            assert!(matches!(places.load(), Err(LoadError::Near { .. })), "{name}");
        }
        let places = Places::new();
        fs::create_dir(places.1.join("etc/dataflow")).unwrap();
        for name in ["config.yml.bak", "README.yml", "config.yml~", "trust.json"] {
            places.write(&format!("etc/dataflow/{name}"), "enforce");
        }
        places.write("agent/buildkite-agent.yml", "observe");
        assert_eq!(places.load().unwrap().file, None);
    }

    #[test]
    fn a_config_with_a_second_name_is_read() {
        let places = Places::new();
        fs::create_dir(places.1.join("etc/dataflow")).unwrap();
        places.write("etc/dataflow/config.yml", "observe");
        fs::hard_link(places.1.join("etc/dataflow/config.yml"), places.1.join("agent/a-copy")).unwrap();
        assert_eq!(places.mode(), Mode::Observe);
    }

    #[test]
    fn a_symlinked_config_is_read_through_links_of_root_alone() {
        let places = Places::new();
        fs::create_dir_all(places.1.join("etc/dataflow/..2024")).unwrap();
        places.write("etc/dataflow/..2024/config.yml", "observe");
        symlink("..2024", places.1.join("etc/dataflow/..data")).unwrap();
        symlink("..data/config.yml", places.1.join("etc/dataflow/config.yml")).unwrap();
        assert_eq!(places.mode(), Mode::Observe);
        places.allow("etc/dataflow/..2024", 0o777);
        assert!(matches!(places.load(), Err(LoadError::Root(Untrusted::Writable { .. }))));
    }

    #[test]
    fn a_config_beside_the_program_is_a_rehearsals_and_only_in_a_private_folder() {
        let places = Places::new();
        let me = nix::unistd::geteuid().as_raw();
        places.write("agent/rehearsed.yml", "observe");
        let program = places.1.join("agent/buildkite-dataflow");
        assert!(beside_program(&program, me).is_none(), "mode 0755 is a folder of programs");
        places.allow("agent", 0o700);
        assert!(beside_program(&program, me).is_some());
        assert!(beside_program(&program, me + 1).is_none());
    }

    #[test]
    fn what_can_be_changed_by_the_jobs_user_is_told_as_advisory() {
        let places = Places::new();
        places.write("agent/buildkite-dataflow.yml", "observe");
        let loaded = places.load().unwrap();
        assert!(loaded.standing().contains("can be changed by the job's user"), "{}", loaded.standing());
        let sealed = Loaded { changeable: None, ..loaded };
        assert!(sealed.standing().contains("cannot change it"), "{}", sealed.standing());
    }

    #[test]
    fn what_is_wrong_comes_with_the_command_that_mends_it() {
        let hint = |why| LoadError::Root(why).failure().hint.unwrap_or_default();
        let path = PathBuf::from("/etc/buildkite-dataflow");
        let owner = Untrusted::Owner { path: path.clone(), owner: 2000, expected: "0".into() };
        assert!(hint(owner).contains("`sudo chown -h root /etc/buildkite-dataflow`"));
        let writable = Untrusted::Writable { path: path.clone(), mode: 0o777 };
        assert!(hint(writable).contains("`sudo chmod go-w /etc/buildkite-dataflow`"));
        let source = std::io::ErrorKind::PermissionDenied.into();
        let closed = Untrusted::Io { path: path.join("config.yml"), source };
        assert!(
            hint(closed)
                .contains("`sudo chmod go+rX /etc/buildkite-dataflow /etc/buildkite-dataflow/config.yml`")
        );
    }
}
