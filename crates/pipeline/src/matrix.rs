//! Build matrices: <https://buildkite.com/docs/pipelines/configure/workflows/build-matrix>.

use std::collections::{BTreeMap, BTreeSet};

use super::SoftFail;

/// One value for each dimension; a matrix without names has one dimension, called nothing.
pub type Choice = BTreeMap<String, String>;

/// The most dimensions, elements of one, bytes of an element, adjustments and jobs that Buildkite takes.
const DIMENSIONS: usize = 6;
const ELEMENTS: usize = 25;
const BYTES: usize = 128;
const ADJUSTMENTS: usize = 12;
const JOBS: usize = 50;

/// A matrix as a step gives it.
#[derive(Clone, Debug, Default)]
pub(super) struct Matrix {
    /// By name: the upload sorts them, so written order is not theirs.
    pub(super) dimensions: BTreeMap<String, Vec<String>>,
    pub(super) adjustments: Vec<Adjustment>,
}

/// What is special about one choice, or that there is one more.
#[derive(Clone, Debug)]
pub(super) struct Adjustment {
    pub(super) with: Choice,
    pub(super) skip: bool,
    pub(super) soft_fail: Option<SoftFail>,
}

/// Why a matrix cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many of something.
    #[error("{count} {what}, where Buildkite takes at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name or value that is too long.
    #[error("`{0}` is longer than {BYTES} bytes")]
    TooLong(String),
    /// An adjustment that does not name each dimension once.
    #[error("adjustment {position} must name each of the dimensions {dimensions}")]
    Adjustment {
        /// Which one, from 0.
        position: usize,
        /// What there is to name.
        dimensions: String,
    },
    /// A token that names no dimension.
    #[error("`{{{{{0}}}}}` names no dimension of the matrix")]
    Token(String),
    /// A matrix and `parallelism` in one step.
    #[error("a step has either a matrix or `parallelism`")]
    Parallelism,
}

impl Matrix {
    /// The choices that become jobs, in order, and what becomes of their failure where an adjustment says so.
    pub(super) fn choices(&self) -> Result<Vec<(Choice, Option<SoftFail>)>, Error> {
        self.within_limits()?;
        let mut choices = vec![Choice::new()];
        for (name, elements) in &self.dimensions {
            let with = |choice: &Choice, element: &String| {
                let mut choice = choice.clone();
                choice.insert(name.clone(), element.clone());
                choice
            };
            choices = choices.iter().flat_map(|c| elements.iter().map(move |e| with(c, e))).collect();
            limit("jobs", choices.len(), JOBS + ADJUSTMENTS)?;
        }
        for adjustment in &self.adjustments {
            if !choices.contains(&adjustment.with) {
                choices.push(adjustment.with.clone());
            }
        }
        choices.retain(|choice| !self.about(choice).any(|adjustment| adjustment.skip));
        limit("jobs", choices.len(), JOBS)?;
        let soft_fail = |choice: &Choice| self.about(choice).filter_map(|a| a.soft_fail.clone()).last();
        Ok(choices.into_iter().map(|choice| (choice.clone(), soft_fail(&choice))).collect())
    }

    fn about<'m>(&'m self, choice: &'m Choice) -> impl Iterator<Item = &'m Adjustment> {
        self.adjustments.iter().filter(move |adjustment| adjustment.with == *choice)
    }

    fn within_limits(&self) -> Result<(), Error> {
        limit("dimensions", self.dimensions.len(), DIMENSIONS)?;
        limit("adjustments", self.adjustments.len(), ADJUSTMENTS)?;
        for (name, elements) in &self.dimensions {
            limit("elements in a dimension", elements.len(), ELEMENTS)?;
            let added = self.adjustments.iter().filter_map(|adjustment| adjustment.with.get(name));
            for text in elements.iter().chain([name]).chain(added) {
                if text.len() > BYTES {
                    return Err(Error::TooLong(text.clone()));
                }
            }
        }
        let names: BTreeSet<_> = self.dimensions.keys().collect();
        let odd = self.adjustments.iter().position(|a| a.with.keys().collect::<BTreeSet<_>>() != names);
        odd.map_or(Ok(()), |position| {
            let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            Err(Error::Adjustment { position, dimensions: quoted.join(", ") })
        })
    }
}

fn limit(what: &'static str, count: usize, most: usize) -> Result<(), Error> {
    if count > most { Err(Error::TooMany { what, count, most }) } else { Ok(()) }
}

/// Replaces `{{matrix}}` and `{{matrix.name}}`.
pub(super) fn replace(text: &str, choice: &Choice) -> Result<String, Error> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, behind)) = token(after) else {
            out.push('{');
            rest = after;
            continue;
        };
        let value = choice.get(name.strip_prefix('.').unwrap_or(name));
        out.push_str(value.ok_or_else(|| Error::Token(format!("matrix{name}")))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// What follows `matrix` in a token whose first brace is gone, and the text behind the token.
fn token(text: &str) -> Option<(&str, &str)> {
    let space = |c: char| " \t\n\r\u{c}".contains(c);
    let inner = text.strip_prefix('{')?.trim_start_matches(space).strip_prefix("matrix")?;
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c))?;
    let (name, rest) = inner.split_at(end);
    let rest = rest.trim_start_matches(space).strip_prefix("}}")?;
    (name.is_empty() || name.len() > 1 && name.starts_with('.')).then_some((name, rest))
}

