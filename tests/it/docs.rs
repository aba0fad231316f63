//! The documents against the code: what stands in a table is what the program does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use buildkite_dataflow::config::host::HostConfig;
use buildkite_dataflow::config::host_parse;
use buildkite_dataflow::config::place;
use buildkite_dataflow::config::step::Step;
use buildkite_dataflow::failure::{Class, Ident};
use buildkite_dataflow::finding;
use buildkite_dataflow::host::env::{SetBy, TABLE};
use buildkite_dataflow::pipeline::{Kind, Pipeline};
use buildkite_dataflow::rehearse::fixture::Fixture;
use serde_json::Value;

use crate::support::documents::{all, all_cells, blocks, cells, chapter, lines, read, root, section};
use crate::support::source::production;

/// The Rust files of the program and of its crates, by their path in the repository.
fn program() -> Vec<(String, String)> {
    sources("src").into_iter().chain(sources("crates")).collect()
}

/// The Rust files below a folder, by their path in the repository.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// What a file says outside of its tests, without any white space.
fn squeezed(text: &str) -> String {
    production(text).chars().filter(|c| !c.is_whitespace()).collect()
}

/// The first column of a section's table, without ticks and links.
fn first_column(document: &str, heading: &str) -> BTreeSet<String> {
    let rows = cells(&section(document, heading)).into_iter();
    rows.filter_map(|row| row.into_iter().next()).map(|cell| ticked(&cell).unwrap_or(cell)).collect()
}

/// What stands in the first pair of backticks.
fn ticked(text: &str) -> Option<String> {
    text.split('`').nth(1).map(str::to_owned)
}

/// A failure's row: its texts, the exit codes of all variants that have it, its meaning.
fn failures() -> Vec<Vec<String>> {
    let rows = Ident::ALL.chunk_by(|one, next| one.as_str() == next.as_str()).map(|same| {
        let codes: Vec<String> = same.iter().map(|one| one.class().exit_code().to_string()).collect();
        vec![format!("[`{0}`](#{0})", same[0]), codes.join(", "), same[0].meaning().to_owned()]
    });
    rows.collect()
}

#[test]
fn every_failure_and_finding_is_documented() {
    let document = read("docs/errors.md");
    assert_eq!(cells(&section(&document, "# Failures and findings")), failures());
    let findings = finding::Ident::ALL
        .iter()
        .map(|one| vec![format!("`{one}`"), one.links().to_owned(), one.meaning().to_owned()]);
    assert_eq!(cells(&section(&document, "## Findings")), findings.collect::<Vec<_>>());
}

#[test]
fn every_failure_has_its_section_and_every_section_its_failure() {
    let chapter = chapter(&read("docs/errors.md"), "## Failures");
    let sections: BTreeSet<&str> = chapter.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, Ident::ALL.iter().map(|one| one.as_str()).collect());
}

#[test]
fn every_failure_and_finding_is_one_that_some_code_reports() {
    let code: String = program().iter().map(|(_, text)| squeezed(text)).collect();
    for ident in finding::Ident::ALL {
        let name = format!("finding::Ident::{ident:?}");
        assert!(code.contains(&name), "`{ident}` is in the table and no code reports it");
    }
    let failures = code.replace("finding::Ident::", "");
    for ident in Ident::ALL {
        assert!(
            failures.contains(&format!("Ident::{ident:?}")),
            "`{ident}` is in the table and no code reports it"
        );
    }
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_classes() {
    let readme = read("README.md");
    let documented: Vec<u8> =
        cells(&section(&readme, "## Exit codes")).iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(documented, Class::ALL.map(Class::exit_code));
}

/// Every key of a schema, by its path; what `stop` defines is documented elsewhere.
fn keys(root: &Value, schema: &Value, stop: &str, place: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        if name.trim_start_matches("#/$defs/") != stop {
            keys(root, root.pointer(name.trim_start_matches('#')).unwrap(), stop, place, found);
        }
        return;
    }
    for one in ["allOf", "anyOf", "oneOf"].iter().filter_map(|list| schema[list].as_array()).flatten() {
        keys(root, one, stop, place, found);
    }
    if let Some(items) = schema.get("items") {
        keys(root, items, stop, &format!("{place}[]"), found);
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        keys(root, inner, stop, &place, found);
        found.insert(place);
    }
}

