//! Leases that a restart of this host must not leave to expire.

use std::path::PathBuf;

use serde::Deserialize;

/// For whom leases are kept beyond a restart, and where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SurviveReboot {
    /// The X25519 public key of the sweeper, who runs as another user: an absolute path of a file as `openssl pkey
    /// -pubout` writes it. It is root's, the sweeper's or the agent user's, and no other user can write it.
    pub public_key: PathBuf,
    /// A folder of the sweeper's user in which the agent's user may make files: an absolute path, on this host's own
    /// disk. A folder that everybody may write to is refused.
    pub directory: PathBuf,
}

impl SurviveReboot {
    /// Its paths, each with its place in the host config.
    pub(super) fn paths(&self) -> [(String, &PathBuf); 2] {
        [
            ("survive-reboot.public-key".to_owned(), &self.public_key),
            ("survive-reboot.directory".to_owned(), &self.directory),
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::host_parse::parse;

    #[test]
    fn paths_that_depend_on_where_a_hook_starts_are_refused() {
        let refused = |key: &str, folder: &str| {
            let yaml = format!("survive-reboot: {{public-key: {key}, directory: {folder}}}");
            parse("config.yml", &yaml).map_err(|error| error.to_string())
        };
        for (key, folder, place) in [("a.pem", "/b", "public-key"), ("/a.pem", "b", "directory")] {
            let message = format!(": `survive-reboot.{place}`: expected an absolute path, saw `");
            assert!(refused(key, folder).unwrap_err().contains(&message), "{place}");
        }
        assert!(refused("/a.pem", "/b").is_ok());
    }
}
