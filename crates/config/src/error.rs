//! What is wrong with a configuration: the place, what was seen, what would be right.

use serde_json::Value;

use super::mark::{Of, mark};
use super::path::{Segment, locate};
use dataflow_types::failure::{Failure, Ident};

/// At most so many errors of one configuration are reported.
pub(super) const MOST: usize = 100;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{problem}", ticked(.place))]
pub struct Error {
    /// Which configuration: `step config`, or a file with line and column.
    pub file: String,
    /// Where in it: `credentials[1].aws.role`.
    pub place: String,
    /// What was seen and what was expected.
    pub problem: String,
    /// What would be right.
    pub hint: Option<String>,
    /// What only the finding of further errors needs.
    pub more: Option<Box<More>>,
}

/// What only the finding of further errors needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    mend: Mend,
    others: Vec<Error>,
}

/// What would make the error go away, so that what is behind it is found too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mend {
    /// Another value.
    #[default]
    Value,
    /// Another key, or none; with the keys that are known there.
    Key(String, Option<&'static str>, &'static [&'static str]),
    /// One key more.
    Missing(&'static str),
    /// This word.
    Word(&'static str),
}

fn ticked(place: &str) -> String {
    if place.is_empty() || place == "." { String::new() } else { format!("`{place}`: ") }
}

impl Error {
    /// An error at a place.
    pub fn at(file: &str, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place.into(), problem: problem.into(), hint: None, more: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn mended_by(mut self, mend: Mend) -> Self {
        self.more = Some(Box::new(More { mend, others: Vec::new() }));
        self
    }

    pub(super) fn mend(&self) -> Mend {
        self.more.as_ref().map(|more| more.mend.clone()).unwrap_or_default()
    }

    /// The first of several errors of one configuration; `None` for none.
    pub(super) fn first(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        let others: Vec<Self> = errors.collect();
        if !others.is_empty() {
            first.more.get_or_insert_default().others = others;
        }
        Some(first)
    }

    /// This error and the others of the same configuration, in their order, each by itself.
    pub fn each(mut self) -> Vec<Self> {
        let others = self.more.as_mut().map(|more| std::mem::take(&mut more.others)).unwrap_or_default();
        std::iter::once(self).chain(others).collect()
    }

    /// A line for each error.
    pub fn lines(&self) -> Vec<String> {
        let line = |error: &Self| match &error.hint {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        self.clone().each().iter().map(line).collect()
    }

    /// The failure as it is reported.
    pub fn failure(&self) -> Failure {
        let several = self.more.as_ref().is_some_and(|more| !more.others.is_empty());
        if several {
            let lines = self.lines();
            let more = if lines.len() < MOST { "" } else { " and maybe more" };
            let what = format!("the configuration has {} errors{more}", lines.len());
            return Failure::new(Ident::BadConfiguration, what).caused_by(lines);
        }
        let failure = Failure::of(Ident::BadConfiguration, self);
        match &self.hint {
            Some(hint) => failure.hinted(hint.clone()),
            None => failure,
        }
    }

    /// The same errors with line and column in `text`, in its order; `tree` is what the text says below `prefix`.
    #[must_use]
    pub fn located(self, file: &str, text: &str, prefix: &[Segment], tree: &Value) -> Self {
        let position = |error: &Self| {
            let (path, missing) = locate(tree, &error.place);
            let mut path = [prefix, &path].concat();
            if let Mend::Key(key, ..) = error.mend() {
                path.push(Segment::Key(key));
                return mark(text, &path, Of::Key);
            }
            // A key that is not there is missed in the map whose own key is shown.
            let of = if missing.is_some() || matches!(error.mend(), Mend::Missing(_)) {
                Of::Key
            } else {
                Of::Value
            };
            mark(text, &path, of)
        };
        let mut errors: Vec<(Option<(usize, usize)>, Self)> =
            self.each().into_iter().map(|error| (position(&error), error)).collect();
        errors.sort_by_key(|(at, _)| *at);
        let placed = errors.into_iter().map(|(at, error)| match at {
            Some((line, column)) => Self { file: format!("{file}:{line}:{column}"), ..error },
            None => Self { file: file.to_owned(), ..error },
        });
        // There is at least this one.
        Self::first(placed.collect()).unwrap_or_else(|| Self::at("", "", ""))
    }
}
