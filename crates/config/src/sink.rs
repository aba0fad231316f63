//! Where records go.

use std::path::PathBuf;

use serde::Deserialize;

use super::place::Error;

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// A folder on this host.
    File(FileSink),
}

/// A folder of records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSink {
    /// The folder, an absolute path that the agent's user can write. No link below it is followed.
    pub directory: PathBuf,
    /// The group of its folders and files, a name or a number in quotes. With one, agents of several users share the
    /// sink ([how](#a-sink-that-several-users-share)). Default: the user's own.
    pub group: Option<String>,
    /// The permissions of its folders, octal in quotes: all for the owner, no writing for everybody. Its files have
    /// the same readers as its folders. Default: `"0700"`; with `group`, `"3770"`.
    pub mode: Option<String>,
}

/// Where several users share a sink: each can make a folder there, and nobody can rename another's.
const SHARED: u32 = 0o3770;
const PRIVATE: u32 = 0o700;

impl FileSink {
    /// A folder that is this user's alone.
    pub fn private(directory: PathBuf) -> Self {
        Self { directory, group: None, mode: None }
    }

    /// The permissions of its folders. Where a group may write it is shared: a new name gets the folder's group
    /// (setgid), and only its owner may rename it (sticky).
    pub fn folder_mode(&self) -> u32 {
        let asked = self.mode.as_deref().and_then(octal);
        let mode = asked.unwrap_or(if self.group.is_some() { SHARED } else { PRIVATE });
        if mode & 0o020 != 0 { mode | 0o3000 } else { mode }
    }

    /// What types alone do not check.
    pub(super) fn check(&self, file: &str, place: &str) -> Result<(), Error> {
        let wrong = |key: &str, problem: String| Err(Error::at(file, format!("{place}.{key}"), problem));
        if let Some(mode) = &self.mode {
            match octal(mode) {
                Some(bits) if bits & 0o700 == 0o700 && bits & 0o002 == 0 && bits & 0o4000 == 0 => {}
                _ => {
                    let expected = "expected permissions of folders such as \"0750\" or \"2770\", all for the \
                                    owner and no writing for everybody";
                    return wrong("mode", format!("{expected}, saw `{mode}`"));
                }
            }
        }
        match &self.group {
            Some(group) if group.is_empty() => wrong("group", "expected a group's name or number".into()),
            _ => Ok(()),
        }
    }
}

fn octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal =
        (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if is_octal { u32::from_str_radix(digits, 8).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_parse::parse;

    fn mode(rest: &str) -> Result<u32, String> {
        let config = parse("config.yml", &format!("sinks:\n  - file: {{directory: /r{rest}}}\n"));
        let Sink::File(sink) = config.map_err(|error| error.to_string())?.sinks.remove(0);
        Ok(sink.folder_mode())
    }

    #[test]
    fn a_sink_is_private_unless_the_host_config_says_who_else_it_is_for() {
        assert_eq!(mode(""), Ok(0o700));
        assert_eq!(mode(", group: records"), Ok(0o3770));
        assert_eq!(mode(", group: \"1234\", mode: \"2750\""), Ok(0o2750));
        assert_eq!(mode(", mode: \"0755\""), Ok(0o755));
        assert_eq!(mode(", mode: \"770\""), Ok(0o3770));
    }

    #[test]
    fn permissions_that_let_everybody_write_or_the_owner_not_are_refused() {
        for bad in ["0777", "0702", "0500", "rwx", "4700", "8", ""] {
            let error = mode(&format!(", mode: \"{bad}\"")).unwrap_err();
            assert!(
                error.contains("`sinks[0].file.mode`") && error.contains(&format!("saw `{bad}`")),
                "{error}"
            );
        }
        assert!(mode(", group: \"\"").unwrap_err().contains("sinks[0].file.group"));
    }
}
