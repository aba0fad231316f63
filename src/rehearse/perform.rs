//! Running one job as a bootstrap does: hooks, command, hooks, in agent v4's order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment;
use super::job::{Build, Job};
use super::sandbox::job_api::JobApi;
use super::stage::Stage;
use super::{Error, Event, stand_in};
use dataflow_host::interrupts::Interrupts;
use dataflow_host::process::Command;
use dataflow_host::serve::{Server, on_socket};
use dataflow_host::supervised::Told;
use dataflow_host::{Host, files, walk};
use dataflow_pipeline::PluginUse;
use dataflow_record::Link;
use dataflow_types::secret::{Mask, Secret};

/// How a job went.
#[derive(Debug)]
pub struct Performed {
    /// The command's exit status; `None` when it did not run, -1 for a signal.
    pub command: Option<i32>,
    /// The exit status of the hook that failed.
    pub failed_hook: Option<(&'static str, i32)>,
    /// Everything the job printed, as its log shows it.
    pub log: String,
    /// The links of its records, in order.
    pub links: Vec<Link>,
    /// Names of variables that were not as before at the end, and what else was left.
    pub left_behind: Vec<String>,
    /// Secrets that were seen where none may be.
    pub leaks: Vec<String>,
    /// Whether somebody stopped it.
    pub cancelled: bool,
    /// Whether any hook of ours took part: a block's, or the agent's own.
    pub hooked: bool,
}

impl Performed {
    /// The exit status that the agent would report: a failed hook's, else the command's.
    pub fn exit_status(&self) -> i32 {
        self.failed_hook.map(|(_, status)| status).or(self.command).unwrap_or(-1)
    }

    /// Whether it asked the agent for something that no stand-in does.
    pub fn is_unrehearsed(&self) -> bool {
        self.log.lines().any(|line| line.starts_with(stand_in::MISSING))
    }

    /// Whether nothing of it is left where nothing may be.
    pub fn is_clean(&self) -> bool {
        self.left_behind.is_empty() && self.leaks.is_empty()
    }

    /// Whether the job would be green.
    pub fn passed(&self) -> bool {
        self.command == Some(0) && !self.cancelled && self.failed_hook.is_none() && self.is_clean()
    }
}

/// Whose hook runs.
#[derive(Clone, Debug)]
enum Scope {
    /// The agent's own, which lends the host's automatic grants.
    Agent,
    /// That of one of the step's blocks.
    Plugin(PluginUse),
}

impl Scope {
    /// What the agent tells a hook beside the job's environment.
    fn variables(&self, phase: &str) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let (scope, plugin) = match self {
            Self::Agent => ("agent", None),
            Self::Plugin(plugin) => ("plugin", Some(plugin)),
        };
        let phase = ("BUILDKITE_HOOK_PHASE", phase.to_owned());
        let own = plugin.into_iter().flat_map(|plugin| {
            let configuration = ("BUILDKITE_PLUGIN_CONFIGURATION", plugin.config.to_string());
            // Where it is null the agent gives a plugin no variables at all.
            let configuration = (!plugin.config.is_null()).then_some(configuration);
            std::iter::once(("BUILDKITE_PLUGIN_NAME", plugin.env_name())).chain(configuration)
        });
        let own: Vec<_> = own.collect();
        [phase, ("BUILDKITE_HOOK_SCOPE", scope.to_owned())].into_iter().chain(own)
    }
}

/// One job on the stage.
struct Performance<'a> {
    host: &'a Host,
    stage: &'a Stage,
    job: &'a Job,
    interrupts: &'a Interrupts,
    api: Arc<JobApi>,
    log: String,
    on: &'a mut dyn FnMut(Event<'_>),
    _server: Server,
}

