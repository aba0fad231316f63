//! The journal of one block of one job: append-only, each line checked, durable before it counts.
//!
//! A line is the first 16 hexadecimal digits of the SHA-256 of its JSON, a space, the JSON. A torn
//! tail (a crash in mid-write) is cut; a line that is damaged is left out, and what follows it counts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::encryption::{self, Key};
pub use super::entry::{Entry, Exported, Intent, Opened};
pub use super::error::Error;
pub(super) use super::error::NAME;
use super::glance::Glance;
use super::lines::line;
pub use super::lines::{Parsed, parse};
use dataflow_host::files::{self, Untrusted};

/// The format that this version writes.
pub const VERSION: u32 = 1;

/// An open journal; the file is locked while this lives.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    opened: Opened,
    entries: Vec<Entry>,
    /// How many of them were there when it was opened.
    earlier: usize,
    damaged: usize,
    /// Whether secrets are written encrypted or not at all.
    strict: bool,
}

impl Journal {
    /// Begins a journal in a new folder. The first line is durable with the next [`Self::append`].
    pub fn create(folder: &Path, opened: Opened) -> Result<Self, Error> {
        files::private_folder(folder)?;
        let path = folder.join(NAME);
        let not_durable = |source| Error::NotDurable { path: path.clone(), source };
        let file = files::open_append(&path, true).map_err(not_durable)?;
        lock(&file, &path)?;
        let mut journal = Self {
            folder: folder.to_owned(),
            file,
            opened: opened.clone(),
            entries: Vec::new(),
            earlier: 0,
            damaged: 0,
            strict: false,
        };
        journal.write(&[Entry::Opened(opened)])?;
        Ok(journal)
    }

    /// Reads a journal and takes it for this process alone; `Busy` when another has it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let file = files::open_append(&path, false);
        Self::take(folder, file.map_err(|source| Untrusted::Io { path, source })?)
    }

    // Locked first and read then: whoever had it in between may have written to it, or closed it.
    fn take(folder: &Path, file: File) -> Result<Self, Error> {
        let path = folder.join(NAME);
        lock(&file, &path)?;
        if files::is_gone(&file).map_err(|source| Untrusted::Io { path: path.clone(), source })? {
            return Err(Error::Busy { path });
        }
        let bytes = files::read_open(&file, &path, &[nix::unistd::geteuid().as_raw()])?;
        files::close_to_others(&file).map_err(|source| Untrusted::Io { path: path.clone(), source })?;
        let Parsed { entries, length, damaged } = parse(&bytes);
        let mut entries = unsealed(entries, folder).into_iter();
        let Some(Entry::Opened(opened)) = entries.next() else { return Err(Error::Headless { path }) };
        if length < bytes.len() {
            // What is written next must begin a line, and not end a torn one.
            file.set_len(length as u64).map_err(|source| Error::NotDurable { path, source })?;
        }
        let entries: Vec<Entry> = entries.collect();
        Ok(Self {
            folder: folder.to_owned(),
            file,
            opened,
            earlier: entries.len(),
            entries,
            damaged,
            strict: false,
        })
    }

    /// Whose journal a folder holds, without taking it, and without reading more than that.
    pub fn peek(folder: &Path) -> Option<Opened> {
        match Glance::at(folder) {
            Glance::Of(opened) => Some(*opened),
            _ => None,
        }
    }

    /// How many of its lines were damaged, and tell nothing: a torn tail is none of them.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Writes entries so that a power cut cannot lose them; an error means that they are not durable.
    /// In memory they count all the same, so that this process can still give back what was lent.
    pub fn append(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let durable = self.write(&entries).and_then(|()| {
            let durable = files::sync(&self.file).and_then(|()| self.sync_names());
            durable.map_err(|source| Error::NotDurable { path: self.folder.join(NAME), source })
        });
        self.entries.extend(entries);
        durable
    }

    /// Writes entries that the next [`Self::append`] or [`Self::syncing`] makes durable: a power cut before loses them.
    pub fn note(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let written = self.write(&entries);
        self.entries.extend(entries);
        written
    }

    /// What makes durable whatever was noted, on any thread. Not for a journal's first entries: its file may lose its name.
    pub fn syncing(&self) -> impl FnOnce() -> Result<(), Error> + Send + use<> {
        let (file, path) = (self.file.try_clone(), self.folder.join(NAME));
        move || file.and_then(|file| files::sync(&file)).map_err(|source| Error::NotDurable { path, source })
    }

    /// Leaves out of memory the links that were sealed and could not be made durable.
    pub fn forget_links(&mut self) {
        self.entries.retain(|entry| !matches!(entry, Entry::Sealed(_)));
    }

    // The first time, the names of file and folder must last as well.
    fn sync_names(&self) -> io::Result<()> {
        if !self.entries.is_empty() {
            return Ok(());
        }
        files::sync_folder(&self.folder)?;
        files::sync_folder(self.folder.parent().unwrap_or(&self.folder))
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let not_durable = |source| Error::NotDurable { path: self.folder.join(NAME), source };
        let sealed = self.sealed(entries)?;
        let lines = sealed.iter().map(line).collect::<Result<String, _>>().map_err(not_durable)?;
        let lines = zeroize::Zeroizing::new(lines);
        let before = self.file.metadata().map_err(not_durable)?.len();
        files::append(&self.file, lines.as_bytes()).map_err(|source| {
            // Half a line would hide every later one; where even this fails, the check sums tell.
            drop(self.file.set_len(before));
            not_durable(source)
        })
    }

    // Where nothing is memory-backed the journal, which only this user can read, holds them as they are.
    fn sealed(&self, entries: &[Entry]) -> Result<Vec<Entry>, Error> {
        let mut entries = entries.to_vec();
        let mut secrets: Vec<_> = entries.iter_mut().flat_map(encryption::secrets).collect();
        if secrets.is_empty() {
            return Ok(entries);
        }
        let key = Key::made_for(&self.folder);
        for kept in &mut secrets {
            match key.as_ref().and_then(|key| key.seal(&kept.0)) {
                Some(sealed) => kept.0 = sealed,
                None if self.strict => return Err(Error::NotEncrypted { path: self.folder.join(NAME) }),
                None => {}
            }
        }
        Ok(entries)
    }

    /// From now on secrets are written encrypted or not at all; an error where that cannot be.
    pub fn require_encryption(&mut self) -> Result<(), Error> {
        self.strict = true;
        if self.encrypts() { Ok(()) } else { Err(Error::NotEncrypted { path: self.folder.join(NAME) }) }
    }

    /// Whether secrets are written encrypted.
    pub fn encrypts(&self) -> bool {
        Key::made_for(&self.folder).is_some()
    }

    /// Removes the journal and everything beside it: the job's account is closed.
    ///
    /// The key goes first: a journal without one is closed by whoever comes next, and a key without a journal by
    /// nobody. There may be one of which no entry tells, made for a line that was not written.
    pub fn close(self) -> io::Result<()> {
        Key::forget(&self.folder);
        files::remove(&self.folder)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whose it is.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Everything after the first line.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Of that, what earlier processes wrote, or any other process that can write there.
    pub(super) fn earlier(&self) -> &[Entry] {
        self.entries.get(..self.earlier).unwrap_or_default()
    }

    /// Of that, what this process wrote.
    pub(super) fn own(&self) -> &[Entry] {
        self.entries.get(self.earlier..).unwrap_or_default()
    }

    /// In memory, other entries in the place of what earlier processes wrote.
    pub(super) fn replace_earlier(&mut self, entries: Vec<Entry>) {
        let own = self.entries.split_off(self.earlier.min(self.entries.len()));
        self.earlier = entries.len();
        self.entries = entries;
        self.entries.extend(own);
    }
}

