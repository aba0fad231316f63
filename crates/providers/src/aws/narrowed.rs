//! What narrows a session: its policy, its deadline, its duration.

use chrono::{DateTime, SubsecRound as _, Utc};

use super::Error;
use super::ask::Asked;
use crate::Context;
use dataflow_config::aws::{self, Aws, MIN_DURATION, SessionPolicy};
use dataflow_host::files;
use dataflow_policy as policy;

/// What narrows the session that is lent.
pub(super) struct Narrowed<'a> {
    pub(super) policy: Option<String>,
    pub(super) managed: &'a [aws::PolicyArn],
    pub(super) deadline: Option<DateTime<Utc>>,
    pub(super) seconds: i32,
}

impl<'a> Narrowed<'a> {
    pub(super) fn of(aws: &'a Aws, context: &Context<'_>) -> Result<Self, Error> {
        let (policy, managed) = aws.narrowed();
        let from_file;
        let given = match policy {
            Some(SessionPolicy::Inline(policy)) => Some(policy),
            Some(SessionPolicy::File(path)) => {
                from_file = read(path)?;
                Some(&from_file)
            }
            None => None,
        };
        let deadline = aws.short_deadline().map(|deadline| context.clock.now().trunc_subsecs(0) + deadline.0);
        let unfit = |problem| match policy {
            Some(SessionPolicy::File(path)) => {
                Error::Policy { path: path.clone(), source: Box::new(problem) }
            }
            _ => Error::Unfit(problem),
        };
        let policy = aws::document(given, managed, deadline).map_err(unfit)?;
        let lasts = policy::duration(aws, context.host);
        let seconds = if deadline.is_some() { MIN_DURATION } else { lasts }.as_secs();
        Ok(Self { policy, managed, deadline, seconds: i32::try_from(seconds).unwrap_or(i32::MAX) })
    }

    /// The last session is narrowed; those before it live as short as they can.
    pub(super) fn asked<'b>(&'b self, name: &'b str, last: bool) -> Asked<'b> {
        if last {
            let policy = self.policy.as_deref();
            return Asked { name, seconds: self.seconds, policy, managed: self.managed };
        }
        let seconds = i32::try_from(MIN_DURATION.as_secs()).unwrap_or(i32::MAX);
        Asked { name, seconds, policy: None, managed: &[] }
    }
}

fn read(path: &std::path::Path) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    let failed = |source| Error::Policy { path: path.to_owned(), source };
    let bytes = files::read(path).map_err(|error| failed(Box::new(error)))?;
    // Not read as a map at once: the error of a wrong type would show what the file holds.
    match serde_json::from_slice(&bytes) {
        Ok(serde_json::Value::Object(policy)) => Ok(policy),
        Ok(_) => Err(failed(Box::new(aws::Unfit::NoStatement))),
        Err(error) => Err(failed(Box::new(error))),
    }
}
