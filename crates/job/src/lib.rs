//! The job: who the token says it is, and what the agent's environment reports about it.

use std::collections::BTreeMap;

use dataflow_host::env::{self, Env, Variable};

pub mod identity;
pub mod jwk;
pub mod keys;
mod place;
pub mod situation;

/// What the environment says about the job. Earlier hooks can rewrite it: it is recorded as reported,
/// and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// What it says, by the record's names; without what in a URL can carry a secret.
    pub said: BTreeMap<&'static str, String>,
    /// Who, as the environment has it, made the build.
    pub creator: Option<String>,
    /// The variables of which something was taken off.
    pub cut: Vec<&'static str>,
}

/// The record's names for what is reported, with the variables that carry it.
const REPORTED: [(&str, Variable); 13] = [
    ("organization", env::ORGANIZATION_SLUG),
    ("pipeline", env::PIPELINE_SLUG),
    ("build-id", env::BUILD_ID),
    ("build-number", env::BUILD_NUMBER),
    ("build-url", env::BUILD_URL),
    ("branch", env::BRANCH),
    ("commit", env::COMMIT),
    ("repository", env::REPO),
    ("step-key", env::STEP_KEY),
    ("label", env::LABEL),
    ("agent", env::AGENT_NAME),
    ("retry-count", env::RETRY_COUNT),
    ("job-id", env::JOB_ID),
];

impl Reported {
    /// Takes down what the environment says.
    pub fn of(env: &Env) -> Self {
        let mut cut = Vec::new();
        let mut value = |variable: &Variable| {
            let seen = env.get(variable)?;
            let repository = variable.name == env::REPO.name;
            let told = if repository { place::repository(seen) } else { place::without_secrets(seen) };
            cut.extend((told != seen).then_some(variable.name));
            Some(told)
        };
        let said = REPORTED.iter().filter_map(|(name, variable)| Some((*name, value(variable)?))).collect();
        let creator = value(&env::BUILD_CREATOR);
        Self { said, creator, cut }
    }

    /// What the environment says about a claim, to skip asking for a token that no grant could want.
    pub fn claim(&self, claim: &str) -> Option<&str> {
        let name = match claim {
            "organization_slug" => "organization",
            "pipeline_slug" => "pipeline",
            "build_branch" => "branch",
            "step_key" => "step-key",
            _ => return None,
        };
        self.said.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_repository_url_is_not_reported() {
        let env = Env::of([("BUILDKITE_REPO", "https://me:hunter2@git.example.test/web.git")]);
        assert_eq!(Reported::of(&env).said["repository"], "https://git.example.test/web.git");
        let env = Env::of([("BUILDKITE_REPO", "git@github.com:acme/web.git")]);
        assert_eq!(Reported::of(&env).said["repository"], "git@github.com:acme/web.git");
    }
}
