//! A `pipeline.yml`: parsed, expanded and put in order. Text in, values out.
//!
//! Read as `buildkite-agent pipeline upload` reads it, with two differences: a key that is written twice in one
//! map is an error here, and numbers as older YAML had them (`010`, `1_000`) stay the text that they are.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub mod condition;
pub mod error;
pub mod interpolate;
pub mod matrix;
pub mod order;
pub mod place;
pub mod plugin;
pub mod upload;

mod fields;
mod jobs;
mod keys;
mod read;
mod scalar;
mod spelling;
mod tree;
mod wire;

pub use error::{Error, Problem, UnknownKey};
pub use matrix::Choice;
pub use order::{Graph, Need, Outcome, waves};
pub use plugin::PluginUse;

use interpolate::Variables;
use place::Path;

/// A pipeline, as one upload would add it to a build.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Variables for every step.
    pub env: BTreeMap<String, String>,
    /// The steps, in the order in which they are written.
    pub steps: Vec<Step>,
    /// What was read: places in errors are looked up in it.
    text: String,
}

/// One step or group.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What other steps call it.
    pub key: Option<String>,
    /// What people call it.
    pub label: Option<String>,
    /// What it does.
    pub kind: Kind,
    /// What it waits for.
    pub depends_on: Dependencies,
    /// `if`, unevaluated; a group's stands in each of its members too.
    pub condition: Option<String>,
    /// `branches`, unevaluated.
    pub branches: Option<String>,
    /// Whether it runs although something it waits for has failed.
    pub allow_dependency_failure: bool,
    /// Why it does not run, where it is skipped; `true` where no reason is given.
    pub skip: Option<String>,
    /// Where it stands in the text.
    pub path: Path,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Runs commands, or plugins only.
    Command(Command),
    /// Lets everything before it finish first.
    Wait {
        /// Whether it lets the rest run although something before it has failed.
        continue_on_failure: bool,
    },
    /// Waits for a person, and everything behind it with it.
    Block,
    /// Asks a person.
    Input,
    /// Starts a build of another pipeline.
    Trigger {
        /// The other pipeline's slug.
        pipeline: String,
    },
    /// Steps that belong together.
    Group(Vec<Step>),
}

/// What a command step runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// One job, or one for each choice of the matrix.
    pub jobs: Vec<Job>,
    /// What is uploaded when a job has run.
    pub artifact_paths: Vec<String>,
    /// How many times each job runs at once.
    pub parallelism: Option<u32>,
    /// After how long a job is stopped.
    pub timeout: Option<Duration>,
}

/// One job of a command step, its matrix tokens replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What people call it.
    pub label: Option<String>,
    /// The lines, as the agent gets them in `BUILDKITE_COMMAND`; empty where the plugins do everything.
    pub command: String,
    /// The step's own variables.
    pub env: BTreeMap<String, String>,
    /// The plugins, in order.
    pub plugins: Vec<PluginUse>,
    /// What an agent must be tagged with; the pipeline's tags where the step names none.
    pub agents: BTreeMap<String, String>,
    /// The matrix's values that made this job.
    pub matrix: Choice,
    /// Which failures do not count.
    pub soft_fail: SoftFail,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependencies {
    /// For the wait and block steps before it.
    Implicit,
    /// For these and nothing else.
    Explicit(Vec<Dependency>),
}

/// One step that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The key of a step or group.
    pub key: String,
    /// Whether its failure is no obstacle.
    pub allow_failure: bool,
    /// Where it stands in the text.
    pub path: Path,
}

/// Which exit statuses of a job do not fail the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoftFail {
    /// None.
    Never,
    /// Any.
    Always,
    /// These.
    On(Vec<i32>),
}

impl SoftFail {
    /// Whether a job that ended so counts as passed.
    pub fn forgives(&self, exit_status: i32) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::On(statuses) => statuses.contains(&exit_status),
        }
    }
}

/// A step of a pipeline, groups not counted: its number in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(usize);

