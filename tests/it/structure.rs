//! The structure of the code: cargo holds which crate may use which; here is what cargo cannot hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::documents::root;
use crate::support::source::production;

/// A module by its path in its crate; the crate itself is the empty path.
type Module = Vec<String>;

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

/// The `src` folders of the program and of its crates.
fn packages() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    crates.chain([root().join("src")]).collect()
}

/// The module of a file.
fn module(source: &Path, file: &Path) -> Module {
    let mut parts: Module =
        file.strip_prefix(source).unwrap().iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    let last = parts.pop().unwrap();
    let name = last.trim_end_matches(".rs");
    if !["mod", "lib", "main"].contains(&name) {
        parts.push(name.to_owned());
    }
    parts
}

/// Code without comments.
fn code(text: &str) -> String {
    production(text).lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every path in a text that begins with `first`, with what stands in its braces.
fn paths(text: &str, first: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&format!("{first}::")) {
        if text[..at].chars().next_back().is_none_or(|before| !is_name(before) && before != ':') {
            walk(&text[at + first.len() + 2..], &mut vec![first.to_owned()], &mut found, is_name);
        }
    }
    found
}

/// Reads on from behind `::`; gives back what stands behind the path.
fn walk<'t>(
    rest: &'t str,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
    is_name: fn(char) -> bool,
) -> &'t str {
    if let Some(mut group) = rest.strip_prefix('{') {
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(behind) = group.strip_prefix('}') {
                return behind;
            }
            let before = group.len();
            group = walk(group, &mut path.clone(), found, is_name);
            // An alias, or what no path is made of.
            let end = group.find([',', '}']).unwrap_or(group.len());
            group = &group[end..];
            if group.is_empty() || group.len() == before {
                return "";
            }
        }
    }
    let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    path.push(rest[..end].to_owned());
    if let Some(deeper) = rest[end..].strip_prefix("::") {
        return walk(deeper, path, found, is_name);
    }
    found.push(path.clone());
    &rest[end..]
}

/// The modules that each module of a package uses. What stands in a module's own parents is no such use: a part may use
/// what the whole declares.
fn uses(source: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let texts: BTreeMap<Module, String> = sources(source)
        .into_iter()
        .filter(|file| !file.ends_with("main.rs"))
        .map(|file| (module(source, &file), code(&fs::read_to_string(&file).unwrap())))
        .collect();
    let used = |from: &Module, text: &str| {
        let children = texts.keys().filter(|child| child.len() == from.len() + 1 && child.starts_with(from));
        let children = children.flat_map(|child| paths(text, child.last().unwrap()));
        let named = ["crate", "super", "self"].into_iter().flat_map(|first| paths(text, first));
        named.chain(children).filter_map(|path| resolved(from, &path, &texts)).collect()
    };
    texts.iter().map(|(from, text)| (from.clone(), used(from, text))).collect()
}

fn resolved(from: &Module, path: &[String], texts: &BTreeMap<Module, String>) -> Option<Module> {
    let mut full = from.clone();
    for part in path {
        match part.as_str() {
            "crate" => full.clear(),
            "super" => drop(full.pop()),
            "self" => {}
            name => full.push(name.to_owned()),
        }
    }
    while !texts.contains_key(&full) {
        full.pop()?;
    }
    (!from.starts_with(&full)).then_some(full)
}

/// The first circle: what is left once all that uses nothing that is left was taken away.
fn circle(mut uses: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    loop {
        let left: BTreeSet<Module> = uses.keys().cloned().collect();
        let all = uses.len();
        // What uses nothing, and what nothing uses, stands in no circle.
        let wanted: BTreeSet<Module> = uses.values().flatten().cloned().collect();
        uses.retain(|one, used| used.iter().any(|other| left.contains(other)) && wanted.contains(one));
        if uses.len() == all {
            break;
        }
    }
    uses.keys().map(|module| module.join("::")).collect()
}

#[test]
fn no_modules_of_a_crate_use_each_other_in_a_circle() {
    for source in packages() {
        let name = source.strip_prefix(root()).unwrap().to_str().unwrap();
        assert_eq!(circle(uses(&source)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_circle_of_modules_would_be_seen() {
    let world = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(world.path().join(name), text).unwrap();
    fs::create_dir(world.path().join("a")).unwrap();
    write("lib.rs", "pub mod a; mod b; mod c; mod d;");
    write("a/mod.rs", "mod part; use crate::{c::X as Y, d};");
    write("a/part.rs", "use super::Whole; use crate::b::{self, Z};");
    write("b.rs", "// crate::a\nfn f() { super::a::f() }");
    write("c.rs", "use crate::d;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
    write("d.rs", "");
    // `a` declares its part and does not use it.
    assert_eq!(circle(uses(world.path())), Vec::<String>::new());
    write("a/mod.rs", "mod part; fn f() { part::g() }");
    assert_eq!(circle(uses(world.path())), ["a", "a::part", "b"]);
}

#[test]
fn no_file_grows_past_300_lines_beside_its_tests() {
    let files = packages().into_iter().flat_map(|source| sources(&source));
    let long: Vec<_> = files
        .map(|file| (production(&fs::read_to_string(&file).unwrap()).lines().count(), file))
        .filter(|(lines, _)| *lines > 300)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn no_crate_that_decides_can_reach_the_outside_world() {
    for pure in ["types", "pipeline", "policy", "record", "trust", "views"] {
        let manifest = fs::read_to_string(root().join(format!("crates/{pure}/Cargo.toml"))).unwrap();
        for door in ["dataflow-host", "reqwest", "tokio", "hyper", "nix", "rustix"] {
            let reaches = manifest.lines().any(|line| line.starts_with(door));
            assert!(!reaches, "crates/{pure} depends on {door}");
        }
    }
}

/// Which modules name memory-backed storage, or make folders of this user's: what a secret is written into.
#[test]
fn folders_of_secrets_have_one_door() {
    let uses = |text: &str| {
        let text = production(text);
        ["memory::", "files::private_folder(", "/dev/shm\""].iter().any(|one| text.contains(one))
    };
    let files = packages().into_iter().flat_map(|source| sources(&source));
    let found = files.filter(|file| uses(&fs::read_to_string(file).unwrap()));
    let found: BTreeSet<String> =
        found.map(|file| file.strip_prefix(root()).unwrap().display().to_string()).collect();
    let doors =
        ["crates/host/src/memory.rs", "crates/lease/src/private.rs", "crates/lease/src/encryption.rs"];
    // The journal's own folder and the state directory's: no secret lies there in clear where memory is to be had.
    let plain = ["crates/lease/src/journal.rs", "crates/lease/src/marker.rs"];
    // A socket and records hold no secret, and a rehearsal has none but made-up ones.
    let rehearsal = ["src/rehearse/input.rs", "src/rehearse/stage.rs", "src/rehearse/stand_in/artifacts.rs"];
    let harmless = rehearsal.into_iter().chain(["crates/host/src/serve.rs", "crates/sinks/src/file.rs"]);
    let expected = doors.into_iter().chain(plain).chain(harmless).map(str::to_owned);
    assert_eq!(found, expected.collect());
}