/// Replaces the tokens in every text of a plugin's configuration, keys included.
pub(super) fn replace_json(value: &serde_json::Value, choice: &Choice) -> Result<serde_json::Value, Error> {
    use serde_json::Value;
    Ok(match value {
        Value::String(text) => Value::String(replace(text, choice)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| replace_json(item, choice)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let entry =
                |(key, value): (&String, &Value)| Ok((replace(key, choice)?, replace_json(value, choice)?));
            Value::Object(map.iter().map(entry).collect::<Result<_, Error>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(dimensions: &[(&str, &[&str])], adjustments: &[(&[(&str, &str)], bool)]) -> Matrix {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Matrix {
            dimensions: dimensions.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect(),
            adjustments: adjustments
                .iter()
                .map(|(with, skip)| Adjustment { with: choice(with), skip: *skip, soft_fail: None })
                .collect(),
        }
    }

    fn choice(pairs: &[(&str, &str)]) -> Choice {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn seen(matrix: &Matrix) -> Vec<String> {
        let join = |choice: Choice| choice.into_values().collect::<Vec<_>>().join("-");
        matrix.choices().unwrap().into_iter().map(|(choice, _)| join(choice)).collect()
    }

    const OS: (&str, &[&str]) = ("os", &["linux", "windows"]);
    const ARCH: (&str, &[&str]) = ("arch", &["amd64", "arm64"]);

    #[test]
    fn every_combination_becomes_a_job() {
        assert_eq!(seen(&matrix(&[("", &["a", "b"])], &[])), ["a", "b"]);
        let both = seen(&matrix(&[OS, ARCH], &[]));
        assert_eq!(both, ["amd64-linux", "amd64-windows", "arm64-linux", "arm64-windows"]);
    }

    #[test]
    fn an_adjustment_skips_a_combination_or_adds_one() {
        let skip: (&[_], bool) = (&[("os", "windows"), ("arch", "arm64")], true);
        let add: (&[_], bool) = (&[("os", "plan9"), ("arch", "arm64")], false);
        let both = seen(&matrix(&[OS, ARCH], &[skip, add]));
        assert_eq!(both, ["amd64-linux", "amd64-windows", "arm64-linux", "arm64-plan9"]);
    }

    #[test]
    fn an_adjustment_may_be_the_only_source_of_values() {
        assert_eq!(seen(&matrix(&[("os", &[])], &[(&[("os", "linux")], false)])), ["linux"]);
    }

    #[test]
    fn an_adjustments_soft_fail_is_that_combinations() {
        let mut matrix = matrix(&[("", &["a", "b"])], &[(&[("", "b")], false)]);
        matrix.adjustments[0].soft_fail = Some(SoftFail::Always);
        let choices = matrix.choices().unwrap();
        assert_eq!((&choices[0].1, &choices[1].1), (&None, &Some(SoftFail::Always)));
    }

    #[test]
    fn an_adjustment_names_every_dimension() {
        for with in [&[("os", "linux")][..], &[("os", "linux"), ("oops", "x")]] {
            let error = matrix(&[OS, ARCH], &[(with, false)]).choices().unwrap_err();
            assert_eq!(error.to_string(), "adjustment 0 must name each of the dimensions `arch`, `os`");
        }
    }

    #[test]
    fn the_documented_limits_hold() {
        let check = |matrix: &Matrix, message: &str| {
            assert_eq!(matrix.choices().unwrap_err().to_string(), message);
        };
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        check(&matrix(&names.map(|n| (n, &["1"][..])), &[]), "7 dimensions, where Buildkite takes at most 6");
        let message = "26 elements in a dimension, where Buildkite takes at most 25";
        check(&matrix(&[("", &["x"; 26])], &[]), message);
        let numbers: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
        let many = matrix(&[("a", &numbers), ("b", &["1", "2", "3"])], &[]);
        check(&many, "60 jobs, where Buildkite takes at most 50");
        let with: (&[_], bool) = (&[("", "x")], true);
        check(&matrix(&[("", &["x"])], &[with; 13]), "13 adjustments, where Buildkite takes at most 12");
        let long = "x".repeat(129);
        check(&matrix(&[("", &[&long])], &[]), &format!("`{long}` is longer than 128 bytes"));
    }

    #[test]
    fn tokens_are_replaced() {
        let check = |text, expected: &str| {
            let choice = choice(&[("", "v"), ("os", "linux"), ("a-b.c", "d")]);
            assert_eq!(replace(text, &choice).as_deref(), Ok(expected));
        };
        check("{{matrix}} {{ matrix.os }} {{matrix.a-b.c}}", "v linux d");
        check("{{{matrix}}} {{{{matrix.os\t}}", "{v} {{linux");
        check(
            "{{ other }} {{matrixx}} {{matrix.}} {{matrix {matrix}",
            "{{ other }} {{matrixx}} {{matrix.}} {{matrix {matrix}",
        );
    }

    #[test]
    fn a_token_without_a_dimension_is_refused() {
        let error = replace("{{matrix.oss}}", &choice(&[("os", "linux")])).unwrap_err();
        assert_eq!(error.to_string(), "`{{matrix.oss}}` names no dimension of the matrix");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_tokens_panic(text in "([{} .]|matrix|os|é){0,30}") {
            drop(replace(&text, &choice(&[("", "v"), ("os", "linux")])));
        }
    }
}
