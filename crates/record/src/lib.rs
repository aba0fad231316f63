//! The record: the whole account of one job, made of links sealed one after the other.
//!
//! A link is canonical JSON (RFC 8785), written once; it carries the digest of the one before. The
//! schema is `schemas/record.json`. Nothing in a link is secret: secrets appear as digests.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use dataflow_types::file_name::plain;
use dataflow_types::secret::Fingerprint;

pub mod end;
mod macros;
pub mod parts;
pub mod place;
pub mod proof;

pub use end::{End, Late, SettledPart};
pub use parts::{Run, Start};
pub use place::Place;
pub use proof::Proof;

/// What the links of this version call themselves.
pub const SCHEMA: &str = "urn:buildkite-dataflow:record:1";

/// One sealed part of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Link {
    /// The schema and its version: `urn:buildkite-dataflow:record:1`.
    pub schema: String,
    /// Which part this is.
    pub kind: Kind,
    /// Its place in the chain, from 0.
    pub sequence: u32,
    /// The digest of the link before; absent in the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Fingerprint>,
    /// When it was sealed, by the host's clock.
    pub sealed_at: DateTime<Utc>,
    /// Which job, which block, which program.
    pub run: Run,
    /// How far it can be believed.
    pub proof: Proof,
    /// Before any step code ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start: Option<Box<Start>>,
    /// Leases settled while the job went on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled: Option<SettledPart>,
    /// The job's end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<Box<End>>,
    /// What came after the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub late: Option<Late>,
}

/// Which part of a record a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Before any step code.
    Start,
    /// In between.
    Settled,
    /// The end.
    End,
    /// After the end.
    Late,
}

impl Kind {
    /// The word in names of files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Settled => "settled",
            Self::End => "end",
            Self::Late => "late",
        }
    }
}

/// The part that a link carries.
#[derive(Debug)]
pub enum Part {
    /// START.
    Start(Box<Start>),
    /// Settled in between.
    Settled(SettledPart),
    /// END.
    End(End),
    /// LATE.
    Late(Late),
}

/// A sealed link, kept until every sink has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sealed {
    /// `start`, `settled`, `end`, `late`.
    pub kind: String,
    /// The digest of its bytes.
    pub digest: Fingerprint,
    /// Where it belongs in a sink, for earlier versions of this program: this one computes it from the document.
    pub path: String,
    /// Its bytes: canonical JSON.
    pub document: String,
}

/// Seals a link of `run`: the next after `earlier`, the links of the same journal. `folder` is where they belong in a
/// sink.
pub fn seal(
    part: Part,
    run: Run,
    folder: &str,
    earlier: &[&Sealed],
    now: DateTime<Utc>,
) -> Result<Sealed, serde_json::Error> {
    let sequence = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
    let previous = earlier.last().map(|link| link.digest.clone());
    let sealed = sealed(part, run, sequence, previous, now)?;
    Ok(Sealed { path: format!("{folder}/{}", sealed.path), ..sealed })
}

/// Seals the next link of a chain without its journal: `last` is the last, and `digest` is of its bytes.
/// The path is the file's name alone.
pub fn seal_after(
    part: Part,
    last: &Link,
    digest: Fingerprint,
    now: DateTime<Utc>,
) -> Result<Sealed, serde_json::Error> {
    let run = Run { producer: parts::PRODUCER.to_owned(), ..last.run.clone() };
    sealed(part, run, last.sequence.saturating_add(1), Some(digest), now)
}

fn sealed(
    part: Part,
    run: Run,
    sequence: u32,
    previous: Option<Fingerprint>,
    now: DateTime<Utc>,
) -> Result<Sealed, serde_json::Error> {
    let mut link = Link {
        schema: SCHEMA.to_owned(),
        kind: Kind::Start,
        sequence,
        previous,
        sealed_at: now,
        run,
        proof: Proof::default(),
        start: None,
        settled: None,
        end: None,
        late: None,
    };
    match part {
        Part::Start(start) => link.start = Some(start),
        Part::Settled(settled) => (link.kind, link.settled) = (Kind::Settled, Some(settled)),
        Part::End(end) => (link.kind, link.end) = (Kind::End, Some(Box::new(end))),
        Part::Late(late) => (link.kind, link.late) = (Kind::Late, Some(late)),
    }
    let bytes = serde_json_canonicalizer::to_vec(&link)?;
    let document = String::from_utf8(bytes.clone()).map_err(serde::de::Error::custom)?;
    let path = Place::beside(&document).map(|place| place.name).unwrap_or_default();
    Ok(Sealed { kind: link.kind.word().to_owned(), digest: Fingerprint::of(&bytes), path, document })
}

/// The chain that a file of this name belongs to, as `JOB.INSTANCE[.CONTAINER]`; `None` where no link
/// has such a name.
pub fn chain(name: &str) -> Option<&str> {
    let (chain, place) = name.strip_prefix("job-")?.strip_suffix(".json")?.rsplit_once('.')?;
    let (sequence, kind) = place.split_once('-')?;
    let kinds = [Kind::Start, Kind::Settled, Kind::End, Kind::Late];
    let number = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
    let parts = || chain.split('.');
    let named =
        (2..=3).contains(&parts().count()) && parts().all(|part| !part.is_empty() && plain(part) == part);
    (number && named && kinds.iter().any(|known| known.word() == kind)).then_some(chain)
}

/// Reads a link that this or another version of the program sealed.
pub fn read(bytes: &[u8]) -> Result<Link, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_name_and_nothing_else_is() {
        assert_eq!(chain("job-0194.abc.0-start.json"), Some("0194.abc"));
        assert_eq!(chain("job-0194.agent-hook.c1.12-end.json"), Some("0194.agent-hook.c1"));
        for name in [
            "job-0194.abc.0-start.json.gz",
            "job-0194.abc.0-begin.json",
            "job-0194.abc.x-start.json",
            "job-0194.0-start.json",
            "job-a.b.c.d.0-start.json",
            "job-a b.c.0-start.json",
            "job-..0-start.json",
            "notes.json",
        ] {
            assert_eq!(chain(name), None, "{name}");
        }
    }
}
