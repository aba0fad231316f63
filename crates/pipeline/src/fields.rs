//! What every kind of step may say.

use std::collections::BTreeMap;

use super::error::Wrong;
use super::wire::Written;
use super::{Dependencies, Dependency, Kind, SoftFail, Step};

pub(super) fn common(step: &Written<'_>, kind: Kind) -> Result<Step, Wrong> {
    let own = match kind {
        Kind::Block => step.text_of("block")?.or(step.text_of("manual")?),
        Kind::Input => step.text_of("input")?,
        Kind::Wait { .. } => step.text_of("wait")?.or(step.text_of("waiter")?),
        Kind::Group(_) => step.text_of("group")?,
        Kind::Command(_) | Kind::Trigger { .. } => None,
    };
    let branches = step.texts_of("branches")?.join(" ");
    Ok(Step {
        key: step.text_of("key")?,
        label: own.or(step.text_of("label")?),
        kind,
        depends_on: dependencies(step)?,
        condition: step.text_of("if")?,
        branches: Some(branches).filter(|branches| !branches.is_empty()),
        allow_dependency_failure: step.flag_of("allow_dependency_failure")?,
        skip: skip(step)?,
        path: step.path.clone(),
    })
}

/// Why a step is skipped; an empty reason is none.
pub(super) fn skip(step: &Written<'_>) -> Result<Option<String>, Wrong> {
    Ok(step.text_of("skip")?.filter(|reason| reason != "false"))
}

fn dependencies(step: &Written<'_>) -> Result<Dependencies, Wrong> {
    let Some(written) = step.key("depends_on") else { return Ok(Dependencies::Implicit) };
    if written.value.is_null() {
        return Ok(Dependencies::Explicit(Vec::new()));
    }
    let one = |item: &Written<'_>| {
        if !item.value.is_mapping() {
            let path = item.path.clone();
            return Ok(Dependency { key: item.text()?, allow_failure: false, path });
        }
        let step = item.some("step").ok_or_else(|| item.wrong("a key, or a map with `step`"))?;
        let allow_failure = item.flag_of("allow_failure")?;
        Ok(Dependency { key: step.text()?, allow_failure, path: step.path })
    };
    written.one_or_many()?.iter().map(one).collect::<Result<_, _>>().map(Dependencies::Explicit)
}

/// Tags as a map, or as a list of `name=value`.
pub(super) fn agents(written: &Written<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    if written.value.is_null() {
        return Ok(BTreeMap::new());
    }
    if written.value.is_mapping() {
        return written.pairs().map(|pairs| pairs.into_iter().collect());
    }
    let tag = |text: String| {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    Ok(written.texts()?.into_iter().map(tag).collect())
}

/// True or false, or a list of exit statuses.
pub(super) fn soft_fail(written: &Written<'_>) -> Result<SoftFail, Wrong> {
    if !written.value.is_sequence() {
        return Ok(if written.flag()? { SoftFail::Always } else { SoftFail::Never });
    }
    let mut statuses = Vec::new();
    for item in written.items()? {
        let status = item.some("exit_status").ok_or_else(|| item.wrong("a map with `exit_status`"))?;
        match status.text()?.as_str() {
            "*" => return Ok(SoftFail::Always),
            number => statuses.push(number.parse().map_err(|_| status.wrong("a number or `*`"))?),
        }
    }
    Ok(SoftFail::On(statuses))
}
