//! A host config, read from a file and checked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::credential::CredentialSource;
use super::host::{HostConfig, Sink};
use super::place::{self, Error};
use super::survive_reboot::SurviveReboot;
use super::{collect, step, usable, written};

/// Reads a host config, or tells every error in it.
pub fn parse(file: &str, text: &str) -> Result<HostConfig, Error> {
    parse_on(file, text, &|_| Ok(()))
}

/// The same where what it says of its host is checked too.
pub(super) fn parse_on(
    file: &str,
    text: &str,
    host: &dyn Fn(&HostConfig) -> Result<(), Error>,
) -> Result<HostConfig, Error> {
    let tree = place::tree(file, text)?;
    if tree.is_null() {
        return Ok(HostConfig::default());
    }
    let read = |tree: &Value| once(file, tree).and_then(|config| host(&config).map(|()| config));
    collect::every(&tree, read).map_err(|error| error.located(file, text, &[], &tree))
}

/// Reads a host config and checks what types alone do not, up to the first error.
fn once(file: &str, tree: &Value) -> Result<HostConfig, Error> {
    match written::with_claims(file, tree)? {
        None => place::from_tree(file, tree).and_then(|config| checked(file, config)),
        Some((config, filled)) => checked(file, config).map_err(|error| error.for_written(&filled, tree)),
    }
}

fn checked(file: &str, config: HostConfig) -> Result<HostConfig, Error> {
    check_places(file, &config)?;
    usable::check(file, &config)?;
    config.retention.check(file)?;
    for (index, Sink::File(sink)) in config.sinks.iter().enumerate() {
        sink.check(file, &format!("sinks[{index}].file"))?;
    }
    let mut names = BTreeMap::new();
    for (index, grant) in config.grants.iter().enumerate() {
        step::check(file, &format!("grants[{index}].credentials"), &grant.credentials)?;
        if let Some(other) = names.insert(&grant.name, index) {
            let problem = format!("`{}` is the name of `grants[{other}]` already", grant.name);
            return Err(Error::at(file, format!("grants[{index}].name"), problem));
        }
        if grant.claims.is_empty() {
            let problem = "saw no claim, expected at least one: this would lend to every job of the host";
            return Err(Error::at(file, format!("grants[{index}].claims"), problem)
                .hinted("to really mean every job write `organization_slug: \"*\"`"));
        }
        if let Some(inner) =
            grant.credentials.iter().position(|c| matches!(c.source, CredentialSource::Grant(_)))
        {
            let place = format!("grants[{index}].credentials[{inner}]");
            return Err(Error::at(file, place, "a grant cannot name another grant"));
        }
    }
    Ok(config)
}

/// A relative path would lead into whatever folder a hook happens to start in: the checkout.
fn check_places(file: &str, config: &HostConfig) -> Result<(), Error> {
    let sinks = config.sinks.iter().enumerate();
    let sinks =
        sinks.map(|(index, Sink::File(sink))| (format!("sinks[{index}].file.directory"), &sink.directory));
    let state = config.state_directory.iter().map(|path| ("state-directory".to_owned(), path));
    let survive = config.survive_reboot.iter().flat_map(SurviveReboot::paths);
    let ca = config.network.ca_file.iter().map(|path| ("network.ca-file".to_owned(), path));
    let keys = config.key_files.iter().enumerate().map(|(index, path)| (format!("key-files[{index}]"), path));
    let mut paths = sinks.chain(state).chain(survive).chain(ca).chain(keys);
    if let Some((place, path)) = paths.find(|(_, path)| !path.is_absolute()) {
        return Err(Error::at(file, place, format!("expected an absolute path, saw `{}`", path.display())));
    }
    config.network.check().map_err(|(key, problem)| Error::at(file, format!("network.{key}"), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(yaml: &str, expected: &str) {
        assert_eq!(parse("config.yml", yaml).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("config.yml", "# nothing yet\n").unwrap(), HostConfig::default());
        assert_eq!(parse("config.yml", "").unwrap(), HostConfig::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("config.yml", "mode: enforce\nverfy: required\n").unwrap_err();
        assert_eq!(error.problem, "unknown key `verfy`");
        assert_eq!(error.hint.unwrap(), "did you mean `verify`?");
        assert!(error.file.starts_with("config.yml:2"), "{}", error.file);
    }

    #[test]
    fn a_grant_without_claims_is_refused() {
        refused(
            "grants:\n  - name: all\n    claims: {}\n    credentials: [{vault: {address: 'https://v', role: x}}]\n",
            "config.yml:3:13: `grants[0].claims`: saw no claim, expected at least one: this would lend to every job of the host",
        );
    }

    #[test]
    fn a_path_that_depends_on_where_a_hook_starts_is_refused() {
        refused(
            "state-directory: state",
            "config.yml:1:18: `state-directory`: expected an absolute path, saw `state`",
        );
        refused(
            "sinks:\n  - file: {directory: records}\n",
            "config.yml:2:23: `sinks[0].file.directory`: expected an absolute path, saw `records`",
        );
    }

    #[test]
    fn two_grants_of_one_name_are_refused() {
        let grant = "  - {name: a, claims: {pipeline_slug: x}, credentials: [{vault: {address: 'https://v', role: x}}]}\n";
        refused(
            &format!("grants:\n{grant}{grant}"),
            "config.yml:3:12: `grants[1].name`: `a` is the name of `grants[0]` already",
        );
    }
}
