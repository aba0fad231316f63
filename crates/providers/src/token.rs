//! The job's subject tokens: one per distinct shape, shared by the requests that need it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Error;
use super::door::of_token;
use dataflow_config::token::TokenSource;
use dataflow_host::agent::oidc::{Issuer, TokenRequest};
use dataflow_host::process::Command;
use dataflow_host::{Clock, files};
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::{Mask, Secret};
use dataflow_types::span::Span;

/// The longest that a command may take to say a token.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// What tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where it comes from.
    pub from: TokenSource,
    /// What it is like.
    pub request: TokenRequest,
}

/// A token of the job, with what it says.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token.
    pub token: SubjectToken,
    /// What it says; absent where it is no JSON Web Token.
    pub claims: Option<Claims>,
}

impl Minted {
    fn of(token: SubjectToken) -> Self {
        let claims = token.unverified_claims().ok();
        Self { token, claims }
    }

    /// When it ends, where it says so.
    pub fn ends(&self) -> Option<DateTime<Utc>> {
        let end = self.claims.as_ref().and_then(|claims| claims.seconds("exp"))?;
        DateTime::from_timestamp(end, 0)
    }

    /// When the last credential ends that could be had for it: its holder can exchange it until its end, and what
    /// comes of that lives for `life`.
    pub fn last_use(&self, life: Span, now: DateTime<Utc>) -> DateTime<Utc> {
        let end = self.ends().unwrap_or(now);
        TimeDelta::from_std(life.0).ok().and_then(|life| end.checked_add_signed(life)).unwrap_or(end)
    }
}

/// Mints tokens of the job.
#[derive(Debug)]
pub struct Minter {
    /// The agent.
    pub issuer: Issuer,
    /// What a log must not show: every token is added to it.
    pub mask: Mask,
    /// What time it is.
    pub clock: Clock,
    /// When the step has waited long enough.
    pub until: DateTime<Utc>,
}

impl Minter {
    async fn mint(&self, key: &Key) -> Result<Minted, Error> {
        let token = match &key.from {
            TokenSource::Agent => self.issuer.mint(&key.request, self.until).await.map_err(Error::Token)?,
            TokenSource::File(path) => from_file(path)?,
            TokenSource::Command(words) => from_command(words, self.clock.left(self.until)).await?,
        };
        self.mask.add(token.secret());
        Ok(Minted::of(token))
    }
}

/// The token with which requests are made: one for all that need the same, and fresh ones where a server wants those.
#[derive(Debug)]
pub struct Subject {
    /// What is minted.
    pub key: Key,
    minter: Arc<Minter>,
    minted: Mutex<History>,
}

#[derive(Debug)]
struct History {
    last: Minted,
    /// Every one, also those that no request can carry.
    all: Vec<Minted>,
}

impl Subject {
    /// Mints the first token.
    pub async fn mint(minter: &Arc<Minter>, key: Key) -> Result<Self, Error> {
        let first = minter.mint(&key).await?;
        fit(&first)?;
        let history = Mutex::new(History { all: vec![first.clone()], last: first });
        Ok(Self { key, minter: Arc::clone(minter), minted: history })
    }

    /// The token of a request: the last one, or a `fresh` one that no request had before.
    pub async fn take(&self, fresh: bool) -> Result<SubjectToken, Error> {
        if !fresh {
            return Ok(self.last().token);
        }
        let fresh = self.minter.mint(&self.key).await?;
        let mut minted = self.minted();
        minted.all.push(fresh.clone());
        fit(&fresh)?;
        minted.last = fresh.clone();
        Ok(fresh.token)
    }

    /// The last token that was minted.
    pub fn last(&self) -> Minted {
        self.minted().last.clone()
    }

    /// Every token that was minted, in that order.
    pub fn all(&self) -> Vec<Minted> {
        self.minted().all.clone()
    }

    fn minted(&self) -> MutexGuard<'_, History> {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request can carry it.
fn fit(minted: &Minted) -> Result<(), Error> {
    of_token(minted.token.expose()).map_or(Ok(()), |problem| Err(Error::UnfitToken(problem)))
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
