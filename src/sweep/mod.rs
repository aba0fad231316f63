//! The sweep: what dead jobs of this host left is settled, what was not delivered is delivered, and what was
//! kept long enough is removed.

use std::path::Path;

use chrono::TimeDelta;
use futures_util::future::join_all;

use self::junk::Junk;
use crate::context::Context;
use crate::keeper;
use crate::release::close;
use crate::report::Report;
use dataflow_config::host::Sink;
use dataflow_config::host_find;
use dataflow_host::process::{self, Alive, Here, listening};
use dataflow_host::{Host, files};
use dataflow_lease::glance::Glance;
use dataflow_lease::journal::Opened;
use dataflow_record::end::SealedBy;
use dataflow_sinks::retention::Pass;
use dataflow_types::failure::Failure;

pub mod escrow;
mod junk;
mod orphan_files;

const DAY: TimeDelta = TimeDelta::days(1);

/// How long a lease that could not be given back is left alone before a sweep tries again.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// The most that one pass does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// At how many folders it looks.
    pub(crate) looks: usize,
    /// How many names it reads of a folder of credentials' files, where keys of journals lie too.
    pub(crate) names: usize,
    /// How many journals it ends.
    ends: usize,
    /// How long it removes what is no journal.
    pub(crate) removing: TimeDelta,
}

/// Before a step, which waits for little: the next step goes on.
pub(crate) const BEFORE_A_STEP: Most =
    Most { looks: 256, names: 512, ends: 8, removing: TimeDelta::milliseconds(10) };

/// By hand or from a timer: all that is over, and as much of the rest as an operator waits for.
const BY_ITSELF: Most =
    Most { looks: usize::MAX, names: usize::MAX, ends: usize::MAX, removing: TimeDelta::seconds(5) };

/// How many journals are ended at once: a provider that does not answer holds up none of the others for long.
const AT_ONCE: usize = 4;
/// At how many folders a pass looks before others have a turn.
const BREATH: usize = 16;

/// Settles what dead jobs left, at most so much, and says so; reports `all` that is left alone, or what is new of it.
pub(crate) async fn dead(context: &Context<'_>, most: Most, all: bool, report: &mut Report) {
    let (here, mut junk) = (Here::now(), Junk::before(context, context.started - DAY));
    let mut over = Vec::new();
    for (number, folder) in some(context.state.blocks(), context, most.looks).into_iter().enumerate() {
        if number % BREATH == BREATH - 1 {
            tokio::task::yield_now().await;
        }
        match Glance::at(&folder) {
            Glance::Of(opened) if may_be_over(context, &folder, &opened, &here) => {
                over.push((folder, *opened));
            }
            Glance::Of(_) => {}
            Glance::Void => junk.void(folder),
            Glance::Junk(error) => junk.junk(folder, &error),
            Glance::Strange(error) => junk.strange(folder, &error),
        }
    }
    // One that cannot be ended must not stand before the others each time.
    for some in some(over, context, most.ends).chunks(AT_ONCE) {
        tokio::task::yield_now().await;
        for ended in join_all(some.iter().map(|(folder, opened)| end(context, folder, opened, &here))).await {
            report.lines.extend(ended.lines);
            report.warnings.extend(ended.warnings);
        }
    }
    orphan_files::remove(context, &here, most, &mut junk, report).await;
    junk.remove(most.removing, report).await;
    junk.tell(all, report);
}

/// These; where there are too many, some from anywhere among them on, so that each has its turn.
pub(crate) fn some<T>(mut all: Vec<T>, context: &Context<'_>, most: usize) -> Vec<T> {
    if most < all.len() {
        let first = turn(context, all.len());
        all.rotate_left(first);
        all.truncate(most);
    }
    all
}

/// Which of so many is first: another one before each step.
fn turn(context: &Context<'_>, length: usize) -> usize {
    let millis = usize::try_from(context.started.timestamp_millis()).unwrap_or_default();
    millis.checked_rem(length).unwrap_or_default()
}

fn may_be_over(context: &Context<'_>, folder: &Path, opened: &Opened, here: &Here) -> bool {
    match alive(context, folder, opened, here) {
        Alive::Yes => false,
        Alive::Unknown => is_old(context, opened),
        Alive::No => true,
    }
}