#[track_caller]
fn documents_every_key(heading: &str, schema: &str, stop: &str) {
    let schema: Value = serde_json::from_str(&read(schema)).unwrap();
    let mut found = BTreeSet::new();
    keys(&schema, &schema, stop, "", &mut found);
    // What a subject token may be is the same for every provider, and documented once.
    found.retain(|key| !key.contains(".token.") || key.starts_with("credentials[].aws.token."));
    // So is how a value of another credential is named.
    let again = |key: &str| [".source", ".field"].iter().any(|end| key.ends_with(end));
    let named = ["client-secret", "client-secret[]", "secret", "admin"];
    let is_named = |key: &str| named.iter().any(|name| key.contains(&format!(".{name}.")));
    found.retain(|key| !(again(key) && is_named(key)));
    // And where a private key is.
    found.retain(|key| !key.contains(".private-key.") || key.starts_with("credentials[].oauth.private-key."));
    let rows = all_cells(&chapter(&read("docs/configuration.md"), heading)).into_iter();
    let documented = rows.filter_map(|row| ticked(row.first()?)).collect::<BTreeSet<_>>();
    assert_eq!(documented, found);
}

#[test]
fn every_key_of_the_step_config_is_documented() {
    documents_every_key("## Step config", "schemas/step.json", "");
}

#[test]
fn every_key_of_the_host_config_is_documented() {
    documents_every_key("## Host config", "schemas/host.json", "Credential");
}

#[test]
fn the_readme_names_every_key_at_the_top_of_both_configs() {
    let readme = read("README.md");
    for (heading, schema) in [("### Options", "schemas/step.json"), ("### Host config", "schemas/host.json")]
    {
        let table =
            cells(&section(&readme, heading)).into_iter().map(|row| row[0].clone()).collect::<String>();
        let schema: Value = serde_json::from_str(&read(schema)).unwrap();
        for key in schema["properties"].as_object().unwrap().keys() {
            assert!(table.contains(&format!("`{key}`")), "{heading} does not name `{key}`");
        }
    }
}

#[test]
fn the_documented_defaults_are_the_host_configs_own() {
    let defaults = HostConfig::default();
    let document = read("docs/configuration.md");
    let rows = cells(&section(&document, "## Host config"));
    let default = |key: &str| {
        let row = rows.iter().find(|row| ticked(&row[0]).as_deref() == Some(key)).unwrap();
        ticked(&row[2]).unwrap()
    };
    for (key, span) in [
        ("limits.duration", defaults.limits.asked()),
        ("limits.token-lifetime", defaults.limits.token_lifetime),
        ("deadlines.grant", defaults.deadlines.grant),
        ("deadlines.release", defaults.deadlines.release),
        ("deadlines.retry", defaults.deadlines.retry),
    ] {
        assert_eq!(default(key).parse(), Ok(span), "{key}");
    }
    for (key, value) in [
        ("mode", format!("{:?}", defaults.mode)),
        ("verify", format!("{:?}", defaults.verify)),
        ("step-requests", format!("{:?}", defaults.step_requests)),
        ("log", format!("{:?}", defaults.log)),
        ("required.settlement", format!("{:?}", defaults.required.settlement)),
        ("required.record", format!("{:?}", defaults.required.record)),
        ("issuers", defaults.issuers.join(", ")),
    ] {
        assert_eq!(default(key), value.to_lowercase(), "{key}");
    }
}

#[test]
fn every_variable_that_is_read_is_in_security_md() {
    let document = read("SECURITY.md");
    let documented = cells(&section(&document, "## The environment"));
    let documented: Vec<_> =
        documented.iter().map(|row| (ticked(&row[0]).unwrap(), row[1].as_str(), row[2].as_str())).collect();
    let who = |set_by| match set_by {
        SetBy::Agent => "the agent",
        SetBy::AgentPerHook => "the agent, anew for each hook",
        SetBy::Anyone => "anyone in the job",
    };
    let read: Vec<_> = TABLE.iter().map(|one| (one.name.to_owned(), who(one.set_by), one.decides)).collect();
    assert_eq!(documented, read);
}

