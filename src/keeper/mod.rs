//! The keeper: the small companion process of a job.
//!
//! It is started only where there is something to keep or to give back. SDKs of Azure and Google read the
//! job's token from a file, again and again, and the token lives for minutes: the keeper rewrites it. And
//! where the bootstrap dies before the hooks after the command have run, the keeper does what they would
//! have done. It ends with the bootstrap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};

use crate::callback::Callback;
use crate::context::Context;
use crate::hook::phase::Form;
use crate::release::{self, close, settle};
use crate::report::bug;
use dataflow_config::host_find;
use dataflow_host::pidfd::Watched;
use dataflow_host::process::{self, Command};
use dataflow_host::{Host, files};
use dataflow_lease::Lease;
use dataflow_lease::journal::{Journal, Opened};
use dataflow_lease::private;
use dataflow_policy::Request;
use dataflow_record::end::SealedBy;
use dataflow_types::claims::SubjectToken;
use dataflow_types::failure::Failure;
use dataflow_types::secret::Secret;

/// The word by which the program starts as keeper.
pub const WORD: &str = "keeper";

/// The wait after a refresh that failed, in first waits of a try: the agent's endpoint, or the network, may
/// come back, and five tries with doubled waits were made already.
const AFTER_FAILURE: u32 = 15;
/// The shortest wait, so that a wrong clock makes no storm.
const AT_LEAST: Duration = Duration::from_millis(500);
/// The wait while there is nothing to refresh.
const LONG: Duration = Duration::from_hours(24);
/// How long a hook that outlives its bootstrap may take before it is at the journal.
const MOMENT: Duration = Duration::from_millis(200);

/// Starts the keeper of a block; it must outlive this process.
pub(crate) fn start(context: &Context<'_>, journal: &Path) -> std::io::Result<()> {
    Command {
        program: context.host.program.clone(),
        arguments: vec![WORD.into(), "--journal".into(), journal.into()],
        environment: context.host.env.of_companion(),
        folder: PathBuf::from("/"),
    }
    .detach()
}

/// Whether a keeper has something to do: a file to keep fresh, or a lease that does not end by itself.
pub(crate) fn is_needed(requests: &[&Request], leases: &[Lease]) -> bool {
    requests.iter().any(|request| request.token_file().is_some()) || leases.iter().any(Lease::is_given_back)
}

/// Whether a keeper is at the journal in `folder`: it has the folder's lock while it lives.
pub(crate) fn is_at(folder: &Path) -> bool {
    matches!(files::lock_folder(folder), Ok(None))
}

/// Stays with a job until it is over, and does then what its own hooks could not.
pub async fn keep(host: &Host, journal: PathBuf) -> Result<(), Failure> {
    process::outlive_signals();
    // From now on: a signal that comes before there is a job to watch must still count then.
    let stopped = process::told_to_end().map_err(|error| unwatched(&error))?;
    let Some(opened) = Journal::peek(&journal) else { return Ok(()) };
    // Given back by the system at the moment at which this process is gone.
    let _at_it = files::lock_folder(&journal);
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let mut context = Context::new(host, Form::AgentHook, loaded)?;
    context.bootstrap = opened.bootstrap.clone();
    match Watched::of(&context.bootstrap) {
        Ok(job) => watch(&context, &job, stopped, &journal).await?,
        // It died while this process started.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwatched(&error)),
    }
    if knows(&context, &opened) {
        give_back(&context, &journal, &opened).await;
    }
    Ok(())
}

/// Whether it can be settled here: what was lent under a host config, and none is here now, has a network and sinks
/// that are not known. A sweep waits for it too.
fn knows(context: &Context<'_>, opened: &Opened) -> bool {
    opened.host_config.is_none() || context.loaded.digest.is_some()
}

fn unwatched(error: &std::io::Error) -> Failure {
    bug(&format!("the job cannot be watched: {error}"))
}

