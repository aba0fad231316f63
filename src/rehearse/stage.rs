//! The stage of a rehearsal: a sandbox, the hooks as files, and a host config that points at both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use url::Url;

use super::job::{Build, Job};
use super::overlay::Redirected;
use super::sandbox::Sandbox;
use super::{Error, asked, input, trusted};
use dataflow_config::credential::ProviderRequest;
use dataflow_config::host::HostConfig;
use dataflow_config::host_find::BESIDE_PROGRAM;
use dataflow_config::key::PrivateKey;
use dataflow_config::network::Route;
use dataflow_host::Host;
use dataflow_host::files;
use dataflow_types::claims::{Claims, SubjectToken};
use dataflow_types::secret::Secret;

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
    trust: trusted::Folder,
    rules: Rules,
    asked: Vec<ProviderRequest>,
    told: BTreeSet<String>,
}

/// The platform engineer's own file, so that a rehearsal meets its grants and limits.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// As it was written; `None` without a file.
    written: Option<Value>,
    config: HostConfig,
}

impl Rules {
    fn read(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = input::text(path)?;
        let config =
            dataflow_config::host_parse::parse(&path.display().to_string(), &text).map_err(Error::Config)?;
        let written: Option<Value> = serde_yaml::from_str(&text).ok();
        Ok(Self { written: Some(written.unwrap_or_default()), config })
    }
}

impl Stage {
    /// Sets the stage: roles with the trust policies in `trust`, records below `records`. What is asked for is known
    /// when it is [prepared](Self::prepare).
    pub async fn set(
        host: &Host,
        rules: Option<&Path>,
        trust: trusted::Folder,
        records: &Path,
    ) -> Result<Self, Error> {
        let rules = Rules::read(rules)?;
        let records = std::path::absolute(host.cwd.join(records)).map_err(Error::Stage)?;
        input::records(&records)?;
        // Short, because the path of a Unix socket must be; not TMPDIR, which may be neither.
        let folder = files::scratch(Path::new("/tmp"), "dataflow-").map_err(Error::Stage)?;
        let sandbox = Sandbox::start(host.clock.clone(), BTreeMap::new()).await;
        let sandbox = sandbox.map_err(Error::Sandbox)?;
        let stage = Self { folder, sandbox, records, trust, rules, asked: Vec::new(), told: BTreeSet::new() };
        stage.build(host).map_err(Error::Stage)?;
        Ok(stage)
    }

    /// Prepares for what these jobs ask for, as operators of the real services would have. What there is to tell comes
    /// back.
    pub fn prepare(&mut self, host: &Host, build: &Build, jobs: &[Job]) -> Result<Vec<String>, Error> {
        for job in jobs {
            let claims = self.claims(host, build, job);
            for ask in asked::of(&job.plugins, &claims, &self.rules.config) {
                if !self.asked.contains(&ask) {
                    self.asked.push(ask);
                }
            }
        }
        let (roles, open) = self.trust.roles(&self.asked)?;
        for (arn, role) in roles {
            self.sandbox.sts().add(&arn, role);
        }
        self.sandbox.providers().iter().for_each(|service| service.prepare(&self.asked));
        self.configure()?;
        Ok(open.into_iter().filter(|note| self.told.insert(note.clone())).collect())
    }

    /// Whether the host lends to jobs that ask for nothing, as its agent hooks would.
    pub(super) fn lends_unasked(&self) -> bool {
        self.rules.config.grants.iter().any(|grant| grant.automatic)
    }

    /// What a token of the job says.
    fn claims(&self, host: &Host, build: &Build, job: &Job) -> Claims {
        let job = job.for_sandbox(build, &Secret::new(""));
        let optional: Vec<&String> = job.claims.optional.keys().collect();
        let asked = json!({ "claims": optional });
        let asked = asked.as_object().cloned().unwrap_or_default();
        let token = self.sandbox.issuer().mint(&job.claims, &asked, host.clock.now());
        let claims = token.map(|token| SubjectToken::new(Secret::new(token)).unverified_claims());
        claims.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Writes the host config that the hooks meet.
    fn configure(&self) -> Result<(), Error> {
        let url = |text: &str| Url::parse(text).map_err(|_| Error::Overlay);
        let routes = routes(&self.sandbox, &self.asked).into_iter();
        let route = |(from, to): (String, String)| Ok(Route { from: url(&from)?, to: url(&to)? });
        // Whom the real host's config allows is not known here; a rehearsal with one knows.
        let named = || named(&self.asked).into_iter().map(|(_, url)| url).collect();
        let redirected = Redirected {
            issuer: self.sandbox.issuer_url().to_owned(),
            sts: url(&self.sandbox.url())?,
            routes: routes.map(route).collect::<Result<_, Error>>()?,
            endpoints: self.rules.written.is_none().then(named),
            state: self.folder.path().join("state"),
            records: self.records.clone(),
        };
        let written = self.rules.written.clone().unwrap_or_default();
        let config = redirected.written(&self.rules.config, &written)?;
        let beside = self.program().with_file_name(BESIDE_PROGRAM);
        files::replace_lossy(&beside, config.as_bytes()).map_err(Error::Stage)
    }

    fn build(&self, host: &Host) -> std::io::Result<()> {
        let made = |path: &Path| files::private_folder(path).map_err(std::io::Error::other);
        let (program, hooks) = (self.program(), self.hooks());
        made(program.parent().unwrap_or(self.folder.path()))?;
        made(&hooks)?;
        // A host config of root's rules the host's own program, and not a rehearsal.
        files::copy_program(&host.program, &program)?;
        let line = format!("#!{}\n", program.display());
        HOOKS.iter().try_for_each(|hook| files::write_program(&hooks.join(hook), &line))?;
        made(&self.bin())?;
        let line = format!("#!{} agent-stand-in\n", program.display());
        files::write_program(&self.bin().join("buildkite-agent"), &line)
    }

    /// The folder of what answers to `buildkite-agent`.
    pub(super) fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// The hooks' folder.
    pub(super) fn hooks(&self) -> PathBuf {
        self.folder.path().join("hooks")
    }

    /// The rehearsal's own copy of this program.
    fn program(&self) -> PathBuf {
        self.folder.path().join("program/buildkite-dataflow")
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

/// The endpoints that the steps name themselves, each with its provider.
fn named(asked: &[ProviderRequest]) -> Vec<(&'static str, Url)> {
    let of = |ask: &ProviderRequest| -> Vec<(&'static str, Url)> {
        let kind = ask.kind();
        kind.endpoints().into_iter().map(|url| (kind.provider(), url.clone())).collect()
    };
    asked.iter().flat_map(of).collect()
}

/// The way into the sandbox for every origin that a provider is known by, or that a step names for it.
fn routes(sandbox: &Sandbox, asked: &[ProviderRequest]) -> Vec<(String, String)> {
    let known = sandbox.providers().iter().flat_map(|service| {
        service.origins().into_iter().map(|origin| (service.provider(), origin.to_owned()))
    });
    let named = named(asked).into_iter().filter(|(provider, _)| !["aws", "secrets"].contains(provider));
    let named = named.map(|(provider, url)| (provider, url.origin().ascii_serialization()));
    // Of two ways the first counts: at an address that is a provider's own, that provider answers.
    let hosts = asked.iter().map(ProviderRequest::kind).flat_map(|kind| {
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
        (from, to)
    };
    known.chain(keys).chain(named).chain(hosts).map(route).collect()
}
