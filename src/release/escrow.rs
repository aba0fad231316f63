//! What a sweeper of another user needs after a restart of this host: left by the job's own processes, each lease
//! sealed to that sweeper, and taken away when the lease has come to its end. And what the sweeper says of it then.

use std::path::{Path, PathBuf};

use crate::context::Context;
use dataflow_config::survive_reboot::SurviveReboot;
use dataflow_host::drop_box;
use dataflow_host::files::{self, Untrusted};
use dataflow_lease::Lease;
use dataflow_lease::escrow::{Answer, Label, PublicKey, seal};
use dataflow_lease::journal::Journal;
use dataflow_record::parts::Finding;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;
use dataflow_types::secret::Fingerprint;
use dataflow_types::settlement::Settlement;

/// How the name of an answer ends.
pub(crate) const ANSWER: &str = "settled";

/// Why a lease will not survive a restart.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error("the folder of `survive-reboot` cannot be used")]
    Folder(#[source] Untrusted),
    #[error("the public key of `survive-reboot` cannot be used")]
    Key(#[source] Untrusted),
    #[error("`{0}` is no X25519 public key in PEM")]
    NotAKey(PathBuf),
    #[error("this system does not tell its boots apart")]
    NoBoot,
    #[error("`{path}` cannot be written")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a lease cannot be sealed")]
    Unsealed,
}

impl NotKept {
    fn failure(&self) -> Failure {
        Failure::of(Ident::SurvivorNotKept, self).hinted(
            "`survive-reboot.directory` must be a folder of the sweeper's user in which the agent's may write, and \
             `survive-reboot.public-key` what `openssl pkey -pubout` wrote; docs/configuration.md shows both",
        )
    }
}

/// Leaves the leases that somebody must give back, before anything of them is handed over. Where the host config does
/// not require it, what went wrong is something to tell.
pub(crate) fn leave(
    context: &Context<'_>,
    journal: &Journal,
    leases: &[Lease],
) -> Result<Option<Finding>, Failure> {
    let config = &context.loaded.config;
    let given_back: Vec<&Lease> = leases.iter().filter(|lease| lease.is_given_back()).collect();
    let Some(survive) = config.survive_reboot.as_ref().filter(|_| !given_back.is_empty()) else {
        return Ok(None);
    };
    match write(survive, journal, &given_back) {
        Ok(()) => Ok(None),
        Err(error) if config.required.survive_reboot => Err(error.failure()),
        Err(error) => Ok(Some(Finding::new(
            finding::Ident::SurvivorNotKept,
            format!(
                "after a restart of the host leases would end by expiry alone: {}",
                error.failure().sentence()
            ),
        ))),
    }
}

fn write(survive: &SurviveReboot, journal: &Journal, leases: &[&Lease]) -> Result<(), NotKept> {
    let owner = drop_box::owner(&survive.directory).map_err(NotKept::Folder)?;
    let owners = [0, owner, nix::unistd::geteuid().as_raw()];
    let pem = files::read_named(&survive.public_key, &owners).map_err(NotKept::Key)?;
    let key = PublicKey::of_pem(&pem).ok_or_else(|| NotKept::NotAKey(survive.public_key.clone()))?;
    let opened = journal.opened();
    let boot = opened.bootstrap.boot.as_deref().ok_or(NotKept::NoBoot)?;
    let block = journal.folder().file_name().unwrap_or_default().to_string_lossy();
    for lease in leases {
        let label = Label::of(lease, boot, &opened.job, &block);
        let bytes = seal(&label, lease, &key).ok_or(NotKept::Unsealed)?;
        let path = place(survive, journal.folder(), lease);
        drop_box::leave(&path, &bytes).map_err(|source| NotKept::Write { path, source })?;
    }
    Ok(())
}

/// Where a lease is left: a name that is this one credential's alone, and says nothing of it.
fn place(survive: &SurviveReboot, journal: &Path, lease: &Lease) -> PathBuf {
    let parts =
        [journal.as_os_str().as_encoded_bytes(), lease.id.as_bytes(), lease.fingerprint.as_str().as_bytes()];
    survive.directory.join(Fingerprint::of(&parts.join(&0)).short(32))
}

/// Takes away what was left of those leases of a journal for which it is needed no more.
pub(crate) fn forget(context: &Context<'_>, journal: &Journal, over: impl Fn(&Lease) -> bool) {
    let Some(survive) = &context.loaded.config.survive_reboot else { return };
    for lease in journal.leases().filter(|lease| over(lease)) {
        if let Err(error) = files::remove(&place(survive, journal.folder(), lease)) {
            tracing::warn!(%error, "what a sweep after a restart would need stays, of a lease that has ended");
        }
    }
}

/// What the sweeper of another user says became of a lease: its word counts, for the folder is its own.
pub(crate) fn answer(context: &Context<'_>, journal: &Path, lease: &Lease) -> Option<Settlement> {
    let survive = context.loaded.config.survive_reboot.as_ref()?;
    let owner = drop_box::owner(&survive.directory).ok()?;
    let path = place(survive, journal, lease).with_extension(ANSWER);
    let answer: Answer = serde_json::from_slice(&files::read_trusted(&path, &[owner]).ok()?).ok()?;
    Some(answer.settlement).filter(Settlement::is_final)
}

/// Whether that sweeper can still give a lease back, or has.
pub(crate) fn waits(context: &Context<'_>, journal: &Path, lease: &Lease) -> bool {
    let survive = context.loaded.config.survive_reboot.as_ref();
    survive.is_some_and(|survive| files::length(&place(survive, journal, lease)).is_ok())
        || answer(context, journal, lease).is_some()
}
