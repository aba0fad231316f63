//! The names that a condition may use, as Buildkite's documentation lists them.

/// What a variable holds, where it holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Texts.
    List,
}

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// Whether a job can know it; otherwise only Buildkite does.
    pub in_a_job: bool,
}

macro_rules! variables {
    ($($name:literal $holds:expr, $in_a_job:expr;)*) => {
        /// Every variable of a build, a pipeline, an organization and a step.
        pub const VARIABLES: &[Variable] = &[$(Variable { name: $name, holds: $holds, in_a_job: $in_a_job }),*];
    };
}

use Holds::{Bool, List, Number, Text, Word};

/// A job knows it.
const JOB: bool = true;
/// Only Buildkite does.
const BUILDKITE: bool = false;

variables! {
    "build.id" Text, JOB;
    "build.state" Word(&["creating", "started", "running", "scheduled", "blocked", "passed", "failing", "failed",
        "canceling", "canceled", "skipped", "not_run"]), BUILDKITE;
    "build.fixed" Bool, BUILDKITE;
    "build.blocked_state" Word(&["failed", "passed", "running"]), BUILDKITE;
    "build.source" Word(&["api", "ui", "webhook", "trigger_job", "schedule", "pipeline_trigger"]), JOB;
    "build.source_event" Text, JOB;
    "build.source_action" Text, JOB;
    "build.branch" Text, JOB;
    "build.tag" Text, JOB;
    "build.message" Text, JOB;
    "build.commit" Text, JOB;
    "build.number" Number, JOB;
    "build.creator.id" Text, BUILDKITE;
    "build.creator.name" Text, JOB;
    "build.creator.email" Text, JOB;
    "build.creator.teams" List, JOB;
    "build.creator.verified" Bool, BUILDKITE;
    "build.author.id" Text, BUILDKITE;
    "build.author.name" Text, JOB;
    "build.author.email" Text, JOB;
    "build.author.teams" List, BUILDKITE;
    "build.scm.author.name" Text, BUILDKITE;
    "build.scm.author.email" Text, BUILDKITE;
    "build.scm.committer.name" Text, BUILDKITE;
    "build.scm.committer.email" Text, BUILDKITE;
    "build.pull_request.id" Text, JOB;
    "build.pull_request.base_branch" Text, JOB;
    "build.pull_request.draft" Bool, JOB;
    "build.pull_request.label" Text, BUILDKITE;
    "build.pull_request.labels" List, JOB;
    "build.pull_request.repository" Text, JOB;
    "build.pull_request.repository.fork" Bool, BUILDKITE;
    "build.merge_queue.base_branch" Text, JOB;
    "build.merge_queue.base_commit" Text, JOB;
    "pipeline.id" Text, JOB;
    "pipeline.slug" Text, JOB;
    "pipeline.default_branch" Text, JOB;
    "pipeline.repository" Text, JOB;
    "pipeline.started_passing" Bool, BUILDKITE;
    "pipeline.started_failing" Bool, BUILDKITE;
    "pipeline.next_finished_build_exists" Bool, BUILDKITE;
    "organization.id" Text, JOB;
    "organization.slug" Text, JOB;
    "step.id" Text, JOB;
    "step.key" Text, JOB;
    "step.label" Text, JOB;
    "step.type" Word(&["command", "wait", "input", "trigger", "group"]), JOB;
    "step.state" Word(&["ignored", "waiting_for_dependencies", "ready", "waiting_for_input", "running", "failing",
        "canceled", "finished"]), BUILDKITE;
    "step.outcome" Word(&["neutral", "passed", "soft_failed", "hard_failed", "errored"]), BUILDKITE;
}

/// The functions, both of one text.
pub(super) const FUNCTIONS: [&str; 2] = ["env", "build.env"];

/// What of Buildkite's own variables `env` knows: the same wherever a condition is evaluated.
const ENVIRONMENT: &[&str] = &[
    "BUILDKITE_BRANCH",
    "BUILDKITE_TAG",
    "BUILDKITE_MESSAGE",
    "BUILDKITE_COMMIT",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_PIPELINE_NAME",
    "BUILDKITE_PIPELINE_ID",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_TRIGGERED_FROM_BUILD_ID",
    "BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER",
    "BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG",
    "BUILDKITE_TRIGGERED_FROM_BUILD_JOB_ID",
    "BUILDKITE_REBUILT_FROM_BUILD_ID",
    "BUILDKITE_REBUILT_FROM_BUILD_NUMBER",
    "BUILDKITE_REPO",
    "BUILDKITE_PULL_REQUEST",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
    "BUILDKITE_PULL_REQUEST_REPO",
    "BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC",
    "BUILDKITE_MERGE_QUEUE_BASE_BRANCH",
    "BUILDKITE_MERGE_QUEUE_BASE_COMMIT",
    "BUILDKITE_GIT_DIFF_BASE",
    "BUILDKITE_GITHUB_ACTION",
    "BUILDKITE_GITHUB_COMMENT_ID",
    "BUILDKITE_GITHUB_DEPLOYMENT_ID",
    "BUILDKITE_GITHUB_DEPLOYMENT_TASK",
    "BUILDKITE_GITHUB_DEPLOYMENT_ENVIRONMENT",
    "BUILDKITE_GITHUB_DEPLOYMENT_PAYLOAD",
    "BUILDKITE_GITHUB_EVENT",
    "BUILDKITE_GITHUB_REVIEW_ID",
    "BUILDKITE_GITHUB_CHECK_RUN_CONCLUSION",
    "BUILDKITE_GITHUB_CHECK_RUN_NAME",
    "BUILDKITE_GITHUB_DEPLOYMENT_STATUS_ENVIRONMENT",
    "BUILDKITE_GITHUB_DEPLOYMENT_STATUS_STATE",
    "BUILDKITE_GITHUB_RELEASE_DRAFT",
    "BUILDKITE_GITHUB_RELEASE_PRERELEASE",
    "BUILDKITE_GITHUB_RELEASE_TAG",
    "BUILDKITE_GITHUB_REVIEW_STATE",
];

/// Whether `env` may be asked for this name, and if not, why not.
pub(super) fn readable(name: &str) -> Result<(), String> {
    if let Some(bare) = name.strip_prefix('$') {
        return Err(format!("saw `{name}`, expected a variable's name without `$`: `{bare}`"));
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("saw `{name}`, expected the name of a variable"));
    }
    // As where Buildkite evaluates: known at run time only, and so not by its literal name.
    if !name.starts_with("BUILDKITE_") || ENVIRONMENT.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, ENVIRONMENT.iter().copied());
    let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("`{name}` is no variable that a condition can read{hint}"))
}

/// The same for a name that was made while the condition is evaluated.
pub(super) fn readable_now(name: &str) -> Result<(), String> {
    if name == "BUILDKITE_PULL_REQUEST_LABELS" { Ok(()) } else { readable(name) }
}

/// The known name that the author probably meant.
pub(super) fn nearest<'a>(seen: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (strsim::damerau_levenshtein(seen, name), name)).min();
    near.filter(|(distance, name)| *distance <= name.len() / 3).map(|(_, name)| name)
}
