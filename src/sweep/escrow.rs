//! The sweep of another user after a restart of the host: leases that the agent's own user cannot read any more were
//! sealed to it, and are given back. Whatever lies in its folder was written by others, and is input: a lease's own
//! handle is sent where the host config allows it, and nothing else happens.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use crate::release::escrow::ANSWER;
use crate::release::settle::{ask, waves};
use crate::report::Report;
use dataflow_config::host_find::{self, Loaded};
use dataflow_host::files::{self, Untrusted};
use dataflow_host::http::Http;
use dataflow_host::{Host, drop_box, process};
use dataflow_lease::escrow::{Answer, Escrowed, MOST, PrivateKey, Unreadable};
use dataflow_lease::{Lease, Need};
use dataflow_providers::SettleContext;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::settlement::Settlement;

/// How many leases are given back at once.
const AT_ONCE: usize = 16;
/// How long an answer stays after its lease's end, and a file that was never finished.
const KEPT: TimeDelta = TimeDelta::days(1);

/// Why there is nothing that this sweep could do.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("a sweep with a key does not run as root: what it reads was written by other users")]
    Root,
    #[error("the host config says no `survive-reboot`")]
    NotAsked,
    #[error("the folder of `survive-reboot` cannot be used")]
    Folder(#[source] Untrusted),
    #[error("the private key cannot be used")]
    Key(#[source] Untrusted),
    #[error("`{0}` is no X25519 private key in PEM")]
    NotAKey(PathBuf),
    #[error("this system does not tell its boots apart")]
    NoBoot,
}

impl Unfit {
    fn failure(&self) -> Failure {
        Failure::of(Ident::SurvivorsUnusable, self).hinted(
            "run it as the user to whom `survive-reboot.directory` of the host config belongs, with the private key that \
             `openssl genpkey -algorithm X25519` made, readable by that user alone; the host config must be root's",
        )
    }
}

/// Why a file is left alone.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("no hook gives a file such a name")]
    Name,
}

/// A lease that is to be given back.
struct Found {
    path: PathBuf,
    job: String,
    lease: Lease,
}

/// The user that holds the key.
struct Sweeper<'a> {
    host: &'a Host,
    loaded: &'a Loaded,
    folder: &'a Path,
    key: PrivateKey,
    boot: String,
    user: u32,
}

/// Gives back what outlived a restart and was sealed to the key in this file.
pub async fn sweep(host: &Host, key: &Path) -> Result<Report, Failure> {
    process::outlive_signals();
    let loaded = host_find::load(host).map_err(|error| error.failure())?;
    let sweeper = Sweeper::of(host, &loaded, key).map_err(|error| error.failure())?;
    let mut report = Report::default();
    let found = sweeper.find(&mut report).map_err(|error| error.failure())?;
    sweeper.settle(found, &mut report).await;
    Ok(report)
}

impl<'a> Sweeper<'a> {
    fn of(host: &'a Host, loaded: &'a Loaded, key: &Path) -> Result<Self, Unfit> {
        let me = nix::unistd::geteuid();
        if me.is_root() {
            return Err(Unfit::Root);
        }
        let user = me.as_raw();
        let folder = loaded.config.survive_reboot.as_ref().ok_or(Unfit::NotAsked)?.directory.as_path();
        let owner = drop_box::owner(folder).map_err(Unfit::Folder)?;
        if owner != user {
            let (path, expected) = (folder.to_owned(), user.to_string());
            return Err(Unfit::Folder(Untrusted::Owner { path, owner, expected }));
        }
        let pem = files::read_private(key, &[0, user]).map_err(Unfit::Key)?;
        let pem = zeroize::Zeroizing::new(pem);
        let key = PrivateKey::of_pem(&pem).ok_or_else(|| Unfit::NotAKey(key.to_owned()))?;
        let boot = process::boot().ok_or(Unfit::NoBoot)?;
        Ok(Self { host, loaded, folder, key, boot, user })
    }

