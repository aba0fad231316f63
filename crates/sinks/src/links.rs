//! The links of a chain, found among the files of a folder that others write to.

use std::path::{Path, PathBuf};

use dataflow_host::files;
use dataflow_record::{self as record, Link};
use dataflow_types::file_name::plain;
use dataflow_types::secret::Fingerprint;

/// One plugin block's account: its START, and each link that follows the one before it.
#[derive(Debug)]
pub struct Chain {
    pub(super) records: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) links: Vec<Link>,
    pub(super) last: Fingerprint,
    /// Whether nothing lies beside it that should be of it and cannot be believed.
    pub(super) is_whole: bool,
}

/// Why a file beside a chain is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It cannot be read.
    #[error("cannot be read: {}", why(.0))]
    Unreadable(#[from] files::Untrusted),
    /// It is no link of a version that is known.
    #[error("is no link that this version can read: {0}")]
    NoLink(String),
    /// It does not follow the one before.
    #[error("does not follow the link before it: one is missing, or was changed")]
    Torn,
    /// Its name says one job, and it says another.
    #[error("is a link of job `{0}`, whatever its name says")]
    Another(String),
    /// There are several beginnings.
    #[error("is not the only START of its chain: one of them is forged")]
    Twice,
}

/// Why a file is not read, without its name.
fn why(untrusted: &files::Untrusted) -> String {
    match untrusted {
        files::Untrusted::Io { source, .. } => source.to_string(),
        files::Untrusted::NotRegular { .. } => "it is no regular file".to_owned(),
        other => other.to_string(),
    }
}

/// The files whose names say that they are of one chain. A process that can write to the folder can add others.
pub(super) struct Group<'a> {
    pub(super) records: &'a Path,
    pub(super) folder: PathBuf,
    pub(super) doubts: Vec<(PathBuf, Broken)>,
    pub(super) unattached: Vec<Link>,
}

/// A link that was read, with the digest of its bytes.
type Read<'p> = (Link, Fingerprint, &'p PathBuf);

impl Group<'_> {
    /// A chain from each START, as far as links follow one another. What is no link, follows none or is there twice is
    /// reported, and takes nothing from the others.
    pub(super) fn chains(&mut self, job: &str, paths: &[PathBuf]) -> Vec<Chain> {
        let mut rest: Vec<Read<'_>> = Vec::new();
        for path in paths {
            match link(path, job) {
                // A copy says nothing new.
                Ok((_, digest)) if rest.iter().any(|(_, other, _)| *other == digest) => {}
                Ok((link, digest)) => rest.push((link, digest, path)),
                Err(problem) => self.doubts.push((path.clone(), problem)),
            }
        }
        let (starts, mut rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(link, ..)| link.sequence == 0 && link.previous.is_none());
        if starts.len() > 1 {
            self.doubts.extend(starts.iter().map(|(.., path)| ((*path).clone(), Broken::Twice)));
        }
        let mut chains: Vec<Chain> = starts.into_iter().map(|start| self.from(start, &mut rest)).collect();
        for (link, _, path) in rest {
            self.doubts.push((path.clone(), Broken::Torn));
            self.unattached.push(link);
        }
        for chain in &mut chains {
            chain.is_whole = self.doubts.is_empty();
        }
        chains
    }

    /// The chain that begins with a link, of what follows it among the others.
    fn from(&self, (start, digest, _): Read<'_>, rest: &mut Vec<Read<'_>>) -> Chain {
        let (mut links, mut last) = (vec![start], digest);
        loop {
            let next = u32::try_from(links.len()).unwrap_or(u32::MAX);
            let follows =
                |(link, ..): &Read<'_>| link.sequence == next && link.previous.as_ref() == Some(&last);
            let Some(at) = rest.iter().position(follows) else { break };
            let (link, digest, _) = rest.swap_remove(at);
            links.push(link);
            last = digest;
        }
        let (records, folder) = (self.records.to_owned(), self.folder.clone());
        Chain { records, folder, links, last, is_whole: true }
    }
}

/// The link in a file that a job's name stands on.
fn link(path: &Path, job: &str) -> Result<(Link, Fingerprint), Broken> {
    let bytes = files::read_found(path)?;
    let link = record::read(&bytes).map_err(|error| Broken::NoLink(error.to_string()))?;
    if plain(&link.run.job) != job {
        return Err(Broken::Another(link.run.job));
    }
    Ok((link, Fingerprint::of(&bytes)))
}
