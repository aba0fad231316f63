//! The keeper: the small companion process of a job that keeps its token files fresh.
//!
//! SDKs of Azure and Google read the job's token from a file, again and again, and the token lives for
//! minutes. The keeper is started only where there is such a file, and ends with the bootstrap, or as
//! soon as the block's private folder is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::renew::Callback;
use super::{Context, bug};
use crate::claims::SubjectToken;
use crate::failure::Failure;
use crate::host::process::{self, Command};
use crate::host::watch::Watched;
use crate::host::{Host, files};
use crate::lease::journal::Journal;
use crate::policy::Request;
use crate::secret::Secret;

/// The word by which the program starts as keeper.
pub const WORD: &str = "keeper";

/// The wait after a refresh that failed: the agent's endpoint, or the network, may come back.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// The shortest wait, so that a wrong clock makes no storm.
const AT_LEAST: Duration = Duration::from_millis(500);

/// Starts the keeper of a block; it must outlive this process.
pub(super) fn start(context: &Context<'_>, folder: &Path) -> std::io::Result<()> {
    Command {
        program: context.host.program.clone(),
        arguments: vec![WORD.into(), "--block".into(), folder.into()],
        environment: context.host.env.of_companion(),
        folder: PathBuf::from("/"),
    }
    .detach()
}

/// Whether a keeper has something to do for one of these.
pub(super) fn is_needed<'r>(mut requests: impl Iterator<Item = &'r Request>) -> bool {
    requests.any(|request| request.token_file().is_some())
}

/// Keeps the token files in `folder` fresh until the job is over.
pub async fn keep(host: &Host, folder: PathBuf) -> Result<(), Failure> {
    process::stand_alone();
    let callback = Callback::of(host, folder.clone(), String::new());
    let (journal, requests) = callback.kept_files()?;
    let opened = Journal::peek(&journal).ok_or_else(|| bug("the keeper's block has no journal"))?;
    let job = Watched::of(&opened.bootstrap)
        .map_err(|error| bug(&format!("the job cannot be watched: {error}")))?;
    let mut due: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    for file in requests.iter().filter_map(Request::token_file) {
        due.insert(file.clone(), next(host, token_in(&folder.join(&file)).as_ref()));
    }
    while let Some(first) = due.values().min().copied() {
        let wait = (first - host.clock.now()).to_std().unwrap_or_default().max(AT_LEAST);
        // It waits with its whole thread: between two refreshes a keeper does nothing else.
        if job.gone_within(wait) || !files::is_folder(&folder) {
            return Ok(());
        }
        for request in &requests {
            let Some(file) = request.token_file() else { continue };
            if due.get(&file).is_some_and(|at| *at <= host.clock.now()) {
                due.insert(file.clone(), refresh(host, &callback, &folder.join(&file), request).await);
            }
        }
    }
    Ok(())
}

/// Writes a fresh token, and says when the next one is due.
async fn refresh(host: &Host, callback: &Callback<'_>, path: &Path, request: &Request) -> DateTime<Utc> {
    let fresh = match callback.token_for(request).await {
        Ok(token) => files::replace_lossy(path, token.expose().as_bytes()).map(|()| token),
        Err(failure) => Err(std::io::Error::other(failure.sentence())),
    };
    match fresh {
        Ok(token) => next(host, Some(&token)),
        Err(error) => {
            // Nobody reads a keeper's log; the SDK that finds an old token will say so.
            tracing::warn!(%error, "a token file could not be kept fresh");
            host.clock.now() + AFTER_FAILURE
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
    let due = ends - (ends - issued) / 3;
    DateTime::from_timestamp(due, 0).unwrap_or(now)
}
