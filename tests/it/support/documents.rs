//! Reading the project's own documents: sections, tables, examples.

use std::fs;
use std::path::PathBuf;

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One file of the project.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document, by its path in the project.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let foreign = name.starts_with('.') || ["target", "fuzz/target"].contains(&name.as_str());
            if path.is_dir() && !foreign {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push((name.clone(), read(&name)));
            }
        }
    }
    found.sort();
    found
}

/// The lines of a document, each with whether it stands outside of fenced examples.
pub(crate) fn lines(document: &str) -> impl Iterator<Item = (bool, &str)> {
    document.lines().scan(false, |fenced, line| {
        let fence = line.starts_with("```");
        let outside = !*fenced && !fence;
        *fenced ^= fence;
        Some((outside, line))
    })
}

/// What stands below a heading, up to the next heading of any level.
#[track_caller]
pub(crate) fn section(document: &str, heading: &str) -> String {
    let mut after = lines(document).skip_while(|(outside, line)| !(*outside && *line == heading));
    assert!(after.next().is_some(), "no heading `{heading}`");
    let body = after.take_while(|(outside, line)| !(*outside && line.starts_with('#')));
    body.flat_map(|(_, line)| [line, "\n"]).collect()
}

/// What stands below a heading of the second level, up to the next of these, headings below it and all.
#[track_caller]
pub(crate) fn chapter(document: &str, heading: &str) -> String {
    let mut after = lines(document).skip_while(|(outside, line)| !(*outside && *line == heading));
    assert!(after.next().is_some(), "no heading `{heading}`");
    let body = after.take_while(|(outside, line)| !(*outside && line.starts_with("## ")));
    body.flat_map(|(_, line)| [line, "\n"]).collect()
}

/// The rows of every table in a text, without their heads.
#[track_caller]
pub(crate) fn all_cells(text: &str) -> Vec<Vec<String>> {
    tables(text).into_iter().flat_map(|table| table.into_iter().skip(2)).collect()
}

/// The rows of the last table in a text, without its head.
#[track_caller]
pub(crate) fn cells(text: &str) -> Vec<Vec<String>> {
    let table = tables(text).pop().unwrap_or_else(|| panic!("no table in: {text}"));
    table.into_iter().skip(2).collect()
}

fn tables(text: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables: Vec<Vec<Vec<String>>> = vec![Vec::new()];
    for line in text.lines() {
        match line.strip_prefix("| ").or_else(|| line.strip_prefix("|")) {
            Some(row) if line.ends_with('|') => {
                let row = row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
                tables.last_mut().unwrap().push(row.collect());
            }
            _ if tables.last().is_some_and(|table| !table.is_empty()) => tables.push(Vec::new()),
            _ => {}
        }
    }
    tables.retain(|table| table.len() > 2);
    tables
}

/// The fenced examples of these languages.
pub(crate) fn blocks(document: &str, languages: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in document.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some((wanted, text))) => {
                if *wanted {
                    found.push(std::mem::take(text));
                }
                open = None;
            }
            (Some(language), None) => open = Some((languages.contains(&language.trim()), String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}