/// Runs a job and looks at what it left.
pub async fn perform(
    (host, interrupts): (&Host, &Interrupts),
    stage: &Stage,
    build: &Build,
    number: usize,
    job: &Job,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Performed, Error> {
    let token = Secret::new(format!("bkaj_{}", uuid::Uuid::new_v4().simple()));
    stage.sandbox.agent().add(job.for_sandbox(build, &token));
    let socket_token = Secret::new(uuid::Uuid::new_v4().simple().to_string());
    let socket = stage.socket(number);
    let mut env = environment::of_job(job, build, host, stage, &token);
    env.insert("BUILDKITE_AGENT_JOB_API_SOCKET".into(), Secret::new(socket.to_string_lossy()));
    env.insert("BUILDKITE_AGENT_JOB_API_TOKEN".into(), socket_token.clone());
    let before = env.clone();
    let api = Arc::new(JobApi::new(socket_token, env));
    let server = on_socket(&socket, Arc::clone(&api)).map_err(Error::Stage)?;
    let mut performance =
        Performance { host, stage, job, interrupts, api, log: String::new(), on, _server: server };
    let (command, failed_hook) = performance.phases().await?;
    let Performance { api, log, .. } = performance;
    let links = links(&stage.records, &job.id)?;
    let left_behind = left_behind(&before, &api.env(), &links, stage);
    let leaks = leaks(stage, &token, &log, &links);
    let hooked = stage.lends_unasked() || job.plugins.iter().any(PluginUse::is_ours);
    let cancelled = interrupts.times() > 0;
    Ok(Performed { command, failed_hook, log, links, left_behind, leaks, cancelled, hooked })
}

impl Performance<'_> {
    async fn phases(&mut self) -> Result<(Option<i32>, Option<(&'static str, i32)>), Error> {
        let plugins = self.job.plugins.iter().filter(|plugin| plugin.is_ours()).cloned();
        let agent = self.stage.lends_unasked().then_some(Scope::Agent);
        let ours: Vec<Scope> = agent.into_iter().chain(plugins.map(Scope::Plugin)).collect();
        let last_first: Vec<Scope> = ours.iter().rev().cloned().collect();
        let mut failed = None;
        for phase in ["environment", "pre-command"] {
            if failed.is_none() && !self.is_cancelled() {
                failed = self.hooks(phase, &ours, Told::First).await?;
            }
        }
        let mut command = None;
        if failed.is_none() && !self.is_cancelled() {
            (self.on)(Event::Phase("command"));
            let run = self.run(shell(&self.job.command), BTreeMap::new(), Told::First);
            let status = run.await?.unwrap_or(-1);
            command = Some(status);
            self.api.set("BUILDKITE_COMMAND_EXIT_STATUS", &status.to_string());
            self.is_cancelled();
            failed = self.hooks("post-command", &last_first, Told::Nothing).await?;
        }
        let at_exit = self.hooks("pre-exit", &last_first, Told::Nothing).await?;
        Ok((command, failed.or(at_exit)))
    }

    /// Whether somebody stopped the job; its hooks are told so.
    fn is_cancelled(&self) -> bool {
        let cancelled = self.interrupts.times() > 0;
        if cancelled {
            self.api.set("BUILDKITE_JOB_CANCELLED", "true");
        }
        cancelled
    }

    async fn hooks(
        &mut self,
        phase: &'static str,
        scopes: &[Scope],
        told: Told,
    ) -> Result<Option<(&'static str, i32)>, Error> {
        for scope in scopes {
            (self.on)(Event::Phase(phase));
            let program = self.stage.hooks().join(phase);
            let extra = scope.variables(phase).map(|(name, value)| (name.to_owned(), Secret::new(value)));
            let status = self.run((program, Vec::new()), extra.collect(), told).await?.unwrap_or(-1);
            if status != 0 {
                return Ok(Some((phase, status)));
            }
        }
        Ok(None)
    }

    async fn run(
        &mut self,
        (program, arguments): (PathBuf, Vec<String>),
        extra: BTreeMap<String, Secret>,
        told: Told,
    ) -> Result<Option<i32>, Error> {
        let mut environment = self.api.env();
        environment.extend(extra);
        let command = Command {
            program: program.clone(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment,
            folder: self.host.cwd.clone(),
        };
        let (api, log, on) = (&self.api, &mut self.log, &mut self.on);
        let mut rest = String::new();
        let mut show = |shown: String| {
            rest.push_str(&shown);
            while let Some((line, after)) = rest.split_once('\n') {
                log.push_str(line);
                log.push('\n');
                on(Event::Line(line));
                rest = String::from(after);
            }
        };
        let ended = command
            .run_lines(&self.host.clock, (self.interrupts, told), |line| {
                show(api.log(&format!("{line}\n")));
            })
            .await;
        show(api.log_ends());
        ended.map_err(|source| Error::Run { program, source })
    }
}

/// The agent's default shell where there is one.
fn shell(command: &str) -> (PathBuf, Vec<String>) {
    let bash = Path::new("/bin/bash");
    let shell = if bash.exists() { bash } else { Path::new("/bin/sh") };
    (shell.to_owned(), vec!["-e".into(), "-c".into(), command.to_owned()])
}

fn links(records: &Path, job: &str) -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    for path in walk::below(records).map_err(Error::Stage)?.files {
        if path.extension().is_some_and(|ending| ending == "json") {
            // What somebody else put there is no link of this job.
            let Ok(bytes) = files::read_found(&path) else { continue };
            links.extend(dataflow_record::read(&bytes).ok().filter(|link| link.run.job == job));
        }
    }
    links.sort_by_key(|link| (link.run.instance.clone(), link.sequence));
    Ok(links)
}

fn left_behind(
    before: &BTreeMap<String, Secret>,
    after: &BTreeMap<String, Secret>,
    links: &[Link],
    stage: &Stage,
) -> Vec<String> {
    let differs = |name: &&String| match (before.get(*name), after.get(*name)) {
        (Some(one), Some(other)) => one.expose() != other.expose(),
        (one, other) => one.is_some() != other.is_some(),
    };
    let exported = links.iter().filter_map(|link| link.start.as_ref()).flat_map(|start| &start.exported);
    let names: std::collections::BTreeSet<&String> = exported.collect();
    let variables = names.into_iter().filter(differs).map(|name| format!("variable `{name}`"));
    let folders = [("jobs", "open journal(s)"), ("files", "folder(s) of private files")];
    let folders = folders.into_iter().filter_map(|(folder, what)| match stage.left_behind(folder) {
        0 => None,
        left => Some(format!("{left} {what}")),
    });
    variables.chain(folders).collect()
}

/// Looks for every secret of the job, in every form, in its log and its records.
fn leaks(stage: &Stage, token: &Secret, log: &str, links: &[Link]) -> Vec<String> {
    let mut secrets = vec![("the job's access token", token.clone())];
    for issued in stage.sandbox.sts().issued() {
        secrets.push(("a secret access key", issued.secret_access_key));
        secrets.push(("a session token", issued.session_token));
    }
    let others = stage.sandbox.providers().iter().flat_map(|service| service.issued());
    let others: Vec<_> = others.collect();
    secrets.extend(others.iter().map(|issued| (issued.what.as_str(), issued.secret.clone())));
    secrets.extend(stage.sandbox.agent().tokens().into_iter().map(|token| ("an OIDC token", token)));
    let records = serde_json::to_string(links).unwrap_or_default();
    let mut found = Vec::new();
    for (what, secret) in secrets {
        for (place, text) in [("the log", log), ("the records", &records)] {
            let mask = Mask::default();
            mask.add(&secret);
            if mask.apply(text) != text {
                found.push(format!("{what} is in {place}"));
            }
        }
    }
    found.dedup();
    found
}
