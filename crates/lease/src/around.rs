//! What is set beside the credentials of a block: where their files are, which names there are, and what takes the place
//! of variables that compete.

use std::path::Path;

use crate::competing::{self, Found};
use dataflow_host::{Env, env, files};
use dataflow_types::credential::{EnvName, PrivateFile, Value, Variable};
use dataflow_types::secret::Secret;

/// The variable that lists the exported names, for the docker plugins' `env-propagation-list`.
pub const NAMES: &str = "DATAFLOW_ENV_NAMES";

/// The variables that name the folder of a block's files. The second is another plugin's first: whoever finds a folder
/// in it, mounts it into a container or removes it, so that a folder of others stays there, while there is one.
pub(super) fn whereabouts(folder: &Path, env: &Env) -> impl Iterator<Item = Variable> {
    let theirs = |there: &str| env.get(&env::BLOCK) != Some(there) && files::length(Path::new(there)).is_ok();
    let others = env.get(&env::OIDC_TMPDIR).is_some_and(theirs);
    let names = std::iter::once(&env::BLOCK).chain((!others).then_some(&env::OIDC_TMPDIR));
    let value = Value::Plain(folder.display().to_string());
    names.filter_map(move |variable| {
        Some(Variable { name: variable.name.parse().ok()?, value: value.clone() })
    })
}

/// What competes with these variables in an environment.
pub(super) fn compete(variables: &[Variable], files: &[PrivateFile], env: &Env) -> Vec<Found> {
    let handed: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
    let standing = |name: &str| {
        let name: EnvName = name.parse().ok()?;
        env.standing(&name).map(Secret::expose)
    };
    let earlier: Vec<&str> = standing(NAMES).unwrap_or_default().split_whitespace().collect();
    let texts = files.iter().filter_map(|file| file.content.text());
    let profiles: Vec<&str> = texts.flat_map(|text| text.expose().lines()).filter_map(profile).collect();
    competing::find(&handed, &earlier, &profiles, standing)
}

/// The profile that a line of a file of the AWS tools begins.
fn profile(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    Some(name.strip_prefix("profile ").unwrap_or(name))
}

/// The variable that takes the place of one that competes, where it is not there already.
pub(super) fn cover(found: &Found) -> Option<Variable> {
    let (name, value) = found.covered.as_ref()?;
    Some(Variable { name: name.parse().ok()?, value: Value::Plain(value.clone()) })
}

/// The list variable: what an earlier block listed, and these names.
pub(super) fn list_of_names(variables: &[Variable], env: &Env) -> Option<Variable> {
    let name: EnvName = NAMES.parse().ok()?;
    let earlier = env.standing(&name).map(|list| list.expose().to_owned()).unwrap_or_default();
    let mut names: Vec<&str> =
        earlier.split_whitespace().filter(|word| word.parse::<EnvName>().is_ok()).collect();
    for variable in variables {
        if !names.contains(&variable.name.as_str()) {
            names.push(variable.name.as_str());
        }
    }
    Some(Variable { name, value: Value::Plain(names.join(" ")) })
}