impl Pipeline {
    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads a pipeline, and replaces the variables in it as `pipeline upload` would; `None` leaves them alone.
    pub fn parse(text: &str, variables: Option<&Variables>) -> Result<Self, Error> {
        read::pipeline(text, variables).map_err(|wrong| wrong.located(text))
    }

    /// Every step with its number, the members of groups in the place of their group.
    pub fn walk(&self) -> impl Iterator<Item = (StepId, &Step)> {
        let steps = self.steps.iter().flat_map(|step| match &step.kind {
            Kind::Group(members) => members.as_slice(),
            _ => std::slice::from_ref(step),
        });
        steps.enumerate().map(|(number, step)| (StepId(number), step))
    }

    /// The step with this number.
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.walk().find(|(number, _)| *number == id).map(|(_, step)| step)
    }

    /// The step with this key, or every member of the group with this key.
    pub fn named(&self, key: &str) -> Result<Vec<StepId>, UnknownKey> {
        let keys = keys::Keys::of(self);
        keys.get(key).map(<[StepId]>::to_vec).ok_or_else(|| keys.unknown(key))
    }

    /// The same pipeline, where it has a step. Buildkite takes one without, and a build of it does nothing.
    pub fn with_steps(self) -> Result<Self, Error> {
        if self.walk().next().is_some() {
            return Ok(self);
        }
        let keys = tree::read(&self.text).ok().map(|document| read::keys(&document)).unwrap_or_default();
        let near = keys.iter().find(|key| read::is_nearly_steps(key)).cloned();
        let path = match (&near, keys.is_empty()) {
            (Some(key), _) => Path::default().key(key),
            (None, false) if keys.iter().any(|key| key == "steps") => Path::default().key("steps"),
            _ => Path::default(),
        };
        Err(error::Wrong { path, problem: Problem::NoSteps { near } }.located(&self.text))
    }
}

