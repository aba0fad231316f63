//! One value that is read for a step: how it is found in what was read, and where it goes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use dataflow_host::agent::protected::is_protected;
use dataflow_types::credential::EnvName;

/// How the names of files end that the block's private folder holds for callbacks.
const TAKEN: [&str; 3] = ["block.json", ".kept", ".lock"];

/// The name of a file in the block's private folder: no path, nothing hidden.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no plain name of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a file (letters, digits, `_`, `-`, `.`, not a `.` first; not `block.json`, `*.kept` or `*.lock`), saw `{0}`"
)]
pub struct NotAFileName(String);

impl FromStr for FileName {
    type Err = NotAFileName;

    fn from_str(text: &str) -> Result<Self, NotAFileName> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let taken = TAKEN.iter().any(|end| text.ends_with(end));
        if plain && !taken && !text.starts_with('.') && (1..=100).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAFileName(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where one value goes, and what it is called on the way.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The variable that holds the value, or the path of its file.
    pub env: Option<&'a EnvName>,
    /// The file that holds the value.
    pub file: Option<&'a FileName>,
    /// What credentials that are made with this one call the value.
    pub field: Option<&'a str>,
    /// Whether it is to be hidden.
    pub secret: bool,
}

impl Destination<'_> {
    /// What a person knows it by.
    pub fn name(&self) -> String {
        let env = self.env.map(ToString::to_string);
        let named = env.or_else(|| self.file.map(ToString::to_string));
        named.or_else(|| self.field.map(str::to_owned)).unwrap_or_default()
    }
}

/// What is wrong with the destinations of one block, with the item and the key that is wrong.
pub fn check<'a>(all: impl Iterator<Item = Destination<'a>>) -> Result<(), (String, String)> {
    let (mut variables, mut files) = (Vec::new(), Vec::new());
    for (index, one) in all.enumerate() {
        let wrong = |key: &str, problem: String| Err((format!("[{index}].{key}"), problem));
        if let Some(name) = one.env {
            if is_protected(name.as_str()) {
                return wrong("env", format!("`{name}` is protected by the agent and cannot be set"));
            }
            if variables.contains(&name) {
                return wrong("env", format!("`{name}` is the variable of another value already"));
            }
            variables.push(name);
        }
        if let Some(name) = one.file {
            if files.contains(&name) {
                return wrong("file", format!("`{name}` is the file of another value already"));
            }
            files.push(name);
        }
        if one.env.is_none() && one.file.is_none() && one.field.is_none() {
            return wrong("env", "expected an `env`, a `file` or a `field`, saw none".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_and_not_placed() {
        for good in ["key.pem", "id_ed25519", "a-b.json"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in
            ["", ".", "..", ".netrc", "a/b", "/etc/passwd", "a b", "é", "block.json", "x.kept", "x.lock"]
        {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_goes_somewhere_and_no_two_go_to_the_same_place() {
        let env: EnvName = "API_KEY".parse().unwrap();
        let protected: EnvName = "BUILDKITE_SHELL".parse().unwrap();
        let file: FileName = "key.pem".parse().unwrap();
        let to = |env, file, field| Destination { env, file, field, secret: true };
        let refused = |all: &[Destination<'_>]| check(all.iter().copied()).unwrap_err().0;
        assert_eq!(refused(&[to(None, None, None)]), "[0].env");
        assert_eq!(refused(&[to(Some(&protected), None, None)]), "[0].env");
        assert_eq!(refused(&[to(Some(&env), None, None), to(Some(&env), None, None)]), "[1].env");
        assert_eq!(refused(&[to(None, Some(&file), None), to(None, Some(&file), None)]), "[1].file");
        assert!(check([to(Some(&env), Some(&file), None), to(None, None, Some("key"))].into_iter()).is_ok());
    }
}
