//! The stage of a rehearsal: a sandbox, the hooks as files, and a host config that points at both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use url::Url;

use super::Error;
use super::sandbox::sts::Role;
use super::sandbox::{AUDIENCE, KNOWN_AS, Sandbox, trust};
use crate::config::credential::{Ask, What};
use crate::config::host::HostConfig;
use crate::config::key::PrivateKey;
use crate::config::load::BESIDE_AGENT;
use crate::config::step::Step;
use crate::host::Host;
use crate::host::files;
use crate::pipeline::PluginUse;

/// The hooks that the agent would find in the plugin's folder.
pub(super) const HOOKS: [&str; 4] = ["environment", "pre-command", "post-command", "pre-exit"];

/// Where a rehearsal takes place.
#[derive(Debug)]
pub struct Stage {
    folder: tempfile::TempDir,
    /// The services.
    pub sandbox: Sandbox,
    /// Where the records go.
    pub records: PathBuf,
}

impl Stage {
    /// Sets the stage: roles with the trust policies in `trust`, records below `records`.
    pub async fn set(
        host: &Host,
        rules: Option<&Path>,
        trust: &Path,
        records: &Path,
        plugins: &[&PluginUse],
    ) -> Result<Self, Error> {
        // Short, because the path of a Unix socket must be; not TMPDIR, which may be neither.
        let folder = files::scratch(Path::new("/tmp"), "dataflow-").map_err(Error::Stage)?;
        let (mut config, parsed) = host_config(rules)?;
        let asked = asked(plugins, &parsed);
        let known = roles(&asked, trust)?;
        let sandbox = Sandbox::start(host.clock.clone(), known).await.map_err(Error::Sandbox)?;
        sandbox.providers().iter().for_each(|service| service.prepare(&asked));
        let records = std::path::absolute(host.cwd.join(records)).map_err(Error::Stage)?;
        let ours = json!({
            "network": { "routes": routes(&sandbox, &asked) },
            "issuers": [sandbox.issuer_url()],
            "aws": { "sts-endpoint": sandbox.url() },
            "state-directory": folder.path().join("state"),
            "sinks": [{ "file": { "directory": records } }],
        });
        if rules.is_none() {
            // Whom the real host's config allows is not known here; a rehearsal with one knows.
            let named: Value = named(&asked).iter().map(|(_, url)| json!(url)).collect();
            config.as_object_mut().into_iter().for_each(|config| {
                config.insert("endpoints".into(), named.clone());
            });
        }
        if let (Some(config), Value::Object(ours)) = (config.as_object_mut(), ours) {
            config.extend(ours);
            // Nothing of a rehearsal belongs into a folder of the real host's.
            config.remove("survive-reboot");
        }
        let stage = Self { folder, sandbox, records };
        stage.build(host, &config).map_err(Error::Stage)?;
        Ok(stage)
    }

    fn build(&self, host: &Host, config: &Value) -> std::io::Result<()> {
        let made = |path: &Path| files::private_folder(path).map_err(std::io::Error::other);
        let (agent, hooks) = (self.folder.path().join("agent"), self.hooks());
        made(&agent)?;
        made(&hooks)?;
        // JSON is YAML.
        files::replace_lossy(&agent.join(BESIDE_AGENT), config.to_string().as_bytes())?;
        let line = format!("#!{}\n", host.program.display());
        HOOKS.iter().try_for_each(|hook| files::write_program(&hooks.join(hook), &line))
    }

    /// The hooks' folder.
    pub(super) fn hooks(&self) -> PathBuf {
        self.folder.path().join("hooks")
    }

    /// What `BUILDKITE_CONFIG_PATH` would say.
    pub(super) fn agent_config(&self) -> PathBuf {
        self.folder.path().join("agent/buildkite-agent.cfg")
    }

    /// A place for a job's socket.
    pub(super) fn socket(&self, job: usize) -> PathBuf {
        self.folder.path().join(format!("{job}.sock"))
    }

    /// How much is still there in a folder of the state directory.
    pub(super) fn left_behind(&self, folder: &str) -> usize {
        files::list(&self.folder.path().join("state").join(folder)).map_or(0, |found| found.len())
    }
}

/// The platform engineer's own file, so that a rehearsal meets its grants and limits.
fn host_config(rules: Option<&Path>) -> Result<(Value, HostConfig), Error> {
    let Some(path) = rules else { return Ok((json!({}), HostConfig::default())) };
    let text = text(path)?;
    let parsed = crate::config::host::parse(&path.display().to_string(), &text).map_err(Error::Config)?;
    let value: Option<Value> = serde_yaml::from_str(&text).ok();
    Ok((value.filter(Value::is_object).unwrap_or_else(|| json!({})), parsed))
}

