//! How a session reaches the step: as variables, or as a profile in two files.

use std::path::Path;

use super::ask::Session;
use dataflow_config::aws::{Aws, FILES, KEYS, Profile, REGIONS};
use dataflow_types::credential::{PrivateFile, Value, Variable};
use dataflow_types::secret::Secret;

/// The two files that profiles are written to, in the order of the variables that name them.
const NAMES: [&str; 2] = ["aws-config", "aws-credentials"];

/// Variables and files for the step.
pub(super) type Handed = (Vec<Variable>, Vec<PrivateFile>);

/// How a role is handed over.
pub(super) struct HandOver<'a> {
    pub(super) aws: &'a Aws,
    /// Where the files will be.
    pub(super) folder: &'a Path,
    /// The command line by which SDKs call back for it.
    pub(super) callback: Option<String>,
}

impl HandOver<'_> {
    /// What the step gets of a session.
    pub(super) fn of(&self, session: &Session) -> Handed {
        match &self.aws.profile {
            Some(profile) => self.as_profile(profile, session),
            None => (as_variables(self.aws, session), Vec::new()),
        }
    }

    fn as_profile(&self, profile: &Profile, session: &Session) -> Handed {
        // The one profile whose section has no `profile` before its name.
        let section =
            if profile.as_str() == "default" { "default".to_owned() } else { format!("profile {profile}") };
        let region = self.aws.region.as_ref().map(|region| format!("region = {region}\n"));
        let process = self.callback.as_ref().map(|line| format!("credential_process = {line}\n"));
        let config =
            format!("[{section}]\n{}{}", region.unwrap_or_default(), process.clone().unwrap_or_default());
        // Keys that stand in a file win over a process, and would not be renewed.
        let keys = if process.is_some() { String::new() } else { keys(profile, session) };
        let variables = FILES.into_iter().zip(NAMES).filter_map(|(variable_name, file)| {
            variable(variable_name, Value::Plain(self.folder.join(file).display().to_string()))
        });
        // The secrets in them are hidden each by itself: hidden by lines, every log would lose the
        // profile's name.
        let files = NAMES.into_iter().zip([config, keys]).map(|(name, content)| PrivateFile {
            name: name.to_owned(),
            content: Secret::new(content).into(),
            secret: false,
        });
        (variables.collect(), files.collect())
    }
}

fn keys(profile: &Profile, session: &Session) -> String {
    format!(
        "[{profile}]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        session.access_key_id,
        session.secret_access_key.expose(),
        session.token.expose(),
    )
}

fn variable(name: &str, value: Value) -> Option<Variable> {
    Some(Variable { name: name.parse().ok()?, value })
}

fn as_variables(aws: &Aws, session: &Session) -> Vec<Variable> {
    let keys = [
        Value::Plain(session.access_key_id.clone()),
        Value::Secret(session.secret_access_key.clone()),
        Value::Secret(session.token.clone()),
    ];
    let region = |region: &_| REGIONS.map(|name| (name, Value::Plain(ToString::to_string(region))));
    let regions = aws.region.iter().flat_map(region);
    KEYS.into_iter()
        .zip(keys)
        .chain(regions)
        .filter_map(|(name, value)| variable(&aws.variable(name), value))
        .collect()
}
