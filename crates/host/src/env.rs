//! The environment, which is hostile input: what is read, who can set it, what it may decide.
//!
//! The agent protects some names; a pipeline, an earlier hook or the step can set all others through
//! the Job API. A name that is not in [`TABLE`] is not read.

use std::collections::BTreeMap;

use dataflow_types::secret::Secret;

/// Who can set a variable by the time a hook reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The agent, which refuses changes from within the job (`env/protected.go` of buildkite/agent).
    Agent,
    /// The agent, anew for each use of a plugin in each hook.
    AgentPerHook,
    /// The agent at first, and any earlier hook or the step after it.
    Anyone,
}

/// One variable that this program reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Who can set it.
    pub set_by: SetBy,
    /// The most that a hostile value can do.
    pub decides: &'static str,
}

macro_rules! variables {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $set_by:ident, $decides:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $decides, ".")]
            pub const $id: Variable = Variable { name: $name, set_by: SetBy::$set_by, decides: $decides };
        )*
        /// Every variable that is read.
        pub const TABLE: &[&Variable] = &[$(&$id),*];
    };
}

variables! {
    ACCESS_TOKEN = "BUILDKITE_AGENT_ACCESS_TOKEN", Agent, "authenticates to the agent's endpoint";
    ENDPOINT = "BUILDKITE_AGENT_ENDPOINT", Agent, "where the access token and OIDC requests go";
    CONFIG_PATH = "BUILDKITE_CONFIG_PATH", Agent, "the folder in which the host config is looked for";
    BIN_PATH = "BUILDKITE_BIN_PATH", Agent, "the folder of the agent's binary, for the fallback";
    JOB_API_SOCKET = "BUILDKITE_AGENT_JOB_API_SOCKET", Anyone, "where secrets are sent to be redacted and exported, which is the job itself";
    JOB_API_TOKEN = "BUILDKITE_AGENT_JOB_API_TOKEN", Anyone, "authenticates to the Job API";
    JOB_ID = "BUILDKITE_JOB_ID", Anyone, "which job a token is asked for; the endpoint checks it against the access token, the verified token says who runs";
    HOOK_PHASE = "BUILDKITE_HOOK_PHASE", AgentPerHook, "the phase, where neither file name nor argument says it";
    HOOK_SCOPE = "BUILDKITE_HOOK_SCOPE", AgentPerHook, "whether this is a plugin's hook or the agent's own";
    PLUGINS = "BUILDKITE_PLUGINS", Anyone, "the step config of an agent hook; for a plugin only which null made the agent drop it";
    PLUGIN_CONFIGURATION = "BUILDKITE_PLUGIN_CONFIGURATION", AgentPerHook, "the step config";
    BLOCK = "DATAFLOW_BLOCK", Anyone, "in which folder a callback looks for what was asked; it must be this user's, hold what START asked for, and the host's policy decides again";
    OIDC_TMPDIR = "BUILDKITE_OIDC_TMPDIR", Anyone, "the same where `DATAFLOW_BLOCK` is not set; another plugin's folder is left alone";
    CONTAINER_ID = "BUILDKITE_CONTAINER_ID", Anyone, "keeps apart the state of containers that share a folder";
    COMMAND_EXIT_STATUS = "BUILDKITE_COMMAND_EXIT_STATUS", Anyone, "the record's reported outcome";
    JOB_CANCELLED = "BUILDKITE_JOB_CANCELLED", Anyone, "the record's reported outcome";
    JOB_TIMED_OUT = "BUILDKITE_JOB_TIMED_OUT", Anyone, "the record's reported outcome";
    ORGANIZATION_SLUG = "BUILDKITE_ORGANIZATION_SLUG", Anyone, "the record, as reported; can only withhold an automatic grant";
    PIPELINE_SLUG = "BUILDKITE_PIPELINE_SLUG", Anyone, "the record, as reported; can only withhold an automatic grant";
    BUILD_ID = "BUILDKITE_BUILD_ID", Anyone, "the record, as reported";
    BUILD_NUMBER = "BUILDKITE_BUILD_NUMBER", Anyone, "the record, as reported";
    BUILD_URL = "BUILDKITE_BUILD_URL", Anyone, "the record, as reported";
    BRANCH = "BUILDKITE_BRANCH", Anyone, "the record, as reported; can only withhold an automatic grant";
    COMMIT = "BUILDKITE_COMMIT", Anyone, "the record, as reported";
    REPO = "BUILDKITE_REPO", Anyone, "the record, as reported";
    STEP_KEY = "BUILDKITE_STEP_KEY", Anyone, "the record, as reported; can only withhold an automatic grant";
    LABEL = "BUILDKITE_LABEL", Anyone, "the record, as reported";
    AGENT_NAME = "BUILDKITE_AGENT_NAME", Anyone, "the record, as reported";
    RETRY_COUNT = "BUILDKITE_RETRY_COUNT", Anyone, "the record, as reported";
    BUILD_CREATOR = "BUILDKITE_BUILD_CREATOR", Anyone, "the record, as asserted";
    AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID", Anyone, "who `deny` asks AWS as; nothing else reads it";
    AWS_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY", Anyone, "who `deny` asks AWS as; nothing else reads it";
    AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN", Anyone, "who `deny` asks AWS as; nothing else reads it";
    VAULT_ADDR = "VAULT_ADDR", Anyone, "which Vault `revoke` asks; nothing else reads it";
    VAULT_TOKEN = "VAULT_TOKEN", Anyone, "who `revoke` asks Vault as; nothing else reads it";
    VAULT_NAMESPACE = "VAULT_NAMESPACE", Anyone, "where `revoke` asks; nothing else reads it";
    VAULT_CACERT = "VAULT_CACERT", Anyone, "whose certificates `revoke` believes; nothing else reads it";
    VAULT_CLIENT_CERT = "VAULT_CLIENT_CERT", Anyone, "the certificate that `revoke` shows; nothing else reads it";
    VAULT_CLIENT_KEY = "VAULT_CLIENT_KEY", Anyone, "the key of that certificate; nothing else reads it";
    HOME = "HOME", Anyone, "where `revoke` looks for `.vault-token`; nothing else reads it";
}

