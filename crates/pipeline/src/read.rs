//! From what is written to what it means.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::error::{Problem, Wrong};
use super::interpolate::Variables;
use super::place::Path;
use super::wire::{Written, respell};
use super::{Kind, Pipeline, Step, fields, jobs, keys, scalar, tree};
use dataflow_types::near_name::nearest;

/// The most jobs that a build may have; more steps are a mistake or an attack.
const MOST_STEPS: usize = 4000;

/// The keys that tell what a step does, in the order in which they are asked.
const TELLING: &[&str] =
    &["command", "commands", "plugins", "wait", "waiter", "block", "input", "manual", "trigger", "group"];

pub(super) fn pipeline(text: &str, variables: Option<&Variables>) -> Result<Pipeline, Wrong> {
    let (document, root) = match tree::read(text)? {
        Value::Mapping(map) => (map, Path::default().key("steps")),
        list @ Value::Sequence(_) => (Mapping::from_iter([("steps".into(), list)]), Path::default()),
        other => {
            let root = Written::new(&other, Path::default());
            return Err(root.wrong("a map with `steps`, or a list of steps"));
        }
    };
    let mut reader = Reader { variables: variables.cloned(), agents: BTreeMap::new() };
    let env = reader.pipeline_env(&document)?;
    let agents =
        reader.interpolated(document.get("agents").cloned().unwrap_or_default(), &Path::default())?;
    reader.agents = fields::agents(&Written::new(&agents, Path::default().key("agents")))?;
    let steps = document.get("steps").cloned().unwrap_or_default();
    let steps = reader.steps(&steps, &root)?;
    let pipeline = Pipeline { env, steps, text: text.to_owned() };
    if pipeline.walk().count() > MOST_STEPS {
        return Err(Wrong { path: root, problem: Problem::TooManySteps(MOST_STEPS) });
    }
    keys::check(&pipeline)?;
    Ok(pipeline)
}

/// A document with its variables replaced, as `pipeline upload` sends it.
pub(super) fn replaced(mut document: Mapping, variables: Option<&Variables>) -> Result<Value, Wrong> {
    let mut reader = Reader { variables: variables.cloned(), agents: BTreeMap::new() };
    // Its own variables are known to everything below, whatever stands above them in the text.
    let env = reader.pipeline_env(&document)?;
    if !env.is_empty() {
        let env = env.into_iter().map(|(name, value)| (Value::from(name), Value::from(value)));
        document.insert("env".into(), Value::Mapping(env.collect()));
    }
    let mut out = Mapping::new();
    for (key, value) in document {
        let inner = Path::default().key(key.as_str().unwrap_or_default());
        let value = if key == "env" { value } else { reader.interpolated(value, &inner)? };
        out.insert(key, value);
    }
    Ok(Value::Mapping(out))
}

