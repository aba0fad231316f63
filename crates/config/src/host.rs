//! The platform engineer's file on the agent host: what no pipeline can loosen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::address::is_safe;
use super::aws::{Account, Override, Region};
use super::credential::Credential;
pub use super::limits::{Deadlines, Limits};
use super::network::NetworkConfig;
use super::retention::Retention;
pub use super::sink::{FileSink, Sink};
use super::survive_reboot::SurviveReboot;
use dataflow_host::http::Network;

/// Buildkite's own issuer.
pub(super) const BUILDKITE: &str = "https://agent.buildkite.com";

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
            issuers: vec![BUILDKITE.into()],
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

impl HostConfig {
    /// How requests leave this host, and where a server may send them on to.
    pub fn network(&self) -> Network {
        let redirects = self.endpoints.iter().filter(|url| is_safe(url)).map(Url::origin).collect();
        Network { redirects, ..self.network.settings() }
    }
}
