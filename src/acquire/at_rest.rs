//! What of a block lies on a disk: where it is not encrypted the record says so, or nothing is asked for.

use std::path::Path;

use dataflow_lease::journal::{Error, Journal};
use dataflow_lease::private;
use dataflow_lease::{Lease, Need, export::Export};
use dataflow_record::parts::Finding;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;

/// Sees to it that no secret of the block comes to lie on a disk as it is, before any is requested.
pub(crate) fn require(journal: &mut Journal, files: &Path) -> Result<(), Failure> {
    let failure = |error: &Error| {
        Failure::of(Ident::NotEncryptedAtRest, error).hinted(
            "`required.encryption-at-rest` of the host config wants it: mount a tmpfs with 1 MiB of room at `/dev/shm`, in \
             which this user may make a folder and from which no other user can take it away",
        )
    };
    journal.require_encryption().map_err(|error| failure(&error))?;
    if private::is_in_memory(files) {
        Ok(())
    } else {
        Err(failure(&Error::NotEncrypted { path: files.to_owned() }))
    }
}

/// What lies on a disk as it is.
pub(crate) fn finding(
    journal: &Journal,
    leases: &[Lease],
    export: &Export,
    folder: &Path,
) -> Option<Finding> {
    let handles = leases.iter().any(|lease| matches!(lease.settle_with, Need::Handle { .. }));
    let covered = export.previous().iter().any(|variable| variable.previous.is_some());
    let in_journal = (handles || covered) && !journal.encrypts();
    let in_files = export.has_files() && !private::is_in_memory(folder);
    let what = match (in_journal, in_files) {
        (false, false) => return None,
        (true, false) => "what gives leases back, and what variables were",
        (false, true) => "files of credentials",
        (true, true) => "what gives leases back, what variables were, and files of credentials",
    };
    let why = "there is no memory-backed folder of this user";
    Some(Finding::new(
        finding::Ident::NotEncryptedAtRest,
        format!("{what} lie on the disk as they are, readable by this user: {why}"),
    ))
}