/// The keys of a document that is a map.
pub(super) fn keys(document: &Value) -> Vec<String> {
    let keys = document.as_mapping().into_iter().flat_map(Mapping::keys);
    keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

/// Whether a key may have been meant for `steps`.
pub(super) fn is_nearly_steps(key: &str) -> bool {
    key != "steps" && strsim::damerau_levenshtein(&key.to_lowercase(), "steps") <= 2
}

struct Reader {
    /// What can be replaced: what the caller gave, and what the pipeline's own `env` adds from top to bottom.
    variables: Option<Variables>,
    agents: BTreeMap<String, String>,
}

impl Reader {
    fn interpolated(&self, value: Value, path: &Path) -> Result<Value, Wrong> {
        match &self.variables {
            Some(variables) => tree::interpolated(value, path, variables),
            None => Ok(value),
        }
    }

    fn pipeline_env(&mut self, document: &Mapping) -> Result<BTreeMap<String, String>, Wrong> {
        let value = document.get("env").cloned().unwrap_or_default();
        let path = Path::default().key("env");
        let mut env = BTreeMap::new();
        if value.is_null() {
            return Ok(env);
        }
        for (name, value) in Written::new(&value, path.clone()).pairs()? {
            let (name, value) = match &mut self.variables {
                Some(variables) => {
                    let inner = path.key(&name);
                    let name = tree::interpolated_text(&name, &inner, variables)?;
                    let value = tree::interpolated_text(&value, &inner, variables)?;
                    variables.insert(name.clone(), value.clone());
                    (name, value)
                }
                None => (name, value),
            };
            env.insert(name, value);
        }
        Ok(env)
    }

    fn steps(&self, steps: &Value, path: &Path) -> Result<Vec<Step>, Wrong> {
        if steps.is_null() {
            return Ok(Vec::new());
        }
        let steps = Written::new(steps, path.clone()).items()?;
        steps.into_iter().map(|step| self.step(&step)).collect()
    }

    fn step(&self, written: &Written<'_>) -> Result<Step, Wrong> {
        let path = &written.path;
        let mut map = match written.value {
            Value::Mapping(map) => map.clone(),
            Value::String(scalar) => match scalar.as_str() {
                "wait" | "waiter" | "block" | "input" | "manual" => {
                    Mapping::from_iter([(written.value.clone(), Value::Null)])
                }
                _ => return Err(written.wrong("a step: a map, or one of `wait`, `block` and `input`")),
            },
            _ => return Err(written.wrong("a step: a map, or one of `wait`, `block` and `input`")),
        };
        let kind = told_kind(&map, path)?;
        let members = map.shift_remove("steps").filter(|_| kind == "group");
        map.shift_remove("signature");
        respell(&mut map);
        join_command(&mut map);
        let value = self.interpolated(Value::Mapping(map), path)?;
        let written = Written::new(&value, path.clone());
        let kind = match kind {
            "command" | "commands" | "plugins" | "script" => {
                Kind::Command(jobs::command(&written, &self.agents)?)
            }
            "wait" | "waiter" => Kind::Wait { continue_on_failure: written.flag_of("continue_on_failure")? },
            "block" | "manual" => Kind::Block,
            "input" => Kind::Input,
            "trigger" => Kind::Trigger { pipeline: written.text_of("trigger")?.unwrap_or_default() },
            _ => Kind::Group(self.members(&members.unwrap_or_default(), &written)?),
        };
        fields::common(&written, kind)
    }

    /// A group's members, with what the group says for all of them.
    fn members(&self, steps: &Value, group: &Written<'_>) -> Result<Vec<Step>, Wrong> {
        let mut members = self.steps(steps, &group.path.key("steps"))?;
        let (condition, skip) = (group.text_of("if")?, fields::skip(group)?);
        let allow_dependency_failure = group.flag_of("allow_dependency_failure")?;
        for member in &mut members {
            if matches!(member.kind, Kind::Group(_)) {
                return Err(Wrong { path: member.path.clone(), problem: Problem::NestedGroup });
            }
            member.condition = match (&condition, member.condition.take()) {
                (Some(group), Some(own)) => Some(format!("({group}) && ({own})")),
                (group, own) => own.or_else(|| group.clone()),
            };
            member.skip = member.skip.take().or_else(|| skip.clone());
            member.allow_dependency_failure |= allow_dependency_failure;
        }
        Ok(members)
    }
}

/// The word that tells what a step does.
fn told_kind(map: &Mapping, path: &Path) -> Result<&'static str, Wrong> {
    let unknown = || {
        let mut keys = map.keys().filter_map(Value::as_str);
        let near = keys.find_map(|seen| Some((seen.to_owned(), nearest(seen, TELLING)?)));
        Wrong { path: path.clone(), problem: Problem::Kind { telling: TELLING, near } }
    };
    match map.get("type") {
        Some(value) => {
            let named = value.as_str().filter(|name| !matches!(*name, "plugins"));
            let known = || TELLING.iter().chain(&["script"]);
            let found = named.and_then(|name| known().find(|known| **known == name));
            found.copied().ok_or_else(|| Written::new(value, path.key("type")).wrong("a kind of step"))
        }
        None => TELLING.iter().find(|key| map.contains_key(**key)).copied().ok_or_else(unknown),
    }
}

/// The agent uploads a list of commands as one text, and replaces variables in that.
fn join_command(map: &mut Mapping) {
    let Some(Value::Sequence(lines)) = map.get("command") else { return };
    if let Some(lines) = lines.iter().map(scalar::text).collect::<Option<Vec<_>>>() {
        map.insert("command".into(), lines.join("\n").into());
    }
}