pub(super) fn text(path: &Path) -> Result<String, Error> {
    let bytes = files::read(path).map_err(Error::Read)?;
    String::from_utf8(bytes).map_err(|_| Error::NotText(path.to_owned()))
}

/// Everything that the pipeline or a grant asks for.
fn asked(plugins: &[&PluginUse], host: &HostConfig) -> Vec<Ask> {
    let steps = plugins.iter().filter_map(|plugin| Step::read(plugin.config.clone()).ok());
    let grants = host.grants.iter().flat_map(|grant| grant.credentials.clone());
    let credentials = steps.flat_map(|step| step.credentials).chain(grants);
    let asks = credentials.filter_map(|credential| match credential.what {
        What::Ask(ask) => Some(ask),
        What::Grant(_) => None,
    });
    asks.collect()
}

/// The endpoints that the steps name themselves, each with its provider.
fn named(asked: &[Ask]) -> Vec<(&'static str, Url)> {
    let of = |ask: &Ask| -> Vec<(&'static str, Url)> {
        let kind = ask.kind();
        kind.endpoints().into_iter().map(|url| (kind.provider(), url.clone())).collect()
    };
    asked.iter().flat_map(of).collect()
}

/// The way into the sandbox for every origin that a provider is known by, or that a step names for it.
fn routes(sandbox: &Sandbox, asked: &[Ask]) -> Vec<Value> {
    let known = sandbox.providers().iter().flat_map(|service| {
        service.origins().into_iter().map(|origin| (service.provider(), origin.to_owned()))
    });
    let named = named(asked).into_iter().filter(|(provider, _)| !["aws", "secrets"].contains(provider));
    let named = named.map(|(provider, url)| (provider, url.origin().ascii_serialization()));
    // Of two ways the first counts: at an address that is a provider's own, that provider answers.
    let hosts = asked.iter().map(Ask::kind).flat_map(|kind| {
        kind.hosts().into_iter().map(|url| (kind.provider(), url.origin().ascii_serialization()))
    });
    // A key signs where it is, whoever it signs for.
    let keys = asked.iter().filter_map(|ask| ask.kind().private_key()).filter_map(|key| match key {
        PrivateKey::Transit(_, transit) => Some(("vault", transit.address.origin().ascii_serialization())),
        PrivateKey::Kms(_, kms) => Some(("secrets", kms.url()?.origin().ascii_serialization())),
        PrivateKey::Held(_) | PrivateKey::File(_) => None,
    });
    let below = |provider: &str, from: &str| {
        let service = sandbox.providers().iter().find(|service| service.provider() == provider);
        service.map(|service| service.below(from)).unwrap_or_default()
    };
    let route = |(provider, from): (&str, String)| {
        let to = format!("{}{}", sandbox.provider_url(provider), below(provider, &from));
        json!({"from": from, "to": to})
    };
    known.chain(keys).chain(named).chain(hosts).map(route).collect()
}

/// Every role that is asked for, with the trust policy that the author wrote for it.
fn roles(asked: &[Ask], trust: &Path) -> Result<BTreeMap<String, Role>, Error> {
    // Each with the role that it is assumed by, where that is not the token's bearer.
    let mut arns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ask in asked {
        let Ask::Aws(aws) = ask else { continue };
        let mut before: Option<String> = None;
        for role in std::iter::once(&aws.role).chain(aws.chain.iter().map(|hop| &hop.role)) {
            arns.entry(role.to_string()).or_default().extend(before.replace(role.to_string()));
        }
    }
    arns.into_iter().map(|(arn, by)| Ok((arn.clone(), role(&arn, &by, trust)?))).collect()
}

fn role(arn: &str, by: &BTreeSet<String>, folder: &Path) -> Result<Role, Error> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let path = folder.join(format!("{name}.json"));
    let text = match files::read(&path) {
        Err(files::Untrusted::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            usual_trust(arn, by).to_string()
        }
        other => String::from_utf8(other.map_err(Error::Read)?).map_err(|_| Error::NotText(path.clone()))?,
    };
    let policy = trust::parse(&text).map_err(|source| Error::Trust { path, source })?;
    Ok(Role { trust: policy, max_duration: 43200 })
}

/// Where the author wrote none: any job of the issuer, for the usual audience, or the roles before it.
fn usual_trust(arn: &str, by: &BTreeSet<String>) -> Value {
    let parts: Vec<&str> = arn.split(':').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let (partition, account) = (part(1), part(4));
    let audience = if partition == "aws-cn" { format!("{AUDIENCE}.cn") } else { AUDIENCE.to_owned() };
    let mut statements = vec![json!({
        "Effect": "Allow",
        "Principal": { "Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{KNOWN_AS}") },
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": { "StringEquals": { format!("{KNOWN_AS}:aud"): audience } },
    })];
    if !by.is_empty() {
        let actions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
        statements.push(json!({"Effect": "Allow", "Principal": {"AWS": by}, "Action": actions}));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}