/// Ends the journal of a job that is over.
async fn end(context: &Context<'_>, folder: &Path, opened: &Opened, here: &Here) -> Report {
    let mut report = Report::default();
    let Some(journal) = context.state.open(folder) else { return report };
    // The folder may be another job's by now.
    if journal.opened() != opened {
        return report;
    }
    let is_uncertain = alive(context, folder, opened, here) == Alive::Unknown;
    if is_uncertain && journal.latest_end().is_some_and(|end| context.started < end + DAY) {
        return report;
    }
    // An attempt of a time to come says that a clock was wrong, and not that it was just now.
    let since = journal.last_attempt().map(|at| context.started - at);
    if since.is_some_and(|since| (TimeDelta::zero()..PAUSE).contains(&since)) {
        return report;
    }
    // Lent under a host config, and none is here: its network and its sinks are not known.
    if opened.host_config.is_some() && context.loaded.digest.is_none() {
        report.warnings.push(format!("job {} waits for a sweep that finds the host config", opened.job));
        return report;
    }
    let ended = close::close_block(context, journal, SealedBy::Sweep, Vec::new()).await;
    let lines = ended.settled.into_iter().map(|line| format!("swept job {}: {line}", opened.job));
    report.lines.extend(lines);
    report.warnings.extend(ended.warnings);
    report
}

/// Certainly over is a job whose bootstrap is gone, or whose socket has no listener any more. Both stand in the
/// journal, which a step can change: over is only what no sign of life speaks against.
pub(crate) fn alive(context: &Context<'_>, folder: &Path, opened: &Opened, here: &Here) -> Alive {
    if opened.bootstrap == context.bootstrap {
        return Alive::Yes;
    }
    let said = match (opened.bootstrap.alive_in(here), &opened.socket) {
        (Alive::Unknown, Some(socket)) if listening(socket) == Alive::No => Alive::No,
        (alive, _) => alive,
    };
    if said == Alive::No && shows_life(context, folder, opened, here) { Alive::Unknown } else { said }
}

/// Whether something that does not stand in the journal says that the job lives: the process of that number was there
/// before the journal was, the job's keeper is at it, or the agent runs the job.
fn shows_life(context: &Context<'_>, folder: &Path, opened: &Opened, here: &Here) -> bool {
    let made = Glance::made(folder).unwrap_or(opened.at);
    let named = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    here.had(&opened.bootstrap, made, &context.host.clock)
        || keeper::is_at(folder)
        || here.serves(&opened.job, &context.host.env)
        || named.is_some_and(|job| here.serves(job, &context.host.env))
}

/// What cannot be known from here (a container that is gone took its namespace and its socket along) waits,
/// but not for ever: a week, and a day beyond the end of all that was lent.
fn is_old(context: &Context<'_>, opened: &Opened) -> bool {
    context.started > opened.at + TimeDelta::weeks(1)
}

/// The most links that are removed before one step; the next goes on.
const MOST: usize = 1000;

/// Before a step: what the host config keeps no longer is removed, once a day.
pub(crate) fn tidy_daily(context: &Context<'_>, report: &mut Report) {
    let (now, stamp) = (context.host.clock.now(), context.state.cache().join("tidied"));
    let age = files::written(&stamp).map(|at| now - at);
    // A stamp of a time to come says that the clock was wrong once, and not that it is early.
    if age.is_some_and(|age| (TimeDelta::zero()..DAY).contains(&age)) {
        return;
    }
    if tidy(context, report, MOST)
        && let Err(error) = files::replace_lossy(&stamp, b"")
    {
        tracing::warn!(%error, "the next step tidies again");
    }
}

/// Removes records that were kept long enough; whether that is all.
fn tidy(context: &Context<'_>, report: &mut Report, most: usize) -> bool {
    let (config, state) = (&context.loaded.config, &context.state);
    let (now, records) = (context.host.clock.now(), state.records());
    let named = config.sinks.iter().any(|Sink::File(file)| file.directory == records);
    let kept = config.retention.records.filter(|_| !named);
    let before = kept.and_then(|kept| now.checked_sub_signed(TimeDelta::from_std(kept.0).ok()?));
    let (Some(kept), Some(before)) = (kept, before) else { return true };
    let open = state.blocks().into_iter().filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
    let open: Vec<String> = open.collect();
    let mut pass = Pass { before, left: most, open: &open, removed: 0, trouble: None };
    pass.run(&records);
    if pass.removed > 0 {
        report.lines.push(format!("removed {} links of records older than {kept}", pass.removed));
    }
    report.warnings.extend(pass.trouble.map(|what| format!("an old record could not be removed: {what}")));
    pass.left > 0
}

/// `buildkite-dataflow sweep`: the same, by hand or from a timer.
pub async fn sweep(host: &Host) -> Result<Report, Failure> {
    process::outlive_signals();
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let Some(context) = Context::standing(host, loaded)? else { return Ok(Report::default()) };
    let mut report = Report::default();
    dead(&context, BY_ITSELF, true, &mut report).await;
    tidy(&context, &mut report, usize::MAX);
    Ok(report)
}