    /// What is to be given back now; what is over is removed, and what cannot be read is a warning.
    fn find(&self, report: &mut Report) -> Result<Vec<Found>, Unfit> {
        let listed = files::list(self.folder);
        let listed =
            listed.map_err(|source| Unfit::Folder(Untrusted::Io { path: self.folder.to_owned(), source }))?;
        let mut found = Vec::new();
        for path in listed {
            match self.read(&path) {
                Ok(one) => found.extend(one),
                Err(error) => {
                    let causes = Failure::of(Ident::SurvivorsUnusable, &error).sentence();
                    let name = path.file_name().unwrap_or_default().display();
                    report.warnings.push(shown(&format!("`{name}` is left alone: {causes}")));
                }
            }
        }
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Option<Found>, Refused> {
        let now = self.host.clock.now();
        // Others choose the times of files and leases, the last there is too: nothing is added to those.
        let long_ago = now - KEPT;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(drop_box::WRITING) {
            remove_if(path, files::written(path).is_none_or(|at| at < long_ago));
            return Ok(None);
        }
        let (stem, answer) = name
            .strip_suffix(ANSWER)
            .and_then(|stem| stem.strip_suffix('.'))
            .map_or((name, false), |stem| (stem, true));
        if stem.len() != 32 || !stem.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refused::Name);
        }
        if answer {
            remove_if(path, self.said(path).is_none_or(|answer| answer.until < long_ago));
            return Ok(None);
        }
        let bytes = match drop_box::read(path, MOST) {
            // Its job's own processes were quicker.
            Err(Untrusted::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            bytes => bytes?,
        };
        let escrowed = Escrowed::parse(&bytes)?;
        if escrowed.label.expires_at <= now {
            remove_if(path, true);
            return Ok(None);
        }
        // While its boot lasts the job's own processes give it back, and know better how.
        if escrowed.label.boot == self.boot {
            return Ok(None);
        }
        let mut lease = escrowed.open(&self.key)?;
        if let Need::Handle { secret, .. } = &lease.settle_with {
            self.host.mask.add(&secret.0);
        }
        // Ids are unique in one journal, and here are many.
        for id in std::iter::once(&mut lease.id).chain(&mut lease.children) {
            *id = format!("{}/{id}", escrowed.label.block);
        }
        Ok(Some(Found { path: path.to_owned(), job: escrowed.label.job, lease }))
    }

    /// Children before what they were made with, and not too many at once.
    async fn settle(&self, found: Vec<Found>, report: &mut Report) {
        let http = Http::new(self.loaded.config.network());
        let settling = SettleContext { host: &self.loaded.config, http: &http, clock: &self.host.clock };
        for wave in waves(found.iter().collect(), |found| &found.lease) {
            for some in wave.chunks(AT_ONCE) {
                let asked = some.iter().map(|found| self.one(&settling, found));
                for (found, answer) in some.iter().zip(join_all(asked).await) {
                    let (job, who) = (&found.job, &found.lease.principal);
                    match answer {
                        Ok(settlement) => {
                            let line = format!("swept job {job}: settled `{who}`: {settlement}");
                            report.lines.push(shown(&line));
                        }
                        Err(error) => report.warnings.push(shown(&format!(
                            "what became of `{who}` of job {job} could not be written down ({error}): the next sweep \
                             tries again"
                        ))),
                    }
                }
            }
        }
    }

    /// Gives one back. The answer is there before the request is: who comes after a crash must know of it.
    async fn one(&self, settling: &SettleContext<'_>, found: &Found) -> std::io::Result<Settlement> {
        let (lease, path) = (&found.lease, found.path.with_extension(ANSWER));
        let (earlier, until) = (self.said(&path).map(|answer| answer.settlement), lease.expires_at);
        let settlement = match earlier {
            Some(settlement) if settlement.is_final() => settlement,
            earlier => {
                say(&path, until, Settlement::Failed { reason: "it is being given back".into(), until })?;
                let terms = lease.terms(earlier.is_some());
                let settlement = ask(settling, &terms, self.loaded.config.deadlines.release.0).await;
                say(&path, until, settlement.clone())?;
                settlement
            }
        };
        if settlement.is_final() {
            files::remove(&found.path)?;
        }
        Ok(settlement)
    }

    /// An answer of this user's own.
    fn said(&self, path: &Path) -> Option<Answer> {
        serde_json::from_slice(&files::read_trusted(path, &[self.user]).ok()?).ok()
    }
}

fn say(path: &Path, until: DateTime<Utc>, settlement: Settlement) -> std::io::Result<()> {
    drop_box::leave(path, &serde_json::to_vec(&Answer { until, settlement })?)
}

fn remove_if(path: &Path, over: bool) {
    if over && let Err(error) = files::remove(path) {
        tracing::warn!(%error, "a file of a lease that has ended stays");
    }
}

/// What others wrote must not look like lines of ours.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