/// Keeps token files fresh until the job is over or this process gets a signal to end; returns when the job is over.
async fn watch(
    context: &Context<'_>,
    job: &Watched,
    stopped: impl Future<Output = ()>,
    journal: &Path,
) -> Result<(), Failure> {
    let host = context.host;
    let folder = private::of(journal);
    let callback = Callback::of(host, folder.clone(), String::new());
    let requests = callback.kept_files().unwrap_or_else(|failure| {
        tracing::debug!(what = failure.what, "no token file is kept");
        Vec::new()
    });
    let mut due: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    for file in requests.iter().filter_map(Request::token_file) {
        due.insert(file.clone(), next(host, token_in(&folder.join(&file)).as_ref()));
    }
    let (gone, stopped) = (pin!(job.gone()), pin!(stopped));
    let mut over = select(gone, stopped);
    loop {
        let first = due.values().min();
        let wait = first.map_or(LONG, |first| (*first - host.clock.now()).to_std().unwrap_or_default());
        let sleep = pin!(host.clock.sleep(wait.max(AT_LEAST)));
        match select(&mut over, sleep).await {
            Either::Left((Either::Left((gone, _)), _)) => return gone.map_err(|error| unwatched(&error)),
            Either::Left((Either::Right(_), _)) => {
                settle_now(context, journal).await;
                return job.gone().await.map_err(|error| unwatched(&error));
            }
            Either::Right(_) => {}
        }
        for request in &requests {
            let Some(file) = request.token_file() else { continue };
            if due.get(&file).is_some_and(|at| *at <= host.clock.now()) && files::is_folder(&folder) {
                let next = refresh(context, &callback, &folder.join(&file), request).await;
                due.insert(file.clone(), next);
            }
        }
        if !files::is_folder(journal) {
            // The hooks have closed the account, and the bootstrap may have long to go.
            return Ok(());
        }
        if !files::is_folder(&folder) {
            due.clear();
        }
    }
}

/// Gives back what can be given back while the job may live on: what stops this process may stop the whole
/// host. The rest is its hooks' to do, which know how the job ended and what its variables are, or, where the job
/// dies, this process's, if it is let.
async fn settle_now(context: &Context<'_>, folder: &Path) {
    let until = context.host.clock.now() + context.loaded.config.deadlines.release.0;
    if let Some(mut journal) = release::open_soon(context, folder, until).await
        && knows(context, journal.opened())
    {
        settle::settle(context, &mut journal, SealedBy::Keeper, &mut settle::Ended::default()).await;
    }
}

/// Does what the hooks after the command have not done: a journal that is still there says so.
async fn give_back(context: &Context<'_>, folder: &Path, opened: &Opened) {
    context.host.clock.sleep(MOMENT).await;
    let until = context.host.clock.now() + context.loaded.config.deadlines.release.0;
    // A hook may still be at it, and die in the middle.
    while files::is_folder(folder) && context.host.clock.now() < until {
        if let Some(journal) = release::open_soon(context, folder, until).await {
            // The folder may be another job's by now.
            if journal.opened() != opened {
                return;
            }
            close::close_block(context, journal, SealedBy::Keeper, Vec::new()).await;
            return;
        }
        // What cannot be read now is not read better at once.
        context.host.clock.sleep(MOMENT).await;
    }
}

/// Writes a fresh token, and says when the next one is due.
async fn refresh(
    context: &Context<'_>,
    callback: &Callback<'_>,
    path: &Path,
    request: &Request,
) -> DateTime<Utc> {
    let host = context.host;
    let fresh = match callback.token_for(request).await {
        Ok((token, _journal)) => files::replace_lossy(path, token.expose().as_bytes()).map(|()| token),
        Err(failure) => Err(std::io::Error::other(failure.sentence())),
    };
    match fresh {
        Ok(token) => next(host, Some(&token)),
        Err(error) => {
            // No person reads a keeper's log; the SDK that finds an old token will say so.
            tracing::warn!(%error, "a token file could not be kept fresh");
            host.clock.now() + context.loaded.config.deadlines.retry.0.saturating_mul(AFTER_FAILURE)
        }
    }
}

fn token_in(path: &Path) -> Option<SubjectToken> {
    let bytes = files::read_trusted(path, &[nix::unistd::geteuid().as_raw()]).ok()?;
    Some(SubjectToken::new(Secret::new(String::from_utf8(bytes).ok()?)))
}

/// When two thirds of a token's life are over.
fn next(host: &Host, token: Option<&SubjectToken>) -> DateTime<Utc> {
    let now = host.clock.now();
    let claims = token.and_then(|token| token.unverified_claims().ok());
    let times = claims.and_then(|claims| Some((claims.seconds("iat")?, claims.seconds("exp")?)));
    let Some((issued, ends)) = times else { return now };
    // A process of the step can write that file, with any numbers.
    let due = ends.saturating_sub(ends.saturating_sub(issued) / 3);
    DateTime::from_timestamp(due, 0).unwrap_or(now)
}
