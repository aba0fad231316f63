//! Entries of `credentials` checked against each other, wherever each was written.

use std::collections::BTreeMap;

use super::place::Error;
use super::provider_request::ProviderRequest;
use dataflow_types::near_name::nearest;

/// One entry among others, wherever each was written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where it stands: `credentials[1].aws`.
    pub place: &'a str,
    /// What others call it.
    pub name: Option<&'a str>,
    /// Whether the step sees it.
    pub export: bool,
    /// Whether it may turn out not to be asked for.
    pub conditional: bool,
    /// What it asks for.
    pub ask: &'a ProviderRequest,
}

/// Checks entries against each other: no name, variable or file twice, every source there, and no cycle. Where
/// conditions are open, of two that exclude each other either may be there: such entries are checked when it is known.
pub fn check_together(file: &str, entries: &[Entry<'_>]) -> Result<(), Error> {
    let (mut names, mut files) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries.iter().filter(|entry| !entry.conditional) {
        if let Some(other) = entry.name.and_then(|name| names.insert(name, entry.place)) {
            let problem = format!("`{}` is the name of `{other}` already", entry.name.unwrap_or_default());
            return Err(Error::at(file, entry.place, problem));
        }
        if entry.export {
            check_exports(file, entry, entries)?;
        }
        let written = if entry.export { entry.ask.kind().files() } else { Vec::new() };
        for file_name in written {
            let problem = format!("would write `{file_name}`, which ");
            if let Some(other) = files.insert(file_name, entry.place) {
                return Err(Error::at(file, entry.place, format!("{problem}`{other}` writes too")));
            }
        }
    }
    names.extend(entries.iter().filter_map(|entry| Some((entry.name?, entry.place))));
    let names: Vec<&str> = names.keys().copied().collect();
    every_source_is_there(file, entries, &names)?;
    if entries.iter().any(|entry| entry.conditional) { Ok(()) } else { no_cycle(file, entries) }
}

fn every_source_is_there(file: &str, entries: &[Entry<'_>], names: &[&str]) -> Result<(), Error> {
    for entry in entries {
        for (key, source) in entry.ask.kind().sources() {
            if !names.contains(&source) {
                let error = Error::at(
                    file,
                    format!("{}.{key}", entry.place),
                    format!("no credential here has the name `{source}`"),
                );
                return Err(match nearest(source, names) {
                    Some(near) => error.hinted(format!("did you mean `{near}`?")),
                    None => error.hinted("give the other credential a `name`"),
                });
            }
        }
    }
    Ok(())
}

/// Nothing that this entry hands over is handed over by an earlier one, but for files that they share.
fn check_exports(file: &str, entry: &Entry<'_>, entries: &[Entry<'_>]) -> Result<(), Error> {
    let kind = entry.ask.kind();
    let (exports, shared, exclusive) = (kind.exports(), kind.shared(), kind.exclusive());
    let earlier = entries.iter().take_while(|other| other.place != entry.place);
    for other in earlier.filter(|other| other.export && !other.conditional) {
        let (theirs, theirs_shared) = (other.ask.kind().exports(), other.ask.kind().shared());
        let both_share = |name: &&String| shared.contains(name) && theirs_shared.contains(name);
        let twice = exports.iter().find(|name| theirs.contains(name) && !both_share(name));
        let place = other.place;
        if let Some(name) = twice {
            let problem = format!("would export `{name}`, which `{place}` exports too");
            return Err(Error::at(file, entry.place, problem).hinted(
                "one variable holds one value: use another name or prefix, a profile, or two steps",
            ));
        }
        let other = other.ask.kind().exclusive();
        if let Some(what) = exclusive.iter().find(|what| other.contains(what)) {
            let problem = format!("would make {what}, which `{place}` makes too");
            return Err(Error::at(file, entry.place, problem));
        }
    }
    Ok(())
}

/// Takes away whatever has no source left, again and again: what stays goes round in a circle.
fn no_cycle(file: &str, entries: &[Entry<'_>]) -> Result<(), Error> {
    let mut waiting: Vec<&Entry<'_>> = entries.iter().collect();
    loop {
        let names: Vec<&str> = waiting.iter().filter_map(|entry| entry.name).collect();
        let needs_another =
            |entry: &&Entry<'_>| entry.ask.kind().sources().iter().any(|(_, source)| names.contains(source));
        let still: Vec<&Entry<'_>> = waiting.iter().copied().filter(needs_another).collect();
        if still.len() == waiting.len() {
            break;
        }
        waiting = still;
    }
    match waiting.first() {
        None => Ok(()),
        Some(entry) => Err(Error::at(file, entry.place, "is made with a credential that is made with it")),
    }
}
