//! Removing what a folder of records has kept for long enough: whole records, known by their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::host::files;
use crate::record;

/// The folders between the records' own and a link, by how their names begin.
const LEVELS: [&str; 5] = ["v=", "org=", "date=", "pipeline=", "build="];

/// How the names of files begin that were left half written.
const HALF: &str = ".writing-";

/// One look through a folder of records.
#[derive(Debug)]
pub struct Pass<'a> {
    /// What was written last before this is removed.
    pub before: DateTime<Utc>,
    /// How many links may still be removed.
    pub left: usize,
    /// The folders of journals that are not closed: what their chains tell is not complete.
    pub open: &'a [String],
    /// How many links were removed.
    pub removed: usize,
    /// The first trouble; whatever else can be removed is removed all the same.
    pub trouble: Option<String>,
}

impl Pass<'_> {
    /// Removes old records below `folder`. Links, folders and files with other names are left alone.
    pub fn run(&mut self, folder: &Path) {
        self.level(folder, &LEVELS);
    }

    fn level(&mut self, folder: &Path, levels: &[&str]) {
        let Some((prefix, deeper)) = levels.split_first() else { return self.links(folder) };
        for entry in self.list(folder) {
            let Some(rest) = name(&entry).and_then(|name| name.strip_prefix(prefix)) else { continue };
            if self.left == 0 || files::rearranged(&entry).is_none() || self.is_young(prefix, rest) {
                continue;
            }
            self.level(&entry, deeper);
            // Those above a day are everybody's: a link may be on its way into one.
            if !["v=", "org="].contains(prefix) {
                files::remove_empty(&entry);
            }
        }
    }

    /// A folder of a day holds nothing that was written before it: most are passed over unread.
    fn is_young(&self, prefix: &str, rest: &str) -> bool {
        prefix == "date=" && rest > self.before.format("%Y-%m-%d").to_string().as_str()
    }

    /// A chain goes as a whole, when its last link is old enough: what is left of one proves nothing.
    fn links(&mut self, folder: &Path) {
        let mut chains: BTreeMap<String, Vec<(PathBuf, DateTime<Utc>)>> = BTreeMap::new();
        for entry in self.list(folder) {
            let (Some(name), Some(written)) = (name(&entry), files::written(&entry)) else { continue };
            let chain = if name.starts_with(HALF) { Some(name) } else { record::chain(name) };
            if let Some(chain) = chain.map(str::to_owned) {
                chains.entry(chain).or_default().push((entry, written));
            }
        }
        for (chain, links) in chains {
            let old = links.iter().all(|(_, written)| *written < self.before);
            if old && self.left > 0 && !self.is_open(&chain) {
                for (path, _) in &links {
                    self.remove(path);
                }
            }
        }
    }

    fn is_open(&self, chain: &str) -> bool {
        let of_chain = |folder: &String| match folder.strip_prefix(chain) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        };
        self.open.iter().any(of_chain)
    }

    fn remove(&mut self, path: &Path) {
        self.left = self.left.saturating_sub(1);
        match files::remove(path) {
            Ok(()) => self.removed += 1,
            Err(error) => self.complain(path, &error),
        }
    }

    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        files::list(folder).unwrap_or_else(|error| {
            self.complain(folder, &error);
            Vec::new()
        })
    }

    fn complain(&mut self, path: &Path, error: &std::io::Error) {
        self.trouble.get_or_insert_with(|| format!("`{}`: {error}", path.display()));
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const BUILD: &str = "v=1/org=acme/date=2026-01-02/pipeline=web/build=7";

    /// A file that was written some days before now.
    fn write(folder: &Path, name: &str, days: u64) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(24 * days)).unwrap();
    }

    /// What is left after a pass for 30 days.
    fn left(folder: &Path, open: &[&str], most: usize) -> Vec<String> {
        let open: Vec<String> = open.iter().map(|&name| name.to_owned()).collect();
        let before = Utc::now() - chrono::TimeDelta::days(30);
        let mut pass = Pass { before, left: most, open: &open, removed: 0, trouble: None };
        pass.run(folder);
        assert_eq!(pass.trouble, None);
        let files = files::list_deep(folder).unwrap();
        files.iter().map(|path| path.strip_prefix(folder).unwrap().display().to_string()).collect()
    }

    #[test]
    fn old_records_go_with_their_folders_and_young_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &format!("{BUILD}/job-a.x.0-start.json"), 31);
        write(folder.path(), &format!("{BUILD}/.writing-abc"), 31);
        let young = BUILD.replace("web", "other") + "/job-b.x.0-start.json";
        write(folder.path(), &young, 29);
        assert_eq!(left(folder.path(), &[], 99), [young]);
        assert!(!folder.path().join(BUILD).parent().unwrap().exists());
    }

    #[test]
    fn a_chain_goes_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let links = ["job-a.x.0-start.json", "job-a.x.1-end.json"].map(|name| format!("{BUILD}/{name}"));
        write(folder.path(), &links[0], 40);
        write(folder.path(), &links[1], 20);
        assert_eq!(left(folder.path(), &[], 99), links);
        write(folder.path(), &links[1], 31);
        assert_eq!(left(folder.path(), &["a.x"], 99), links);
        assert_eq!(left(folder.path(), &["a.x.1"], 99), links);
        assert_eq!(left(folder.path(), &["a.xy", "b.x"], 99), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_link_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let others = [
            format!("{BUILD}/job-a.x.0-start.json.gz"),
            format!("{BUILD}/deeper/job-a.x.0-start.json"),
            format!("{BUILD}/notes.txt"),
            "job-a.x.0-start.json".to_owned(),
            "other/job-a.x.0-start.json".to_owned(),
        ];
        for name in &others {
            write(folder.path(), name, 99);
        }
        let mut expected = others.to_vec();
        expected.sort();
        assert_eq!(left(folder.path(), &[], 99), expected);
    }

    #[test]
    fn a_link_to_elsewhere_is_not_followed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = "job-a.x.0-start.json";
        write(elsewhere.path(), name, 99);
        let build = folder.path().join(BUILD);
        fs::create_dir_all(build.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &build).unwrap();
        left(folder.path(), &[], 99);
        assert!(elsewhere.path().join(name).exists() && build.is_symlink());
    }

    #[test]
    fn a_pass_ends_when_it_has_removed_enough() {
        let folder = tempfile::tempdir().unwrap();
        for job in ["a", "b", "c"] {
            write(folder.path(), &format!("{BUILD}/job-{job}.x.0-start.json"), 31);
        }
        assert_eq!(left(folder.path(), &[], 2).len(), 1);
        assert_eq!(left(folder.path(), &[], 2).len(), 0);
    }
}
