//! A pipeline as it is written: <https://buildkite.com/docs/pipelines/configure/step-types>.

use serde_yaml::{Mapping, Value};

use super::error::Wrong;
use super::place::Path;
use super::plugin::PluginUse;
use super::scalar;
use super::spelling::SPELLINGS;

/// Spells every key of a step our way; of two spellings the stronger one stays.
pub(super) fn respell(step: &mut Mapping) {
    for (ours, written) in SPELLINGS {
        let values: Vec<_> = written.iter().filter_map(|spelling| step.shift_remove(*spelling)).collect();
        if let Some(value) = values.into_iter().next() {
            step.insert(Value::from(*ours), value);
        }
    }
}

/// A value of the document, and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Written<'v> {
    pub(super) value: &'v Value,
    pub(super) path: Path,
}

impl<'v> Written<'v> {
    pub(super) fn new(value: &'v Value, path: Path) -> Self {
        Self { value, path }
    }

    /// A key of this map, even where it is null.
    pub(super) fn key(&self, key: &str) -> Option<Self> {
        Some(Self::new(self.value.get(key)?, self.path.key(key)))
    }

    /// A key of this map that has a value.
    pub(super) fn some(&self, key: &str) -> Option<Self> {
        self.key(key).filter(|found| !found.value.is_null())
    }

    /// A key's text, where there is some.
    pub(super) fn text_of(&self, key: &str) -> Result<Option<String>, Wrong> {
        let text = self.some(key).map(|found| found.text()).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(super) fn flag_of(&self, key: &str) -> Result<bool, Wrong> {
        self.some(key).map_or(Ok(false), |found| found.flag())
    }

    pub(super) fn texts_of(&self, key: &str) -> Result<Vec<String>, Wrong> {
        self.some(key).map_or(Ok(Vec::new()), |found| found.texts())
    }

    pub(super) fn text(&self) -> Result<String, Wrong> {
        scalar::text(self.value).ok_or_else(|| self.wrong("a string"))
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        match self.text()?.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    pub(super) fn count(&self) -> Result<u32, Wrong> {
        self.text()?.parse().map_err(|_| self.wrong("a whole number"))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<Self>, Wrong> {
        let items = self.value.as_sequence().ok_or_else(|| self.wrong("a list"))?;
        Ok(items.iter().enumerate().map(|(at, item)| Self::new(item, self.path.index(at))).collect())
    }

    /// The items of a list, or the one value that stands for a list.
    pub(super) fn one_or_many(&self) -> Result<Vec<Self>, Wrong> {
        if self.value.is_sequence() { self.items() } else { Ok(vec![self.clone()]) }
    }

    pub(super) fn texts(&self) -> Result<Vec<String>, Wrong> {
        self.one_or_many()?.iter().map(Self::text).collect()
    }

    /// The entries of a map, in the order in which they are written.
    pub(super) fn entries(&self) -> Result<Vec<(&'v str, Self)>, Wrong> {
        let map = self.value.as_mapping().ok_or_else(|| self.wrong("a map"))?;
        let entry = |(key, value): (&'v Value, &'v Value)| {
            key.as_str().map(|key| (key, Self::new(value, self.path.key(key))))
        };
        Ok(map.iter().filter_map(entry).collect())
    }

    /// The entries of a map from names to scalars.
    pub(super) fn pairs(&self) -> Result<Vec<(String, String)>, Wrong> {
        let pair = |(key, value): (&str, Self)| Ok((key.to_owned(), value.text()?));
        self.entries()?.into_iter().map(pair).collect()
    }

    /// A list of plugins in any of the forms that there are: strings, maps, one map.
    pub(super) fn plugins(&self) -> Result<Vec<PluginUse>, Wrong> {
        if self.value.is_mapping() {
            return self.plugin_map();
        }
        let mut uses = Vec::new();
        for item in self.items()? {
            match item.value {
                Value::String(source) => {
                    uses.push(PluginUse { source: source.clone(), config: serde_json::Value::Null });
                }
                Value::Mapping(_) => uses.extend(item.plugin_map()?),
                _ => return Err(item.wrong("a plugin: a string, or a map from it to its configuration")),
            }
        }
        Ok(uses)
    }

    fn plugin_map(&self) -> Result<Vec<PluginUse>, Wrong> {
        let plugin = |(source, config): (&str, Self)| {
            let json = scalar::json(config.value).ok_or_else(|| config.wrong("values that JSON can hold"))?;
            Ok(PluginUse { source: source.to_owned(), config: json })
        };
        self.entries()?.into_iter().map(plugin).collect()
    }

    /// That something else was expected here.
    pub(super) fn wrong(&self, expected: &str) -> Wrong {
        let saw = match self.value {
            Value::Null => "nothing".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a map".to_owned(),
            scalar => format!("`{}`", scalar::text(scalar).unwrap_or_default()),
        };
        Wrong::shape(&self.path, format!("expected {expected}, saw {saw}"))
    }
}
