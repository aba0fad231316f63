//! The jobs that a command step becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{Problem, Wrong};
use super::matrix::{self, Adjustment, Choice, Matrix};
use super::wire::Written;
use super::{Command, Job, PluginUse, SoftFail, fields};

/// What a command step runs.
pub(super) fn command(step: &Written<'_>, agents: &BTreeMap<String, String>) -> Result<Command, Wrong> {
    let parallelism = step.some("parallelism").map(|count| count.count()).transpose()?;
    let minutes = step.some("timeout_in_minutes").map(|count| count.count()).transpose()?;
    let artifact_paths = step.texts_of("artifact_paths")?;
    let artifact_paths = artifact_paths.iter().flat_map(|paths| paths.split(';')).map(str::trim);
    Ok(Command {
        jobs: jobs(step, agents, parallelism)?,
        artifact_paths: artifact_paths.filter(|path| !path.is_empty()).map(str::to_owned).collect(),
        parallelism,
        timeout: minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
    })
}

fn jobs(
    step: &Written<'_>,
    agents: &BTreeMap<String, String>,
    parallelism: Option<u32>,
) -> Result<Vec<Job>, Wrong> {
    let template = Job {
        label: step.text_of("label")?,
        command: step.some("command").map(|command| command.text()).transpose()?.unwrap_or_default(),
        env: step.some("env").map(|env| env.pairs()).transpose()?.unwrap_or_default().into_iter().collect(),
        plugins: step.some("plugins").map(|plugins| plugins.plugins()).transpose()?.unwrap_or_default(),
        agents: step.some("agents").map_or_else(|| Ok(agents.clone()), |own| fields::agents(&own))?,
        matrix: Choice::new(),
        soft_fail: step.some("soft_fail").map_or(Ok(SoftFail::Never), |value| fields::soft_fail(&value))?,
    };
    let Some(written) = step.some("matrix") else {
        return Ok(vec![template]);
    };
    let wrong = |error| Wrong { path: written.path.clone(), problem: Problem::Matrix(error) };
    if parallelism.is_some() {
        return Err(wrong(matrix::Error::Parallelism));
    }
    let choices = matrix_of(&written)?.choices().map_err(wrong)?;
    let chosen = |(choice, soft_fail)| template.chosen(choice, soft_fail).map_err(wrong);
    choices.into_iter().map(chosen).collect()
}
impl Job {
    /// The same job with a matrix's values in it.
    fn chosen(&self, choice: Choice, soft_fail: Option<SoftFail>) -> Result<Self, matrix::Error> {
        let replace = |text: &String| matrix::replace(text, &choice);
        let values = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(name, value)| Ok((name.clone(), replace(value)?))).collect::<Result<_, _>>()
        };
        let plugin = |used: &PluginUse| {
            let config = matrix::replace_json(&used.config, &choice)?;
            Ok(PluginUse { source: replace(&used.source)?, config })
        };
        Ok(Self {
            label: self.label.as_ref().map(replace).transpose()?,
            command: replace(&self.command)?,
            env: values(&self.env)?,
            plugins: self.plugins.iter().map(plugin).collect::<Result<_, _>>()?,
            agents: values(&self.agents)?,
            soft_fail: soft_fail.unwrap_or_else(|| self.soft_fail.clone()),
            matrix: choice,
        })
    }
}

/// A list, or `setup` (a list, or a list for each name) and `adjustments`.
fn matrix_of(written: &Written<'_>) -> Result<Matrix, Wrong> {
    if written.value.is_sequence() {
        return Ok(Matrix {
            dimensions: BTreeMap::from([(String::new(), written.texts()?)]),
            adjustments: Vec::new(),
        });
    }
    let setup = written.some("setup").ok_or_else(|| written.wrong("a list, or a map with `setup`"))?;
    let dimensions = if setup.value.is_mapping() {
        let named = |(name, elements): (&str, Written<'_>)| Ok((name.to_owned(), elements.texts()?));
        setup.entries()?.into_iter().map(named).collect::<Result<_, _>>()?
    } else {
        BTreeMap::from([(String::new(), setup.texts()?)])
    };
    let adjustments = written.some("adjustments").map(|list| list.items()).transpose()?.unwrap_or_default();
    let adjustments = adjustments.iter().map(adjustment).collect::<Result<_, _>>()?;
    Ok(Matrix { dimensions, adjustments })
}

fn adjustment(written: &Written<'_>) -> Result<Adjustment, Wrong> {
    let with = written.some("with").ok_or_else(|| written.wrong("a map with `with`"))?;
    let with = if with.value.is_mapping() {
        with.pairs()?.into_iter().collect()
    } else {
        Choice::from([(String::new(), with.text()?)])
    };
    let skip = written.some("skip").map(|skip| skip.text()).transpose()?;
    let soft_fail = written.some("soft_fail").map(|value| fields::soft_fail(&value)).transpose()?;
    Ok(Adjustment { with, skip: skip.is_some_and(|reason| reason != "false"), soft_fail })
}
