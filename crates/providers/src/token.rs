//! The job's subject tokens: one per distinct shape, shared by the requests that need it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::OnceCell;

use super::Error;
use super::door::of_token;
use dataflow_config::token::From;
use dataflow_host::agent::oidc::{Issuer, Shape};
use dataflow_host::process::Command;
use dataflow_host::{Clock, files};
use dataflow_types::claims::SubjectToken;
use dataflow_types::secret::{Mask, Secret};
use dataflow_types::span::Span;

/// The longest that a command may take to say a token.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// What tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where it comes from.
    pub from: From,
    /// What it is like.
    pub shape: Shape,
}

/// When the last credential ends that could be had for this token: whoever has it can exchange it until its end,
/// and what comes of that lives for `life`.
pub fn last_use(token: &SubjectToken, life: Span, now: DateTime<Utc>) -> DateTime<Utc> {
    let end = token.unverified_claims().ok().and_then(|claims| claims.seconds("exp"));
    let end = end.and_then(|end| DateTime::from_timestamp(end, 0)).unwrap_or(now);
    TimeDelta::from_std(life.0).ok().and_then(|life| end.checked_add_signed(life)).unwrap_or(end)
}

type Cell = Arc<OnceCell<SubjectToken>>;

/// Tokens, each fetched once unless a fresh one is asked for.
#[derive(Debug)]
pub struct Tokens {
    issuer: Issuer,
    mask: Mask,
    clock: Clock,
    until: DateTime<Utc>,
    known: Mutex<BTreeMap<Key, Cell>>,
    /// Every token that was fetched, in that order.
    fetched: Mutex<Vec<(Key, SubjectToken)>>,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(issuer: Issuer, mask: Mask, clock: Clock, until: DateTime<Utc>) -> Self {
        Self { issuer, mask, clock, until, known: Mutex::default(), fetched: Mutex::default() }
    }

    /// The token for `key`, shared with everybody who asks for the same.
    pub async fn get(&self, key: &Key) -> Result<SubjectToken, Error> {
        self.take(key, false).await
    }

    /// The same, or a `fresh` one that nobody used before.
    pub async fn take(&self, key: &Key, fresh: bool) -> Result<SubjectToken, Error> {
        let cell = self.cell(key, fresh);
        cell.get_or_try_init(|| self.fetch(key)).await.cloned()
    }

    fn cell(&self, key: &Key, fresh: bool) -> Cell {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh {
            known.remove(key);
        }
        Arc::clone(known.entry(key.clone()).or_default())
    }

    async fn fetch(&self, key: &Key) -> Result<SubjectToken, Error> {
        let token = match &key.from {
            From::Agent => self.issuer.mint(&key.shape, self.until).await.map_err(Error::Token)?,
            From::File(path) => from_file(path)?,
            From::Command(words) => from_command(words, self.clock.left(self.until)).await?,
        };
        self.mask.add(token.secret());
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).push((key.clone(), token.clone()));
        match of_token(token.expose()) {
            None => Ok(token),
            Some(problem) => Err(Error::UnfitToken(problem)),
        }
    }

    /// Every token that was fetched for `key`, each once.
    pub fn fetched(&self, key: &Key) -> Vec<SubjectToken> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.iter().filter(|(known, _)| known == key).map(|(_, token)| token.clone()).collect()
    }
}

fn from_file(path: &Path) -> Result<SubjectToken, Error> {
    let bytes = zeroize::Zeroizing::new(files::read(path).map_err(Error::TokenFile)?);
    // Not lossy: a damaged token would go on as another token.
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        Error::TokenFile(files::Untrusted::Io { path: path.to_owned(), source })
    })?;
    Ok(SubjectToken::new(Secret::new(text.trim())))
}

async fn from_command(words: &[String], left: Duration) -> Result<SubjectToken, Error> {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let failed = |problem: String| Error::TokenCommand { program: program.to_owned(), problem };
    let command = Command {
        program: PathBuf::from(program),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: BTreeMap::new(),
        folder: PathBuf::from("/"),
    };
    let ended = command.output(left.min(COMMAND_TIMEOUT)).await;
    let ended = ended.map_err(|error| failed(format!("cannot be run: {error}")))?;
    match ended.status {
        Some(0) => Ok(SubjectToken::new(Secret::new(ended.stdout.expose().trim()))),
        Some(status) => Err(failed(format!("ended with status {status}"))),
        None => Err(failed("was ended by a signal".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_trimmed_and_must_be_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        files::replace(&path, b"a.b.c\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose(), "a.b.c");
        files::replace(&path, b"a.\xff.c").unwrap();
        assert!(matches!(from_file(&path), Err(Error::TokenFile(_))));
    }

    #[test]
    fn a_token_command_is_started_with_an_empty_environment() {
        let words = ["/bin/sh", "-c", "printf a.${HOME:-none}.c"].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(from_command(&words, COMMAND_TIMEOUT)).unwrap().expose(), "a.none.c");
        let words = ["/bin/sh", "-c", "exit 3"].map(str::to_owned);
        let error = runtime.block_on(from_command(&words, COMMAND_TIMEOUT)).unwrap_err();
        assert_eq!(error.to_string(), "the token command `/bin/sh` ended with status 3");
    }
}
