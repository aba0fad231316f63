//! Putting variables back as they were, where they are still ours.

use std::collections::BTreeMap;

use super::journal::Exported;
use dataflow_host::Env;
use dataflow_host::agent::job_api::{self, JobApi};
use dataflow_types::credential::EnvName;
use dataflow_types::secret::Secret;

/// What is to be done with one variable when the lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// It is ours and was something else before: set it back.
    PutBack,
    /// It is ours and was not there before: remove it.
    Remove,
    /// Somebody changed it since: it is not ours to touch.
    LeaveChanged,
}

impl Restore {
    /// The word in the record.
    pub fn word(self) -> &'static str {
        match self {
            Self::PutBack => "restored",
            Self::Remove => "removed",
            Self::LeaveChanged => "left-changed",
        }
    }
}

/// Decides for each exported variable, from the environment as it is now.
pub fn restoring(exported: &[Exported], env: &Env) -> Vec<(Exported, Restore)> {
    let decide = |variable: &Exported| {
        let name: Option<EnvName> = variable.name.parse().ok();
        let now = name.as_ref().and_then(|name| env.standing(name));
        match (now.map(Secret::fingerprint), &variable.previous) {
            (Some(now), _) if now != variable.fingerprint => Restore::LeaveChanged,
            (None, _) => Restore::LeaveChanged,
            (Some(_), Some(_)) => Restore::PutBack,
            (Some(_), None) => Restore::Remove,
        }
    };
    exported.iter().map(|variable| (variable.clone(), decide(variable))).collect()
}

/// Puts the environment back as it was.
pub async fn restore(job: &JobApi, variables: &[(Exported, Restore)]) -> Result<(), job_api::Error> {
    let mut values = BTreeMap::new();
    let mut names = Vec::new();
    for (variable, restore) in variables {
        match (restore, &variable.previous) {
            (Restore::PutBack, Some(previous)) => {
                values.insert(variable.name.as_str(), previous.0.expose());
            }
            (Restore::Remove, _) => names.push(variable.name.as_str()),
            _ => {}
        }
    }
    // Both can be asked for twice, and nobody comes after this to try again.
    let set = async || if values.is_empty() { Ok(()) } else { job.set(&values).await };
    let unset = async || if names.is_empty() { Ok(()) } else { job.unset(&names).await };
    once_more(set).await.and(once_more(unset).await)
}

async fn once_more(request: impl AsyncFn() -> Result<(), job_api::Error>) -> Result<(), job_api::Error> {
    match request().await {
        Err(error) if error.is_transient() => request().await,
        answer => answer,
    }
}