/// Server-specified headers travel to hooks as `BUILDKITE_REQUEST_HEADER_BUILDKITE_FOO=v`.
const HEADER_PREFIX: &str = "BUILDKITE_REQUEST_HEADER_";

/// The environment as it was when the process started.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, Secret>);

impl Env {
    /// The process's own, once. Names or values that are no UTF-8 are not for us.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the door the lint guards")]
        let all = std::env::vars_os();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, Secret::new(value.into_string().ok()?)))
        };
        Self(all.filter_map(text).collect())
    }

    /// An environment made of pairs, for tests and rehearsals.
    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), Secret::new(value))).collect())
    }

    /// The value of a variable of the table; empty counts as absent.
    pub fn get(&self, variable: &Variable) -> Option<&str> {
        self.0.get(variable.name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// A variable of the table that is a secret.
    pub fn secret(&self, variable: &Variable) -> Option<Secret> {
        self.0.get(variable.name).filter(|value| !value.expose().is_empty()).cloned()
    }

    /// What stands now in a variable that a credential is to be exported as, to put it back later.
    pub fn standing(&self, name: &dataflow_types::credential::EnvName) -> Option<&Secret> {
        self.0.get(name.as_str())
    }

    /// A variable that a condition names, empty or not. It is not of the table: it narrows what is asked for.
    pub fn told(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    /// What a rehearsed step's shell gets from the person who rehearses: the search path and the like.
    pub fn of_person(&self) -> BTreeMap<String, Secret> {
        let wanted = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "TMPDIR"];
        wanted.iter().filter_map(|name| Some(((*name).to_owned(), self.0.get(*name)?.clone()))).collect()
    }

    /// Every variable, for the interpolation of a pipeline that a rehearsed job uploads.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
    }

    /// What a companion of the job is started with: the way to the agent and to the host config, no more.
    pub fn of_companion(&self) -> BTreeMap<String, Secret> {
        let wanted = [
            &ACCESS_TOKEN,
            &ENDPOINT,
            &CONFIG_PATH,
            &BIN_PATH,
            &JOB_API_SOCKET,
            &JOB_API_TOKEN,
            &JOB_ID,
            &CONTAINER_ID,
        ];
        #[cfg_attr(not(feature = "faults"), expect(unused_mut, reason = "the harness has more to say"))]
        let mut companion = self.some(&wanted);
        #[cfg(feature = "faults")]
        companion.extend(
            self.0.iter().filter_map(|(name, value)| Some((super::fault::of_keeper(name)?, value.clone()))),
        );
        companion
    }

    /// These variables, and the headers that the server asked to have.
    pub fn some(&self, wanted: &[&Variable]) -> BTreeMap<String, Secret> {
        let named = |name: &str| {
            name.starts_with(HEADER_PREFIX) || wanted.iter().any(|variable| variable.name == name)
        };
        self.0
            .iter()
            .filter(|(name, _)| named(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Headers that the server asked to have on every request, as the agent forwards them: only
    /// names that begin `Buildkite-` (`requestHeadersFromEnv` in the agent's api/client.go).
    pub fn server_headers(&self) -> Vec<(String, Secret)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(HEADER_PREFIX)?, value)))
            .map(|(name, value)| (name.to_ascii_lowercase().replace('_', "-"), value.clone()))
            .filter(|(name, _)| name.starts_with("buildkite-"))
            .collect()
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_absent() {
        assert_eq!(Env::of([("BUILDKITE_JOB_ID", "")]).get(&JOB_ID), None);
    }

    #[test]
    fn only_headers_that_begin_buildkite_are_forwarded() {
        let env = Env::of([
            ("BUILDKITE_REQUEST_HEADER_BUILDKITE_FOO", "v"),
            ("BUILDKITE_REQUEST_HEADER_AUTHORIZATION", "stolen"),
        ]);
        let headers: Vec<_> = env.server_headers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(headers, ["buildkite-foo"]);
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        assert_eq!(format!("{:?}", Env::of([("A", "secret-value")])), r#"{"A"}"#);
    }

    #[test]
    fn the_table_names_each_variable_once() {
        let mut names: Vec<_> = TABLE.iter().map(|v| v.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
