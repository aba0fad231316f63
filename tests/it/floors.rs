//! The floors of `ARCHITECTURE.md`: a module uses its own floor or lower ones.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::source::production;

const FLOORS: &[&[&str]] = &[
    &[
        "at_rest",
        "claims",
        "competing",
        "condition",
        "credential",
        "dataset",
        "failure",
        "file_name",
        "near_name",
        "revocation",
        "secret",
        "settlement",
        "span",
    ],
    &["record"],
    &["host", "agent"],
    &["job", "config", "pipeline"],
    &["policy"],
    &["provider", "lease"],
    &["sink"],
    &["delivery"],
    &["hook", "deny", "revoke", "rehearse"],
    &["cli", "schemas"],
];

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to FLOORS and to ARCHITECTURE.md"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module of a file below `src`.
fn module(root: &Path, file: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().iter().next().unwrap();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules named by `crate::` paths in one file.
fn used(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name = name.trim_start();
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            found.push(name[..end].to_owned());
        }
    }
    found
}

#[test]
fn no_module_uses_a_higher_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let from = module(&root, &file);
        if from == "lib" || from == "main" {
            continue;
        }
        for to in used(&fs::read_to_string(&file).unwrap()) {
            if floor(&to) > floor(&from) {
                wrong.push(format!("{} (floor {}) uses `{to}`", file.display(), floor(&from)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_use_of_a_higher_floor_would_be_seen() {
    assert_eq!(used("use crate::cli::Face; crate::{hook, secret::Secret}"), ["cli", "hook", "secret"]);
}

#[test]
fn no_file_grows_past_300_lines_beside_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<_> = sources(&root)
        .into_iter()
        .map(|file| (production(&fs::read_to_string(&file).unwrap()).lines().count(), file))
        .filter(|(lines, _)| *lines > 300)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

/// Which modules name memory-backed storage, or make folders of this user's: what a secret is written into.
#[test]
fn folders_of_secrets_have_one_door() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let uses = |text: &str| {
        let text = production(text);
        ["memory::", "files::private_folder(", "/dev/shm\""].iter().any(|one| text.contains(one))
    };
    let found = sources(&root).into_iter().filter(|file| uses(&fs::read_to_string(file).unwrap()));
    let found: Vec<String> =
        found.map(|file| file.strip_prefix(&root).unwrap().display().to_string()).collect();
    let doors = ["host/memory.rs", "lease/private.rs", "lease/rest.rs"];
    // The journal's own folder and the state directory's: no secret lies there in clear where memory is to be had.
    let plain = ["lease/journal.rs", "lease/marker.rs"];
    // A socket and records hold no secret, and a rehearsal has none but made-up ones.
    let rehearsal = ["rehearse/input.rs", "rehearse/stage.rs", "rehearse/stand_in/artifacts.rs"];
    let harmless = rehearsal.into_iter().chain(["host/serve.rs", "sink/file.rs"]);
    let mut expected: Vec<&str> = doors.into_iter().chain(plain).chain(harmless).collect();
    expected.sort_unstable();
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}