impl fmt::Display for Step {
    /// Its key, else its label, else where it stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_ref().or(self.label.as_ref()) {
            Some(name) => write!(f, "`{name}`"),
            None => self.path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn variables() -> Variables {
        [("WHO", "world"), ("N", "3")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn parsed(text: &str) -> Pipeline {
        Pipeline::parse(text, Some(&variables())).unwrap()
    }

    fn refusal(text: &str) -> String {
        Pipeline::parse(text, Some(&variables())).unwrap_err().to_string()
    }

    fn command(text: &str) -> Command {
        match parsed(text).steps.swap_remove(0).kind {
            Kind::Command(command) => command,
            other => panic!("{other:?}"),
        }
    }

    fn job(text: &str) -> Job {
        command(text).jobs.swap_remove(0)
    }

    #[test]
    fn a_document_is_a_map_with_steps_or_a_list_of_them() {
        assert_eq!(parsed("steps: [wait]").steps.len(), 1);
        assert_eq!(parsed("[wait, block, input, waiter, manual]").steps.len(), 5);
        assert_eq!(parsed("steps: ~").steps.len(), 0);
        assert_eq!(parsed(r#"{"steps": [{"wait": null}]}"#).steps.len(), 1);
        assert_eq!(
            refusal("hello"),
            "expected a map with `steps`, or a list of steps, saw `hello` at the document (line 1, column 1)"
        );
    }

    #[test]
    fn commands_are_one_text() {
        assert_eq!(job("[{command: make}]").command, "make");
        assert_eq!(job("[{commands: [make, 5, true]}]").command, "make\n5\ntrue");
        assert_eq!(job("[{command: one, commands: two}]").command, "two");
        assert_eq!(job("[{plugins: [docker#v5]}]").command, "");
    }

    #[test]
    fn every_alias_of_a_key_is_known() {
        let text = "[{commands: x, id: k, name: l, artifacts: a, timeout: 2, agent_query_rules: [q=r]}]";
        let step = parsed(text).steps.swap_remove(0);
        assert_eq!((step.key.as_deref(), step.label.as_deref()), (Some("k"), Some("l")));
        let command = command(text);
        assert_eq!(command.artifact_paths, ["a"]);
        assert_eq!(command.timeout, Some(Duration::from_mins(2)));
        assert_eq!(command.jobs[0].agents, BTreeMap::from([("q".to_owned(), "r".to_owned())]));
        assert_eq!(parsed("[{wait: ~, identifier: k}]").steps[0].key.as_deref(), Some("k"));
    }

    #[test]
    fn a_steps_kind_is_told_by_its_keys_or_its_type() {
        let check = |text: &str, kind: Kind| assert_eq!(parsed(text).steps[0].kind, kind, "{text}");
        check("[{wait: ~, continue_on_failure: true}]", Kind::Wait { continue_on_failure: true });
        check("[{block: ok}]", Kind::Block);
        check("[{type: manual, label: ok}]", Kind::Block);
        check("[{input: who}]", Kind::Input);
        check("[{trigger: other}]", Kind::Trigger { pipeline: "other".into() });
        check("[{group: ~, label: g, steps: []}]", Kind::Group(Vec::new()));
        assert!(
            refusal("[{label: x}]")
                .starts_with("cannot tell what kind of step this is: it has none of command,")
        );
        assert!(refusal("[{type: dance}]").starts_with("expected a kind of step, saw `dance` at [0].type"));
        assert!(refusal("[sleep]").starts_with("expected a step"));
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let text = "
common: &common
  env: { A: 1 }
  agents: { queue: big }
more: &more
  <<: *common
  plugins: &plugins
    - acme/dataflow#v1: { credentials: [] }
steps:
  - <<: *more
    command: make
    env: { B: two }
  - command: test
    plugins: *plugins
";
        let pipeline = parsed(text);
        let jobs: Vec<_> = pipeline
            .walk()
            .map(|(_, step)| match &step.kind {
                Kind::Command(command) => command.jobs[0].clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(jobs[0].env, BTreeMap::from([("B".to_owned(), "two".to_owned())]));
        assert_eq!(jobs[0].agents, BTreeMap::from([("queue".to_owned(), "big".to_owned())]));
        assert_eq!(jobs[0].plugins, jobs[1].plugins);
        assert!(jobs[0].plugins[0].is_ours());
    }

    #[test]
    fn plugins_may_be_strings_maps_or_one_map() {
        let with = |plugins: &str| job(&format!("[{{command: x, plugins: {plugins}}}]")).plugins;
        let used = |source: &str, config| PluginUse { source: source.to_owned(), config };
        let both = [used("b#v1", serde_json::Value::Null), used("a#v1", json!({"x": 1}))];
        assert_eq!(with("['b#v1', {'a#v1': {x: 1}}]"), both);
        assert_eq!(with("{'b#v1': ~, 'a#v1': {x: 1}}"), both);
        assert!(refusal("[{command: x, plugins: [1]}]").starts_with("expected a plugin: a string, or a map"));
        assert!(refusal("[{command: x, plugins: [a: .nan]}]").contains("JSON"));
    }

    #[test]
    fn the_pipelines_variables_are_used_from_top_to_bottom() {
        let pipeline = parsed("{env: {A: $WHO, B: '$A!', N: 4}, steps: [{command: 'echo $B $N $$N'}]}");
        let env = [("A", "world"), ("B", "world!"), ("N", "4")];
        assert_eq!(pipeline.env, env.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let Kind::Command(command) = &pipeline.steps[0].kind else { panic!() };
        assert_eq!(command.jobs[0].command, "echo world! 4 $N");
    }

    #[test]
    fn variables_stand_for_anything_that_is_text() {
        let text =
            "[{command: x, key: $WHO, parallelism: $N, depends_on: [], plugins: [{'p#$N': {$WHO: $WHO}}]}]";
        assert_eq!(parsed(text).steps[0].key.as_deref(), Some("world"));
        assert_eq!(command(text).parallelism, Some(3));
        let plugin = &job(text).plugins[0];
        assert_eq!((plugin.source.as_str(), &plugin.config), ("p#3", &json!({"world": "world"})));
    }

    #[test]
    fn without_variables_nothing_is_replaced() {
        let pipeline = Pipeline::parse("[{command: 'echo $$X ${Y?}'}]", None).unwrap();
        let Kind::Command(command) = &pipeline.steps[0].kind else { panic!() };
        assert_eq!(command.jobs[0].command, "echo $$X ${Y?}");
    }

    #[test]
    fn a_missing_variable_is_placed() {
        let error = Pipeline::parse("steps:\n  - command: x\n    env:\n      A: ${B?}\n", Some(&variables()));
        let error = error.unwrap_err();
        let place = "a variable cannot be replaced at steps[0].env.A (line 4, column 10)";
        assert_eq!(error.to_string(), place);
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "`$B`: not set");
    }

    #[test]
    fn what_is_no_yaml_is_placed_by_the_parser() {
        let error = Pipeline::parse("steps:\n  - a: b\n c: d\n", None).unwrap_err();
        assert_eq!(error.to_string(), "the pipeline is not valid YAML at the document (line 3, column 2)");
    }

    #[test]
    fn dependencies_are_keys_or_maps() {
        let on = |value: &str| {
            parsed(&format!("[{{wait: ~, depends_on: {value}}}]")).steps.swap_remove(0).depends_on
        };
        let keys = |value: &str| match on(value) {
            Dependencies::Explicit(list) => {
                list.into_iter().map(|d| (d.key, d.allow_failure)).collect::<Vec<_>>()
            }
            Dependencies::Implicit => panic!(),
        };
        assert_eq!(keys("a"), [("a".to_owned(), false)]);
        assert_eq!(
            keys("[a, {step: b, allow_failure: true}]"),
            [("a".to_owned(), false), ("b".to_owned(), true)]
        );
        assert_eq!((keys("~"), keys("[]")), (Vec::new(), Vec::new()));
        assert_eq!(parsed("[wait]").steps[0].depends_on, Dependencies::Implicit);
        assert!(
            refusal("[{wait: ~, depends_on: [{key: a}]}]")
                .contains("at [0].depends_on[0] (line 1, column 25)")
        );
    }

    #[test]
    fn soft_fail_is_a_truth_or_a_list_of_statuses() {
        let of = |value: &str| job(&format!("[{{command: x, soft_fail: {value}}}]")).soft_fail;
        assert_eq!(
            (of("true"), of("'false'"), of("~")),
            (SoftFail::Always, SoftFail::Never, SoftFail::Never)
        );
        assert_eq!(of("[{exit_status: 1}, {exit_status: '42'}]"), SoftFail::On(vec![1, 42]));
        assert_eq!(of("[{exit_status: '*'}]"), SoftFail::Always);
        assert!(of("[{exit_status: 1}]").forgives(1) && !of("[{exit_status: 1}]").forgives(2));
    }

    #[test]
    fn a_skipped_step_says_why() {
        let of = |value: &str| parsed(&format!("[{{wait: ~, skip: {value}}}]")).steps.swap_remove(0).skip;
        assert_eq!((of("false"), of("''"), of("~")), (None, None, None));
        assert_eq!((of("true").as_deref(), of("later").as_deref()), (Some("true"), Some("later")));
    }

    #[test]
    fn a_matrix_makes_jobs() {
        let text = "
- label: test {{matrix.os}}
  command: make {{matrix.os}} {{matrix.n}}
  env: { OS: '{{matrix.os}}' }
  agents: { queue: '{{matrix.os}}' }
  plugins: [ { 'p#{{matrix.n}}': { os: '{{matrix.os}}' } } ]
  matrix:
    setup: { os: [linux, mac], n: [1, 2] }
    adjustments:
      - with: { os: mac, n: 2 }
        skip: broken there
      - with: { os: bsd, n: 1 }
        soft_fail: true
";
        let jobs = command(text).jobs;
        let commands: Vec<_> = jobs.iter().map(|job| job.command.as_str()).collect();
        assert_eq!(commands, ["make linux 1", "make mac 1", "make linux 2", "make bsd 1"]);
        let last = &jobs[3];
        assert_eq!(last.label.as_deref(), Some("test bsd"));
        assert_eq!((last.env["OS"].as_str(), last.agents["queue"].as_str()), ("bsd", "bsd"));
        assert_eq!(
            (last.plugins[0].source.as_str(), &last.plugins[0].config),
            ("p#1", &json!({"os": "bsd"}))
        );
        assert_eq!((&last.soft_fail, &jobs[0].soft_fail), (&SoftFail::Always, &SoftFail::Never));
    }

    #[test]
    fn a_matrix_without_names_has_one_value() {
        let commands = |text| command(text).jobs.into_iter().map(|job| job.command).collect::<Vec<_>>();
        assert_eq!(commands("[{command: 'x {{matrix}}', matrix: [a, 1]}]"), ["x a", "x 1"]);
        let adjusted =
            "[{command: 'x {{matrix}}', matrix: {setup: [a, b], adjustments: [{with: b, skip: true}]}}]";
        assert_eq!(commands(adjusted), ["x a"]);
        assert_eq!(commands("[{command: 'x {{matrix}}'}]"), ["x {{matrix}}"]);
    }

    #[test]
    fn a_matrix_and_parallelism_do_not_go_together() {
        let error = Pipeline::parse("[{command: x, matrix: [a], parallelism: 2}]", None).unwrap_err();
        assert_eq!(error.to_string(), "the matrix cannot be expanded at [0].matrix (line 1, column 23)");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "a step has either a matrix or `parallelism`");
    }

    #[test]
    fn a_group_speaks_for_its_members() {
        let text = "
- group: g
  if: a
  skip: later
  allow_dependency_failure: true
  steps:
    - { command: x, if: b, skip: never }
    - wait
";
        let pipeline = parsed(text);
        let members: Vec<_> = pipeline.walk().map(|(_, step)| step).collect();
        let seen = |step: &Step| (step.condition.clone(), step.skip.clone());
        assert_eq!(seen(members[0]), (Some("(a) && (b)".into()), Some("never".into())));
        assert_eq!(seen(members[1]), (Some("a".into()), Some("later".into())));
        assert!(members[1].allow_dependency_failure);
        assert!(
            refusal("[{group: a, steps: [{group: b, steps: []}]}]")
                .starts_with("a group cannot stand inside")
        );
    }

    #[test]
    fn tags_of_the_pipeline_serve_steps_that_have_none() {
        let pipeline = parsed("{agents: {queue: q$N}, steps: [{command: x}, {command: y, agents: [a=b]}]}");
        let agents = |at: usize| match &pipeline.steps[at].kind {
            Kind::Command(command) => command.jobs[0].agents.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(agents(0), BTreeMap::from([("queue".to_owned(), "q3".to_owned())]));
        assert_eq!(agents(1), BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    }

    #[test]
    fn a_wrong_shape_says_what_was_expected_and_where() {
        let text = "steps:\n  - command: x\n    env:\n      A: [1]\n";
        assert_eq!(refusal(text), "expected a string, saw a list at steps[0].env.A (line 4, column 10)");
        assert!(refusal("[{command: x, env: [a]}]").starts_with("expected a map, saw a list at [0].env"));
        assert!(
            refusal("[{command: x, parallelism: many}]").starts_with("expected a whole number, saw `many`")
        );
        assert!(refusal("[{command: {a: b}}]").starts_with("expected a string, saw a map at [0].command"));
    }

    #[test]
    fn a_flood_of_steps_is_refused() {
        let error = refusal(&"- wait\n".repeat(4001));
        assert!(error.starts_with("a pipeline has at most 4000 steps"), "{error}");
    }

    const WORDS: &str = "(steps|command|plugins|wait|group|key|depends_on|matrix|setup|adjustments|with|env|if\
                         |[-:\\[\\]{}&*<!,$'\"]|: |- |\n|\n  |\n    |<<|[a-z0-9]){0,40}";

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in WORDS) {
            if let Ok(pipeline) = Pipeline::parse(&text, Some(&variables())) {
                drop(waves(&pipeline));
            }
        }

        #[test]
        fn no_step_makes_the_parser_panic(body in WORDS) {
            drop(Pipeline::parse(&format!("steps:\n- command: x\n  {body}"), Some(&variables())));
        }
    }
}
