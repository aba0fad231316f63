//! Fixtures: a step's environment, its plugin block, and what is expected of it, in one file, so that a
//! team tests its own steps in its own repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::job::{Build, Job};
use super::perform::{Performed, perform};
use super::stage::Stage;
use super::{Error, Event, input, misread, trusted};
use dataflow_config::path::Segment;
use dataflow_config::place;
use dataflow_host::Host;
use dataflow_host::interrupts::Interrupts;
use dataflow_pipeline::PluginUse;
use dataflow_record::end::{End, SettledLease};
use dataflow_types::settlement::Settlement;

/// One fixture.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fixture {
    /// What it shows, in a sentence.
    pub fixture: String,
    /// The step's variables. `BUILDKITE_ORGANIZATION_SLUG`, `BUILDKITE_PIPELINE_SLUG`, `BUILDKITE_BRANCH`,
    /// `BUILDKITE_COMMIT` and `BUILDKITE_STEP_KEY` also decide what the job's token says.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The plugin's block.
    #[serde(default)]
    pub plugin: Value,
    /// The step's command.
    #[serde(default = "nothing")]
    pub command: String,
    /// A host config to meet, beside the fixture.
    #[serde(default)]
    pub host_config: Option<PathBuf>,
    /// The folder of trust policies, beside the fixture; `trust` where it is not named.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// What is expected.
    pub expect: Expect,
}

fn nothing() -> String {
    "true".to_owned()
}

/// What is expected of a step; what is not named is not looked at.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// The job's exit status: the command's, or the hook's that failed.
    pub exit_status: Option<i32>,
    /// The identifier of the failure, as in `error[token-rejected]`; `none` for no failure.
    pub error: Option<String>,
    /// The roles that are lent, by ARN.
    pub lent: Option<Vec<String>>,
    /// Variables that are exported, among others.
    pub exported: Option<Vec<String>>,
    /// What becomes of each lease, in a word, in the order in which they were asked for.
    pub settlements: Option<Vec<String>>,
    /// Texts that the log must hold.
    pub log_contains: Option<Vec<String>>,
}

/// How a fixture went.
#[derive(Debug)]
pub struct Checked {
    /// What it shows.
    pub fixture: String,
    /// What is not as expected; empty when all is.
    pub wrong: Vec<String>,
}

/// Whether a file is a fixture and not a pipeline.
pub fn is_fixture(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("fixture:"))
}