/// Entries with their secrets, as far as the key is still there; the others stay encrypted.
fn unsealed(mut entries: Vec<Entry>, folder: &Path) -> Vec<Entry> {
    let mut sealed: Vec<_> =
        entries.iter_mut().flat_map(encryption::secrets).filter(|kept| encryption::is_sealed(kept)).collect();
    if !sealed.is_empty()
        && let Some(key) = Key::of(folder)
    {
        for kept in &mut sealed {
            kept.0 = key.open(&kept.0).unwrap_or_else(|| kept.0.clone());
        }
    }
    entries
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Busy { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::NotDurable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::lines::check;
    use super::*;
    use dataflow_types::at_rest::AtRest;
    use dataflow_types::secret::{Fingerprint, Secret};
    use dataflow_types::settlement::Settlement;

    fn intent(id: &str) -> Entry {
        Entry::Intent(Intent {
            id: id.into(),
            provider: "aws".into(),
            session: "s".into(),
            latest: DateTime::UNIX_EPOCH,
        })
    }

    fn settled(id: &str) -> Entry {
        Entry::Settled { id: id.into(), settlement: Settlement::Expires { at: DateTime::UNIX_EPOCH } }
    }

    fn written(entries: Vec<Entry>) -> (tempfile::TempDir, PathBuf) {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("job");
        Journal::create(&folder, Opened::of_nobody()).unwrap().append(entries).unwrap();
        (state, folder)
    }

    #[test]
    fn what_was_appended_reads_back() {
        let (_state, folder) = written(vec![intent("1"), settled("1")]);
        let journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.opened(), &Opened::of_nobody());
        assert_eq!(journal.settlements().len(), 1);
        assert!(journal.lost_intents().is_empty());
    }

    #[test]
    fn an_intent_without_an_answer_is_lost() {
        let (_state, folder) = written(vec![intent("1"), intent("2"), settled("2")]);
        let journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.lost_intents().iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_its_whole_lines() {
        let (_state, folder) = written(vec![intent("1"), settled("1")]);
        let bytes = std::fs::read(folder.join(NAME)).unwrap();
        for length in 0..=bytes.len() {
            let whole = bytes[..length].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(parse(&bytes[..length]).entries.len(), whole, "cut at {length}");
        }
    }

    #[test]
    fn writing_goes_on_after_a_torn_tail() {
        let (_state, folder) = written(vec![intent("1")]);
        let path = folder.join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&path, bytes).unwrap();
        Journal::open(&folder).unwrap().append(vec![settled("2")]).unwrap();
        assert_eq!(Journal::open(&folder).unwrap().settlements().len(), 1);
    }

    #[test]
    fn a_flipped_byte_takes_its_own_line_away_and_no_other() {
        let (_state, folder) = written(vec![intent("1"), settled("1")]);
        let bytes = std::fs::read(folder.join(NAME)).unwrap();
        for (index, mask) in (0..bytes.len()).flat_map(|index| [(index, 0x01), (index, 0x80)]) {
            let mut bytes = bytes.clone();
            let first = !bytes[..index].contains(&b'\n');
            // With the end of a line two lines become one, and the last is no line.
            let lost = if bytes[index] == b'\n' { 2 } else { 1 };
            bytes[index] ^= mask;
            let parsed = parse(&bytes);
            let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
            if first {
                assert!(parsed.entries.is_empty(), "byte {index}");
            } else {
                assert!(parsed.entries.len() >= 3 - lost && parsed.entries.len() < 3, "byte {index}");
                assert!(parsed.entries.len() + parsed.damaged == lines, "byte {index}");
            }
        }
    }

    #[test]
    fn two_processes_cannot_hold_one_journal() {
        let (_state, folder) = written(vec![]);
        let _held = Journal::open(&folder).unwrap();
        assert!(matches!(Journal::open(&folder), Err(Error::Busy { .. })));
    }

    #[test]
    fn what_another_process_wrote_before_we_had_it_is_seen_and_kept() {
        let (_state, folder) = written(vec![intent("1")]);
        let other = Journal::open(&folder).unwrap();
        let ours = files::open_append(&folder.join(NAME), false).unwrap();
        { other }.append(vec![settled("1")]).unwrap();
        assert_eq!(Journal::take(&folder, ours).unwrap().settlements().len(), 1);
        assert_eq!(Journal::open(&folder).unwrap().settlements().len(), 1);
    }

    #[test]
    fn what_another_process_closed_before_we_had_it_is_not_taken() {
        let (_state, folder) = written(vec![intent("1")]);
        let other = Journal::open(&folder).unwrap();
        let ours = files::open_append(&folder.join(NAME), false).unwrap();
        other.close().unwrap();
        assert!(matches!(Journal::take(&folder, ours), Err(Error::Busy { .. })));
        assert!(Journal::open(&folder).is_err() && !folder.exists());
    }

    #[test]
    fn entries_of_a_newer_version_are_passed_over() {
        let json = r#"{"entry":"from-the-future","x":1}"#;
        let text = format!("{} {json}\n", check(json));
        assert!(matches!(parse(text.as_bytes()).entries.as_slice(), [Entry::Unknown]));
    }

    #[test]
    fn debug_of_an_entry_does_not_show_previous_values() {
        let previous = Some(AtRest(Secret::new("old-secret-value")));
        let entry = Entry::Rebased { name: "X".into(), previous };
        assert!(!format!("{entry:?}").contains("old-secret"));
    }

    #[test]
    fn a_rebased_variable_goes_back_to_what_it_was_before_both_blocks() {
        let exporting = |previous: Option<&str>| Exported {
            name: "X".into(),
            fingerprint: Fingerprint::of(b"b"),
            previous: previous.map(|text| AtRest(Secret::new(text))),
        };
        let (_state, folder) = written(vec![
            Entry::Exporting { variables: vec![exporting(Some("a"))] },
            Entry::Rebased { name: "X".into(), previous: None },
        ]);
        assert!(Journal::open(&folder).unwrap().exported()[0].previous.is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_secret_is_on_the_disk_and_without_its_key_none_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("block");
        let mut journal = Journal::create(&folder, Opened::of_nobody()).unwrap();
        let previous = Some(AtRest(Secret::new("old-secret-value")));
        let exported = Exported { name: "TOKEN".into(), fingerprint: Fingerprint::of(b""), previous };
        journal.append(vec![Entry::Exporting { variables: vec![exported] }]).unwrap();
        drop(journal);
        let bytes = std::fs::read(folder.join(NAME)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("old-secret-value"));
        let before = |journal: &Journal| {
            journal.exported()[0].previous.as_ref().map(|previous| previous.0.expose().to_owned())
        };
        assert_eq!(before(&Journal::open(&folder).unwrap()).as_deref(), Some("old-secret-value"));
        Key::forget(&folder);
        assert_eq!(before(&Journal::open(&folder).unwrap()), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_key_goes_with_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("block");
        let mut journal = Journal::create(&folder, Opened::of_nobody()).unwrap();
        let previous = Some(AtRest(Secret::new("old-secret-value")));
        journal.append(vec![Entry::Rebased { name: "TOKEN".into(), previous }]).unwrap();
        assert!(Key::of(&folder).is_some());
        journal.close().unwrap();
        assert!(Key::of(&folder).is_none());
    }
}
