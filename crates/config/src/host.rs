//! The platform engineer's file on the agent host: what no pipeline can loosen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::aws::{Account, Override, Region};
use super::credential::{Credential, CredentialSource};
pub use super::limits::{Deadlines, Limits};
use super::network::NetworkConfig;
use super::place::{self, Error};
use super::retention::Retention;
pub use super::sink::{FileSink, Sink};
use super::survive_reboot::SurviveReboot;
use super::{collect, step, usable, written};

/// The host config; every key has a default, so that no file at all works too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HostConfig {
    /// What a denial does. `enforce` stops the step. `observe` records it as `would-be-denied` and lends all the same,
    /// except at an endpoint or with a key file that is not allowed, which is denied in every mode. `off` lends
    /// nothing, while what was lent before is still settled. Default: `enforce`.
    pub mode: Mode,
    /// Whether a job is served whose token could not be verified because the issuer's keys are out of reach. With
    /// `required` they are asked for five times at most, otherwise once. A wrong signature is always refused. Default:
    /// `required`.
    pub verify: Verify,
    /// Whose tokens are believed, compared exactly with `iss`. Default: `https://agent.buildkite.com`.
    pub issuers: Vec<String>,
    /// Whether steps may ask for credentials of their own, or only for grants of this file. Default: `allowed`.
    pub step_requests: StepRequests,
    /// Endpoints that a step may name, by exact origin such as `https://sts.example.test`. A server that is asked may
    /// send the request on to one of them (307, 308), as a standby of Vault does.
    pub endpoints: Vec<Url>,
    /// Files with a private key that a step may have sign for it ([private keys](#private-keys)). Absolute paths,
    /// compared exactly.
    pub key_files: Vec<PathBuf>,
    /// Credentials by name, or by claims without a line in any pipeline.
    pub grants: Vec<Grant>,
    /// Where leases are kept while jobs run. It is made 0700, must be of the agent's user, and lies on a disk that
    /// survives a restart. It is a folder of its own: a marker, `.buildkite-dataflow-state`, is put into one that is
    /// new, empty or of version 0.1.0, and one that holds anything else is refused. Default: `.buildkite-dataflow` in
    /// the agent user's home.
    pub state_directory: Option<PathBuf>,
    /// For whom leases are kept beyond a restart of this host ([how](#leases-that-survive-a-restart)). Without it such
    /// leases end by expiry.
    pub survive_reboot: Option<SurviveReboot>,
    /// Where records go. Every one gets every link. Default: `records` in the state directory.
    pub sinks: Vec<Sink>,
    /// How long what lies on this host is kept.
    pub retention: Retention,
    /// AWS, as this host reaches it.
    pub aws: AwsHost,
    /// How requests leave the host. The environment's proxy variables are not read.
    pub network: NetworkConfig,
    /// The most that a step or a grant may ask for. More is a denial.
    pub limits: Limits,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// Which troubles fail the job.
    pub required: Required,
    /// Diagnostics on standard error, of this program only and masked. `RUST_LOG` is not read. The callback `token`
    /// writes none: google-auth takes both outputs for one. Default: `warn`.
    pub log: Log,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            verify: Verify::default(),
            issuers: vec![usable::BUILDKITE.into()],
            step_requests: StepRequests::default(),
            endpoints: Vec::new(),
            key_files: Vec::new(),
            grants: Vec::new(),
            state_directory: None,
            survive_reboot: None,
            sinks: Vec::new(),
            retention: Retention::default(),
            aws: AwsHost::default(),
            network: NetworkConfig::default(),
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            required: Required::default(),
            log: Log::default(),
        }
    }
}

/// What a decision does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A denial stops the step.
    #[default]
    Enforce,
    /// A denial is recorded and told, and the credential is lent all the same.
    Observe,
    /// The hooks do nothing.
    Off,
}

/// Whether unverified identity is good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// No verification, no credential.
    #[default]
    Required,
    /// Keys out of reach are noted in the record; a wrong signature is still refused.
    WhenAvailable,
}

/// Who may say what a step gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StepRequests {
    /// The step itself, inside the cloud's own trust conditions.
    #[default]
    Allowed,
    /// Only the grants of this file.
    GrantsOnly,
}

/// A named set of credentials, lent to jobs whose verified claims match.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grant {
    /// What a step calls it: `credentials: [{grant: NAME}]`. It is unique.
    pub name: String,
    /// Claims of the verified token that must all match: exact, or with `*` for any text, always anchored at both
    /// ends. At least one.
    pub claims: BTreeMap<String, String>,
    /// What is lent: items as in the step config. They need no entry in `endpoints` and `key-files`.
    pub credentials: Vec<Credential>,
    /// Whether it is lent, before the command, to every matching job, unasked. Only where the hooks are agent hooks.
    #[serde(default)]
    pub automatic: bool,
    /// The credentials as they were written, where claims stand in them.
    #[serde(skip)]
    pub written: Vec<Value>,
}

/// AWS, as this host reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AwsHost {
    /// A VPC endpoint of STS. It is asked wherever a step names no `endpoint` of its own, for roles of its region's
    /// partition; one whose region is not known is asked for all. Default: the region's STS.
    pub sts_endpoint: Option<Url>,
    /// The region of `sts-endpoint`, which signatures name: for a name of the host's own, such as `sts.internal.test`.
    /// Default: as the endpoint's name says it.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sts_region: Option<Region>,
    /// Accounts outside which no role is lent, to steps or by grants: twelve digits in quotes. Default: any.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub allowed_accounts: Vec<Account>,
}

impl AwsHost {
    /// The STS that is asked instead of the regions' own.
    pub fn sts(&self) -> Override<'_> {
        Override { url: self.sts_endpoint.as_ref(), region: self.sts_region.as_ref() }
    }
}

/// Which troubles fail the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line of the config, and none excludes another")]
pub struct Required {
    /// A lease that could not be settled (exit code 108).
    pub settlement: bool,
    /// A record that could not be stored (exit code 109). In pre-command nothing is exported then.
    pub record: bool,
    /// A lease that `survive-reboot` would not keep (exit code 102): nothing is exported then. Otherwise it is a
    /// warning and a finding.
    pub survive_reboot: bool,
    /// A secret that would lie on a disk as it is, because `/dev/shm` is no tmpfs with 1 MiB of room in which this
    /// user can have a folder (exit code 102): no request is made then. Otherwise it is a finding.
    pub encryption_at_rest: bool,
}

/// How much is told on standard error, beside what a user needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Log {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// What looks wrong.
    #[default]
    Warn,
    /// Each act.
    Info,
    /// Each request.
    Debug,
}

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