/// Runs a fixture and compares.
pub async fn check(
    (host, interrupts): (&Host, &Interrupts),
    path: &Path,
    records: &Path,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Checked, Error> {
    let text = input::text(path)?;
    let fixture: Fixture = place::from_yaml(&path.display().to_string(), &text).map_err(Error::Fixture)?;
    let beside = |file: &Path| path.parent().unwrap_or(Path::new("/")).join(file);
    let plugin = PluginUse { source: "fixture/dataflow".into(), config: fixture.plugin.clone() };
    let trust = match &fixture.trust {
        Some(folder) => trusted::Folder::named(beside(folder)),
        None => trusted::Folder::usual(beside(Path::new("trust"))),
    };
    let rules = fixture.host_config.as_deref().map(beside);
    let mut stage = Stage::set(host, rules.as_deref(), trust?, records).await?;
    let variable = |name: &str, otherwise: &str| {
        fixture.environment.get(name).cloned().unwrap_or_else(|| otherwise.to_owned())
    };
    let build = Build {
        organization: variable("BUILDKITE_ORGANIZATION_SLUG", "acme"),
        pipeline: variable("BUILDKITE_PIPELINE_SLUG", "rehearsal"),
        branch: variable("BUILDKITE_BRANCH", "main"),
        commit: variable("BUILDKITE_COMMIT", &"0".repeat(40)),
    };
    let job = Job {
        name: fixture.fixture.clone(),
        step_key: fixture.environment.get("BUILDKITE_STEP_KEY").cloned(),
        command: fixture.command.clone(),
        env: fixture.environment.clone(),
        plugins: vec![plugin.clone()],
        id: uuid::Uuid::new_v4().to_string(),
        parallel: None,
    };
    on(Event::Job { name: &job.name, number: 1, of: 1 });
    for note in stage.prepare(host, &build, std::slice::from_ref(&job))? {
        on(Event::Note(note));
    }
    if fixture.expect.error.as_deref() != Some("bad-configuration") {
        let prefix = [Segment::Key("plugin".to_owned())];
        let lines = misread::in_text(&path.display().to_string(), &text, &prefix, &plugin);
        for line in lines {
            on(Event::Note(line));
        }
    }
    let performed = perform((host, interrupts), &stage, &build, 1, &job, on).await?;
    Ok(Checked { fixture: fixture.fixture, wrong: compare(&fixture.expect, &performed) })
}

fn compare(expect: &Expect, performed: &Performed) -> Vec<String> {
    let mut wrong: Vec<String> =
        performed.cancelled.then(|| "it was interrupted".to_owned()).into_iter().collect();
    let mut differs = |what: &str, expected: String, seen: String| {
        if expected != seen {
            wrong.push(format!("{what}: expected {expected}, saw {seen}"));
        }
    };
    let status = performed.failed_hook.map(|(_, status)| status).or(performed.command);
    if let Some(expected) = expect.exit_status {
        differs(
            "exit-status",
            expected.to_string(),
            status.map_or_else(|| "none".into(), |status| status.to_string()),
        );
    }
    if let Some(expected) = &expect.error {
        differs("error", expected.clone(), failure(performed).unwrap_or_else(|| "none".into()));
    }
    let starts = || performed.links.iter().filter_map(|link| link.start.as_ref());
    if let Some(expected) = &expect.lent {
        let leased = |start: &dataflow_record::Start| {
            let lent =
                start.requests.iter().filter(|one| start.leases.iter().any(|lease| lease.request == one.id));
            lent.map(|request| request.target.clone()).collect::<Vec<_>>()
        };
        differs(
            "lent",
            expected.join(", "),
            starts().flat_map(|start| leased(start)).collect::<Vec<_>>().join(", "),
        );
    }
    if let Some(expected) = &expect.settlements {
        let settled = performed.links.iter().filter_map(|link| link.end.as_deref()).flat_map(in_order);
        let words: Vec<&str> =
            settled.map(|SettledLease { settlement, .. }| Settlement::word(settlement)).collect();
        differs("settlements", expected.join(", "), words.join(", "));
    }
    let exported: Vec<&String> = starts().flat_map(|start| &start.exported).collect();
    for name in expect.exported.iter().flatten().filter(|name| !exported.contains(name)) {
        wrong.push(format!("exported: `{name}` is not among the exported variables"));
    }
    for text in expect.log_contains.iter().flatten().filter(|text| !performed.log.contains(text.as_str())) {
        wrong.push(format!("log-contains: the log does not hold `{text}`"));
    }
    wrong.extend(performed.leaks.iter().map(|leak| format!("leak: {leak}")));
    wrong.extend(performed.left_behind.iter().map(|what| format!("left behind: {what}")));
    wrong
}

/// The identifier of the failure that the log tells.
fn failure(performed: &Performed) -> Option<String> {
    let line = performed.log.lines().find_map(|line| line.strip_prefix("error["))?;
    line.split_once(']').map(|(ident, _)| ident.to_owned())
}

/// Settlements as their requests stand in the block, whatever was given back first; renewals follow.
fn in_order(end: &End) -> Vec<&SettledLease> {
    let mut settled: Vec<&SettledLease> = end.settlements.iter().collect();
    settled.sort_by_key(|one| {
        let mut numbers = one.request.split('+').map(|number| number.parse().unwrap_or(u32::MAX));
        (numbers.next(), numbers.next())
    });
    settled
}