#[test]
fn every_variable_of_the_table_is_read_by_somebody() {
    let table = read("crates/host/src/env.rs");
    let kinds = ["BUILDKITE_", "DATAFLOW_", "AWS_", "VAULT_", "HOME"];
    let is_row = |line: &str| kinds.iter().any(|kind| line.contains(&format!(" = \"{kind}")));
    let rows = table.lines().filter(|line| line.starts_with("    ") && is_row(line));
    let names: Vec<&str> = rows.filter_map(|line| line.trim().split(' ').next()).collect();
    assert_eq!(names.len(), TABLE.len());
    let code: String = program().iter().map(|(_, text)| squeezed(text)).collect();
    for name in names {
        assert!(code.contains(&format!("env::{name}")), "`{name}` is in the table and nobody reads it");
    }
}

#[test]
fn every_word_of_a_settlement_is_documented() {
    let schema: Value = serde_json::from_str(&read("schemas/record.json")).unwrap();
    let words = schema["$defs"]["Settlement"]["oneOf"].as_array().unwrap();
    let words = words.iter().map(|one| one["properties"]["outcome"]["const"].as_str().unwrap().to_owned());
    assert_eq!(first_column(&read("docs/record.md"), "## Settlement words"), words.collect());
}

#[test]
fn every_kind_of_link_and_way_to_end_is_documented() {
    let schema: Value = serde_json::from_str(&read("schemas/record.json")).unwrap();
    let document = read("docs/record.md");
    let words = |name: &str| {
        let words = schema["$defs"][name]["oneOf"].as_array().unwrap().iter();
        words.map(|one| one["const"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(first_column(&document, "## Links"), words("Kind"));
    for name in ["JobOutcome", "SealedBy", "Level", "IdentityTrust", "ResultTrust", "DataTrust"] {
        for word in words(name) {
            assert!(document.contains(&format!("`{word}`")), "docs/record.md does not explain `{word}`");
        }
    }
}

/// What an example is, by its keys.
#[track_caller]
fn valid_example(file: &str, text: &str) {
    let value: Value = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
    if value.get("steps").is_some() {
        let pipeline =
            Pipeline::parse(text, None).unwrap_or_else(|error| panic!("{file}: {error:?}\n{text}"));
        for (_, step) in pipeline.walk() {
            let Kind::Command(command) = &step.kind else { continue };
            let plugins = command.jobs.iter().flat_map(|job| &job.plugins);
            for plugin in plugins.filter(|plugin| plugin.is_ours()) {
                let read = Step::read(plugin.config.clone());
                let block = read.unwrap_or_else(|error| panic!("{file}: {error} ({:?})\n{text}", error.hint));
                assert!(!block.asks_for_nothing(), "{file}: an example that asks for nothing\n{text}");
            }
        }
    } else if value.get("fixture").is_some() {
        place::from_yaml::<Fixture>(file, text).unwrap_or_else(|error| panic!("{error} ({:?})", error.hint));
    } else {
        host_parse::parse(file, text).unwrap_or_else(|error| panic!("{error} ({:?})\n{text}", error.hint));
    }
}

#[test]
fn every_example_in_yaml_is_valid() {
    let mut seen = 0;
    for (file, document) in all() {
        for block in blocks(&document, &["yaml", "yml"]) {
            valid_example(&file, &block);
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} examples were found");
}

/// Other plugins' options and what becomes of them; `every_example_in_yaml_is_valid` reads the blocks.
#[test]
fn every_plugin_that_people_come_from_has_its_options_and_a_block_of_ours() {
    let document = read("docs/migration.md");
    let headings = document.lines().filter(|line| line.starts_with("## "));
    let parts: Vec<&str> = document.split("\n## ").skip(1).collect();
    assert_eq!((headings.count(), parts.len()), (10, 10), "ten plugins");
    let step: Value = serde_json::from_str(&read("schemas/step.json")).unwrap();
    let mut known = BTreeSet::new();
    keys(&step, &step, "", "", &mut known);
    for part in parts {
        let name = part.lines().next().unwrap();
        assert_eq!(blocks(part, &["yaml"]).len(), 1, "{name}: one block of ours");
        for row in cells(part) {
            let ours = row[1].split('`').skip(1).step_by(2);
            let keys = ours.filter(|word| {
                let provider = word.split('.').next().unwrap();
                word.contains('.') && known.contains(&format!("credentials[].{provider}"))
            });
            for key in keys.map(|key| key.split(':').next().unwrap().trim_end_matches("[]")) {
                assert!(known.contains(&format!("credentials[].{key}")), "{name}: there is no `{key}`");
            }
        }
    }
}

#[test]
fn every_example_in_json_is_json() {
    for (file, document) in all() {
        for block in blocks(&document, &["json"]) {
            serde_json::from_str::<Value>(&block).unwrap_or_else(|error| panic!("{file}: {error}\n{block}"));
        }
    }
}

/// The targets of a document's links, outside of code.
fn links(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, line) in lines(document).filter(|(outside, _)| *outside) {
        let plain: String = line.split('`').step_by(2).collect();
        let targets = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.to_owned()));
    }
    found
}

/// The anchors of a document, as its headings make them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = lines(document).filter(|(outside, line)| *outside && line.starts_with('#'));
    let anchor = |(_, line): (bool, &str)| {
        let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    let documents: BTreeMap<String, String> = all().into_iter().collect();
    let mut wrong = Vec::new();
    for (file, document) in &documents {
        for link in links(document).iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(file).parent().unwrap();
            let target = if path.is_empty() { PathBuf::from(file) } else { plain(&folder.join(path)) };
            let anchored =
                || documents.get(target.to_str().unwrap()).is_some_and(|d| anchors(d).contains(anchor));
            if !root().join(&target).exists() || (!anchor.is_empty() && !anchored()) {
                wrong.push(format!("{file}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn links_and_anchors_are_found() {
    let document = "# A b: `c-d`\n[x](y.md#z) `[no](code)` [u](https://v)\n```\n[no](fenced)\n```\n";
    assert_eq!(links(document), ["y.md#z", "https://v"]);
    assert!(anchors(document).contains("a-b-c-d"));
}

#[test]
fn the_map_shows_every_crate_and_every_module_of_the_program() {
    let crates = fs::read_dir(root().join("crates")).unwrap();
    let mut standing: BTreeSet<String> =
        crates.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let modules = read("src/lib.rs");
    standing.extend(
        modules
            .lines()
            .filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned())),
    );
    let shown = cells(&section(&read("ARCHITECTURE.md"), "## Code map")).into_iter();
    let shown: BTreeSet<String> = shown.map(|row| ticked(&row[0]).unwrap()).collect();
    assert_eq!(shown, standing);
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let code: String = program().into_iter().chain(sources("tests")).map(|(_, text)| text).collect();
    let document = read("ARCHITECTURE.md");
    let invariants = document.split("\n\n").filter(|part| part.starts_with("**Architecture Invariant:**"));
    let mut seen = 0;
    for invariant in invariants {
        let (_, holders) = invariant.split_once("Held by").unwrap_or_else(|| panic!("no test: {invariant}"));
        let tests: Vec<&str> =
            holders.split('`').skip(1).step_by(2).filter(|name| is_function(name)).collect();
        assert!(!tests.is_empty(), "no test: {invariant}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "`{test}` is no test any more: {invariant}");
        }
        seen += 1;
    }
    assert!(seen > 5, "{seen} invariants were found");
}

#[test]
fn every_promise_of_security_md_names_tests_that_exist() {
    let code: String = program().into_iter().chain(sources("tests")).map(|(_, text)| text).collect();
    let document = section(&read("SECURITY.md"), "## What is guaranteed");
    let is_number =
        |line: &str| line.split_once(". **").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let mut promises: Vec<String> = Vec::new();
    for line in document.lines() {
        if is_number(line) {
            promises.push(String::new());
        }
        promises.last_mut().into_iter().for_each(|promise| promise.extend([line, "\n"]));
    }
    assert!(promises.len() > 10, "{} promises were found", promises.len());
    for promise in promises {
        let named = promise.split('`').skip(1).step_by(2);
        let tests: Vec<&str> =
            named.filter(|name| is_function(name) && name.matches('_').count() > 2).collect();
        assert!(!tests.is_empty(), "no test: {promise}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "`{test}` is no test: {promise}");
        }
    }
}

fn is_function(name: &str) -> bool {
    name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}
