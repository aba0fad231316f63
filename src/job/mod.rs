//! The job: who the token says it is, and what the agent's environment reports about it.

use std::collections::BTreeMap;

use crate::host::env::{self, Env, Variable};

pub mod identity;
pub mod jwk;
pub mod keys;
pub mod situation;

/// What the environment says about the job. Earlier hooks can rewrite it: it is recorded as reported,
/// and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported(pub BTreeMap<&'static str, String>);

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
        let value = |variable: &Variable| env.get(variable).map(without_userinfo);
        Self(REPORTED.iter().filter_map(|(name, variable)| Some((*name, value(variable)?))).collect())
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
        self.0.get(name).map(String::as_str)
    }
}

/// A repository's URL can carry a password.
fn without_userinfo(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url)
            if url.password().is_some()
                || (url.has_host() && !url.username().is_empty() && url.scheme().starts_with("http")) =>
        {
            // Neither fails on a URL that has a host.
            let (_, _) = (url.set_password(None), url.set_username(""));
            url.into()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_repository_url_is_not_reported() {
        let env = Env::of([("BUILDKITE_REPO", "https://me:hunter2@git.example.test/web.git")]);
        assert_eq!(Reported::of(&env).0["repository"], "https://git.example.test/web.git");
        let env = Env::of([("BUILDKITE_REPO", "git@github.com:acme/web.git")]);
        assert_eq!(Reported::of(&env).0["repository"], "git@github.com:acme/web.git");
    }
}
