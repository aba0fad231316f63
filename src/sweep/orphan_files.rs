//! Files of credentials whose journal is gone: no other process would remove them.

use chrono::TimeDelta;

use super::junk::Junk;
use super::{Most, alive, some};
use crate::context::Context;
use crate::report::Report;
use dataflow_host::files;
use dataflow_host::head;
use dataflow_host::process::{Alive, Here};
use dataflow_lease::private::{self, Found};

/// How long files stay where it is unknown whether their job lives: no credential of a job lives longer.
const LONG: TimeDelta = TimeDelta::days(7);
/// The same, where nothing says whose they are.
const UNOWNED: TimeDelta = TimeDelta::days(1);

/// Removes the files of jobs that are over, of at most so many folders for so long; what stays is reported.
pub(crate) async fn remove(
    context: &Context<'_>,
    here: &Here,
    most: Most,
    junk: &mut Junk<'_>,
    report: &mut Report,
) {
    let clock = &context.host.clock;
    let (until, mut removed) = (clock.now() + most.removing, 0_usize);
    for found in some(private::all(&context.state, most.names), context, most.looks) {
        tokio::task::yield_now().await;
        if !is_over(context, here, &found) {
            continue;
        }
        if clock.now() >= until {
            break;
        }
        match files::remove(&found.folder) {
            Ok(()) => removed += 1,
            Err(error) => {
                let place = found.folder.display();
                let what = format!(
                    "files of credentials of a job that is over could not all be removed from `{place}`: {error}"
                );
                junk.note(found.folder, what);
            }
        }
    }
    if removed > 0 {
        report.lines.push(format!("removed the files of credentials of {removed} blocks that are over"));
    }
}

fn is_over(context: &Context<'_>, here: &Here, found: &Found) -> bool {
    let is_there = |journal: &std::path::PathBuf| head::look(journal).is_ok();
    if found.journal.as_ref().is_some_and(is_there) {
        return false;
    }
    let owner = found.owner();
    if owner.as_ref().is_some_and(|owner| is_there(&owner.journal)) {
        return false;
    }
    let age = head::look(&found.folder).map_or(TimeDelta::zero(), |found| context.started - found.changed);
    match owner.map(|owner| alive(context, &owner.journal, &owner.opened, here)) {
        Some(Alive::Yes) => false,
        Some(Alive::No) => true,
        Some(Alive::Unknown) => age > LONG,
        None => age > UNOWNED,
    }
}
