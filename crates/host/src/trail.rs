//! The way to a file, name by name and link by link: who could change what is read there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::files::Untrusted;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A folder, a link or a file on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Where it stands, with no link before it.
    pub path: PathBuf,
    owner: u32,
    mode: u32,
    kind: Kind,
    /// Nobody writes there through this mount: a `ConfigMap` has mode 0777.
    read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    Link,
    Other,
}

/// Every stop on the way to a file.
#[derive(Debug, Default)]
pub struct Trail {
    /// From `/` on.
    pub stops: Vec<Stop>,
    /// The file, with no link before it.
    pub end: PathBuf,
    /// Why the way went no further.
    pub broken: Option<Untrusted>,
}

impl Trail {
    /// Follows an absolute path. What was looked at stays as it was where nobody else can change it.
    pub fn of(path: &Path) -> Self {
        let mut trail = Self { end: PathBuf::from("/"), ..Self::default() };
        let mut names = names(path);
        let mut links = 0;
        if let Err(source) = trail.stop("/".into()) {
            trail.broken = Some(Untrusted::Io { path: "/".into(), source });
            return trail;
        }
        while let Some(name) = names.pop_front() {
            if name == ".." {
                trail.end.pop();
                continue;
            }
            let here = trail.end.join(&name);
            match trail.stop(here.clone()) {
                Ok(None) => trail.end = here,
                Ok(Some(target)) => {
                    links += 1;
                    if target.is_absolute() {
                        trail.end = PathBuf::from("/");
                    }
                    let mut first = self::names(&target);
                    first.append(&mut names);
                    names = first;
                }
                Err(source) => {
                    trail.broken = Some(Untrusted::Io { path: here, source });
                    return trail;
                }
            }
            if links > MAX_LINKS {
                let source = io::Error::other("too many links");
                trail.broken = Some(Untrusted::Io { path: here_of(&trail), source });
                return trail;
            }
        }
        trail
    }

    /// Notes what stands there, and where it leads if it is a link.
    fn stop(&mut self, path: PathBuf) -> io::Result<Option<PathBuf>> {
        let meta = fs::symlink_metadata(&path)?;
        let kind = match meta.file_type() {
            kind if kind.is_symlink() => Kind::Link,
            kind if kind.is_dir() => Kind::Folder,
            _ => Kind::Other,
        };
        let target = if kind == Kind::Link { Some(fs::read_link(&path)?) } else { None };
        let open = kind != Kind::Link && meta.mode() & 0o022 != 0;
        let read_only = open && statvfs(&path).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY));
        self.stops.push(Stop { path, owner: meta.uid(), mode: meta.mode() & 0o7777, kind, read_only });
        Ok(target)
    }

    /// Whether nothing stands where the path leads, and no link says that something should.
    pub fn leads_nowhere(&self) -> bool {
        let missing = matches!(&self.broken, Some(Untrusted::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound);
        missing && self.stops.iter().all(|stop| stop.kind != Kind::Link)
    }

    /// The first stop that somebody else than `owners` could change.
    pub fn open_to_others(&self, owners: &[u32]) -> Option<Untrusted> {
        self.stops.iter().find_map(|stop| stop.open_to_others(owners))
    }

    /// The first stop that a user could change; root can change them all.
    pub fn changeable_by(&self, user: u32) -> Option<&Path> {
        let mut stops = self.stops.iter();
        if user == 0 {
            return self.stops.last().map(|stop| stop.path.as_path());
        }
        let open = |stop: &&Stop| stop.owner == user || stop.is_open();
        stops.find(open).map(|stop| stop.path.as_path())
    }
}

impl Stop {
    /// Its group or everybody can change it. A sticky folder (/tmp) lets them add names, and not change ours.
    fn is_open(&self) -> bool {
        let sticky = self.kind == Kind::Folder && self.mode & 0o1000 != 0;
        self.kind != Kind::Link && self.mode & 0o022 != 0 && !sticky && !self.read_only
    }

    /// Why somebody else than `owners` could change it.
    pub fn open_to_others(&self, owners: &[u32]) -> Option<Untrusted> {
        let path = self.path.clone();
        if !owners.contains(&self.owner) {
            let expected = owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return Some(Untrusted::Owner { path, owner: self.owner, expected });
        }
        self.is_open().then_some(Untrusted::Writable { path, mode: self.mode })
    }
}

fn here_of(trail: &Trail) -> PathBuf {
    trail.stops.last().map_or_else(|| trail.end.clone(), |stop| stop.path.clone())
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_config_map_is_followed_link_by_link() {
        let (_guard, folder) = folder();
        fs::create_dir(folder.join("..2024")).unwrap();
        super::super::files::replace(&folder.join("..2024/config.yml"), b"x").unwrap();
        symlink("..2024", folder.join("..data")).unwrap();
        symlink("..data/config.yml", folder.join("config.yml")).unwrap();
        let trail = Trail::of(&folder.join("config.yml"));
        assert!(trail.broken.is_none());
        assert_eq!(trail.end, folder.join("..2024/config.yml"));
        let met: Vec<_> = trail.stops.iter().map(|stop| stop.path.clone()).collect();
        for name in ["config.yml", "..data", "..2024", "..2024/config.yml"] {
            assert!(met.contains(&folder.join(name)), "{name}");
        }
        assert!(trail.open_to_others(&[0, me()]).is_none());
    }

    #[test]
    fn a_folder_on_the_way_that_others_can_write_is_found_behind_a_link_too() {
        let (_guard, folder) = folder();
        fs::create_dir(folder.join("open")).unwrap();
        super::super::files::replace(&folder.join("open/config.yml"), b"x").unwrap();
        fs::set_permissions(folder.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        symlink("open/config.yml", folder.join("config.yml")).unwrap();
        let trail = Trail::of(&folder.join("config.yml"));
        let found = trail.open_to_others(&[0, me()]);
        assert!(
            matches!(found, Some(Untrusted::Writable { ref path, .. }) if *path == folder.join("open")),
            "{found:?}"
        );
        assert_eq!(trail.changeable_by(me() + 1), Some(folder.join("open").as_path()));
    }

    #[test]
    fn a_way_that_ends_nowhere_is_told_from_a_link_that_does() {
        let (_guard, folder) = folder();
        assert!(Trail::of(&folder.join("none/config.yml")).leads_nowhere());
        symlink("none", folder.join("link")).unwrap();
        assert!(!Trail::of(&folder.join("link")).leads_nowhere());
        symlink("loop", folder.join("loop")).unwrap();
        let trail = Trail::of(&folder.join("loop"));
        assert!(trail.broken.is_some() && !trail.leads_nowhere());
    }

    #[test]
    fn a_user_changes_what_belongs_to_it() {
        let (_guard, folder) = folder();
        assert!(Trail::of(&folder).changeable_by(me()).is_some());
    }
}
