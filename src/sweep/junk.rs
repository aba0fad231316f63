//! What lies among the journals and is none: reported once, and removed when it is old.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::context::Context;
use crate::report::Report;
use dataflow_host::files;
use dataflow_lease::glance::Glance;
use dataflow_lease::journal::Error;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::secret::Fingerprint;

/// Before a step each of that many is reported, and by a sweep of its own each of that many; more are counted.
const EACH: (usize, usize) = (3, 20);
/// Which were reported, in the folder of what can be found out again.
const REPORTED: &str = "left-alone";

/// What was found so far.
pub(crate) struct Junk<'a> {
    context: &'a Context<'a>,
    before: DateTime<Utc>,
    /// With what is reported of it where it stays.
    old: Vec<(PathBuf, Option<String>)>,
    alone: Vec<(PathBuf, String)>,
}

impl<'a> Junk<'a> {
    /// Nothing yet; what is of a time before this is removed.
    pub(crate) fn before(context: &'a Context<'a>, before: DateTime<Utc>) -> Self {
        Self { context, before, old: Vec::new(), alone: Vec::new() }
    }

    /// A folder in which nothing was written: a process may be about to.
    pub(crate) fn void(&mut self, folder: PathBuf) {
        if Glance::is_older(&folder, self.before) {
            self.old.push((folder, None));
        }
    }

    /// What no version of this program wrote.
    pub(crate) fn junk(&mut self, folder: PathBuf, error: &Error) {
        let what = left_alone(error);
        if Glance::is_older(&folder, self.before) {
            self.old.push((folder, Some(what)));
        } else {
            self.note(folder, what);
        }
    }

    /// What is left alone.
    pub(crate) fn strange(&mut self, folder: PathBuf, error: &Error) {
        self.note(folder, left_alone(error));
    }

    /// What stays, and why.
    pub(crate) fn note(&mut self, folder: PathBuf, what: String) {
        self.alone.push((folder, what));
    }

    /// Removes what is old, for as long as `time` lasts: on many a disk each takes milliseconds. The next pass goes on.
    pub(crate) async fn remove(&mut self, time: TimeDelta, report: &mut Report) {
        let clock = &self.context.host.clock;
        let (until, mut removed) = (clock.now() + time, 0_usize);
        for (folder, what) in std::mem::take(&mut self.old) {
            tokio::task::yield_now().await;
            if clock.now() >= until {
                break;
            }
            match (self.context.state.remove(&folder), what) {
                (Ok(true), _) => removed += 1,
                (Ok(false), None) => {}
                (Ok(false), Some(what)) => self.note(folder, what),
                (Err(error), _) => {
                    let what = format!("`{}` could not be removed: {error}", folder.display());
                    self.note(folder, what);
                }
            }
        }
        if removed > 0 {
            report.lines.push(format!("removed {removed} folders that held no journal"));
        }
    }

    /// Reports what was not reported before, or all of it.
    pub(crate) fn tell(self, all: bool, report: &mut Report) {
        if self.alone.is_empty() {
            return;
        }
        let path = self.context.state.cache().join(REPORTED);
        let reported = read(&path);
        let is_new = |folder: &Path| !reported.contains(&name(folder));
        let news: Vec<&(PathBuf, String)> =
            self.alone.iter().filter(|(folder, _)| all || is_new(folder)).collect();
        let each = if all { EACH.1 } else { EACH.0 };
        let lines = news.iter().take(each).map(|(_, what)| what.clone());
        report.warnings.extend(lines);
        if let Some(more) = news.len().checked_sub(each).filter(|more| *more > 0) {
            report.warnings.push(format!("{more} more are left alone: `buildkite-dataflow sweep` says why"));
        }
        if self.alone.iter().any(|(folder, _)| is_new(folder)) {
            self.remember(&path, &reported);
        }
    }

    /// Of those that are gone nothing is remembered.
    fn remember(&self, path: &Path, reported: &BTreeSet<String>) {
        let here: BTreeSet<String> = self.context.state.blocks().iter().map(|folder| name(folder)).collect();
        let now = self.alone.iter().map(|(folder, _)| name(folder));
        let lines: BTreeSet<String> = reported.intersection(&here).cloned().chain(now).collect();
        let text = lines.into_iter().collect::<Vec<_>>().join("\n");
        if let Err(error) = files::replace_lossy(path, text.as_bytes()) {
            tracing::warn!(%error, "what is left alone will be reported again");
        }
    }
}

fn left_alone(error: &Error) -> String {
    let causes = Failure::of(Ident::StateUnusable, error).sentence();
    format!("a journal is left alone: {causes}")
}

fn read(path: &Path) -> BTreeSet<String> {
    let bytes = files::read_trusted(path, &[nix::unistd::geteuid().as_raw()]).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// Any process may have chosen the name itself: it may hold a line's end.
fn name(folder: &Path) -> String {
    Fingerprint::of(folder.file_name().unwrap_or_default().as_encoded_bytes()).short(16).to_owned()
}
