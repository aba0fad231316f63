//! The sweep: what dead jobs of this host left is settled, what was not delivered is delivered, and what was
//! kept long enough is removed.

use chrono::TimeDelta;

use super::{Context, Report, closing};
use crate::config::host::Sink;
use crate::config::load;
use crate::failure::{Class, Failure};
use crate::host::process::{self, Alive, listening};
use crate::host::{Host, files};
use crate::lease::journal::{Journal, Opened};
use crate::record::end::SealedBy;
use crate::sink::retention::Pass;

const DAY: TimeDelta = TimeDelta::days(1);

/// How long a lease that could not be given back is left alone before a sweep tries again.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// Settles what dead jobs left, and says so.
pub(super) async fn dead(context: &Context<'_>) -> Report {
    let mut report = Report::default();
    for folder in context.state.blocks() {
        let opened = match Journal::whose(&folder) {
            Ok(opened) => opened,
            // A process may be making it at the moment, or it was closed since.
            Err(_) if Journal::is_void(&folder) => continue,
            Err(error) => {
                let causes = Failure::of("state-unusable", Class::Configuration, &error).sentence();
                report.warnings.push(format!("a journal is left alone: {causes}"));
                continue;
            }
        };
        let alive = alive(context, &opened);
        if alive == Alive::Yes || alive == Alive::Unknown && !is_old(context, &opened) {
            continue;
        }
        let Some(journal) = context.state.open(&folder) else { continue };
        if alive == Alive::Unknown && journal.latest_end().is_some_and(|end| context.started < end + DAY) {
            continue;
        }
        // An attempt of a time to come says that a clock was wrong, and not that it was just now.
        let since = journal.last_attempt().map(|at| context.started - at);
        if since.is_some_and(|since| (TimeDelta::zero()..PAUSE).contains(&since)) {
            continue;
        }
        // Lent under a host config, and none is here: its network and its sinks are not known.
        if opened.host_config.is_some() && context.loaded.digest.is_none() {
            report.warnings.push(format!("job {} waits for a sweep that finds the host config", opened.job));
            continue;
        }
        let ended = closing::account(context, journal, SealedBy::Sweep, Vec::new()).await;
        report
            .lines
            .extend(ended.settled.into_iter().map(|line| format!("swept job {}: {line}", opened.job)));
        report.warnings.extend(ended.warnings);
    }
    report
}

/// Certainly over is a job whose bootstrap is gone, or on whose socket nobody listens any more.
fn alive(context: &Context<'_>, opened: &Opened) -> Alive {
    if opened.bootstrap == context.bootstrap {
        return Alive::Yes;
    }
    match (opened.bootstrap.alive(), &opened.socket) {
        (Alive::Unknown, Some(socket)) if listening(socket) == Alive::No => Alive::No,
        (alive, _) => alive,
    }
}

/// What cannot be told from here (a container that is gone took its namespace and its socket along) waits,
/// but not for ever: a week, and a day beyond the end of all that was lent.
fn is_old(context: &Context<'_>, opened: &Opened) -> bool {
    context.started > opened.at + TimeDelta::weeks(1)
}

/// The most links that are removed before one step; the next goes on.
const MOST: usize = 1000;

/// Before a step: what the host config keeps no longer is removed, once a day.
pub(super) fn tidy_daily(context: &Context<'_>, report: &mut Report) {
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

/// Removes records that were kept long enough, and what processes left half made; whether that is all.
fn tidy(context: &Context<'_>, report: &mut Report, most: usize) -> bool {
    let (config, state) = (&context.loaded.config, &context.state);
    let (now, records) = (context.host.clock.now(), state.records());
    state.remove_husks(now - DAY);
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
    let loaded = load::load(host).map_err(|error| error.failure())?;
    let Some(context) = Context::standing(host, loaded)? else { return Ok(Report::default()) };
    let mut report = dead(&context).await;
    tidy(&context, &mut report, usize::MAX);
    Ok(report)
}
