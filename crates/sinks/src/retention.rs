//! Removing what a folder of records has kept for long enough: whole records, known by their names.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};

use dataflow_host::drop_box::WRITING;
use dataflow_host::folder::{Folder, Is};
use dataflow_record as record;

/// The folders between the records' own and a link, by how their names begin.
const LEVELS: [&str; 5] = ["v=", "org=", "date=", "pipeline=", "build="];

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
    /// Removes old records below `records`. Links, folders and files with other names are left alone.
    pub fn run(&mut self, records: &Path) {
        match Folder::open(records) {
            Ok(folder) => self.level(&folder, &LEVELS),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.complain(records, &error),
        }
    }

    fn level(&mut self, folder: &Folder, levels: &[&str]) {
        let Some((prefix, deeper)) = levels.split_first() else { return self.links(folder) };
        for name in self.list(folder) {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let is_folder = matches!(folder.named(&name), Ok(Some(named)) if named.is == Is::Folder);
            if self.left == 0 || !is_folder || self.is_young(prefix, rest) {
                continue;
            }
            match folder.below(&name) {
                Ok(below) => self.level(&below, deeper),
                Err(error) => self.complain(&folder.path().join(&name), &error),
            }
            // Those above a day are everybody's: a link may be on its way into one. One that holds something stays.
            if !["v=", "org="].contains(prefix) {
                drop(folder.remove_one(&name, Is::Folder));
            }
        }
    }

    /// A folder of a day holds nothing that was written before it: most are passed over unread.
    fn is_young(&self, prefix: &str, rest: &str) -> bool {
        prefix == "date=" && rest > self.before.format("%Y-%m-%d").to_string().as_str()
    }

    /// A chain goes as a whole, when its last link is old enough: what is left of one proves nothing.
    fn links(&mut self, folder: &Folder) {
        let mut chains: BTreeMap<String, Vec<(String, DateTime<Utc>)>> = BTreeMap::new();
        for name in self.list(folder) {
            let chain = if name.starts_with(WRITING) { Some(name.as_str()) } else { record::chain(&name) };
            let Some(chain) = chain.map(str::to_owned) else { continue };
            let named = folder.named(&name).ok().flatten().filter(|named| named.is == Is::File);
            if let Some(written) = named.and_then(|named| named.written) {
                chains.entry(chain).or_default().push((name, written));
            }
        }
        for (chain, links) in chains {
            let old = links.iter().all(|(_, written)| *written < self.before);
            if old && self.left > 0 && !self.is_open(&chain) {
                for (name, _) in &links {
                    self.remove(folder, name);
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

    fn remove(&mut self, folder: &Folder, name: &str) {
        self.left = self.left.saturating_sub(1);
        match folder.remove_one(name, Is::File) {
            Ok(()) => self.removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.complain(&folder.path().join(name), &error),
        }
    }

    /// The names that are text: ours are.
    fn list(&mut self, folder: &Folder) -> Vec<String> {
        let names = folder.names().unwrap_or_else(|error| {
            self.complain(folder.path(), &error);
            Vec::new()
        });
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }

    fn complain(&mut self, path: &Path, error: &io::Error) {
        self.trouble.get_or_insert_with(|| format!("`{}`: {error}", path.display()));
    }
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
        let before =
            chrono::DateTime::<Utc>::from(std::time::SystemTime::now()) - chrono::TimeDelta::days(30);
        let mut pass = Pass { before, left: most, open: &open, removed: 0, trouble: None };
        pass.run(folder);
        assert_eq!(pass.trouble, None);
        let files = dataflow_host::walk::below(folder).unwrap().files;
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
