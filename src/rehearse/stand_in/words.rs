//! The words of a command line as the agent reads them: options anywhere, with one dash or two, with `=` or without.

use std::collections::BTreeMap;

use super::{MISSING, Refusal};

/// Options of every command of the agent's that change nothing here.
const EVERYWHERE: &[&str] =
    &["agent-access-token", "endpoint", "log-level", "log-format", "profile", "experiment"];
const FLAGS_EVERYWHERE: &[&str] = &["debug", "debug-http", "no-color", "no-http2", "trace-http"];

/// What was written, read.
#[derive(Debug, Default)]
pub(super) struct Words {
    options: BTreeMap<String, Vec<String>>,
    /// What is no option.
    pub(super) rest: Vec<String>,
}

impl Words {
    /// Reads words of a command with these options and flags; another is refused, for it may mean anything.
    pub(super) fn read(words: &[&str], values: &[&str], flags: &[&str]) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--" {
                read.rest.extend(words.map(|word| (*word).to_owned()));
                break;
            }
            let Some(option) = word.strip_prefix('-').filter(|option| !option.is_empty()) else {
                read.rest.push((*word).to_owned());
                continue;
            };
            let option = option.strip_prefix('-').unwrap_or(option);
            let (name, inline) =
                option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let is_flag = flags.contains(&name) || FLAGS_EVERYWHERE.contains(&name);
            if !is_flag && !values.contains(&name) && !EVERYWHERE.contains(&name) {
                return Err(format!("{MISSING}`--{name}` is an option that the stand-in does not know"));
            }
            let value = match (inline, is_flag) {
                (Some(value), _) => value,
                (None, true) => "true",
                (None, false) => {
                    words.next().ok_or_else(|| format!("buildkite-agent: `--{name}` needs a value"))?
                }
            };
            read.options.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        Ok(read)
    }

    /// An option's value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// Every value of an option, those in one word apart by commas.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let values = self.options.get(name).into_iter().flatten();
        values.flat_map(|value| value.split(',')).map(str::to_owned).collect()
    }

    /// Whether a flag is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_anywhere_and_in_any_form() {
        let words = ["key", "--default", "a", "-append", "--style=b", "--", "--x"];
        let words = Words::read(&words, &["default", "style"], &["append"]).unwrap();
        assert_eq!((words.value("default"), words.value("style")), (Some("a"), Some("b")));
        assert!(words.flag("append"));
        assert_eq!(words.rest, ["key", "--x"]);
    }

    #[test]
    fn an_option_that_is_not_known_is_refused() {
        let refusal = Words::read(&["--reject-secrets"], &[], &[]).unwrap_err();
        assert!(refusal.starts_with(MISSING) && refusal.contains("--reject-secrets"), "{refusal}");
    }
}
