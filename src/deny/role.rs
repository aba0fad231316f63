//! The inline policies of one role: what is over goes, what is to be denied comes, inside the role's room.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::session::{Denial, RoleName, Session, is_id, is_over, size};
use dataflow_providers::aws::iam::{self, Iam};
use dataflow_providers::call::CallError;

/// How much all inline policies of one role may say together, in characters.
const ROOM: usize = 10_240;

/// The code of a policy that would be too much.
const FULL: &str = iam::FULL;

/// What became of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is denied; whether it was so before.
    Denied {
        /// By which policy.
        policy: String,
        /// Whether an earlier run did it.
        before: bool,
    },
    /// It is not, and why.
    Not(String),
}

/// A role, with what stands on it.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    iam: &'a Iam<'a>,
    role: &'a RoleName,
    known: iam::Role,
    policies: BTreeMap<String, String>,
    /// The policies that were removed because their sessions had ended.
    pub(super) pruned: Vec<String>,
}

impl<'a> Standing<'a> {
    /// Reads a role's policies, and removes those of ours whose session has ended.
    pub(super) async fn read(
        iam: &'a Iam<'a>,
        role: &'a RoleName,
        now: DateTime<Utc>,
    ) -> Result<Self, CallError> {
        let known = iam.role(&role.name).await?;
        let mut standing = Self { iam, role, known, policies: BTreeMap::new(), pruned: Vec::new() };
        if !role.is_account_of(&standing.known.arn) {
            return Ok(standing);
        }
        for name in iam.policies(&role.name).await? {
            if is_over(&name, now) {
                iam.delete(&role.name, &name).await?;
                standing.pruned.push(name);
            } else if let Some(document) = iam.policy(&role.name, &name).await? {
                standing.policies.insert(name, document);
            }
        }
        Ok(standing)
    }

    /// Denies one session.
    pub(super) async fn deny(&mut self, session: &Session) -> Result<Outcome, CallError> {
        if !self.is_of(session) {
            let (known, told) = (&self.known, session.role_id.as_deref().unwrap_or("not told"));
            return Ok(Outcome::Not(format!(
                "for these keys `{}` has the id `{}`, and the session's is `{told}`: the role was made anew, or is of \
                 another account",
                known.arn, known.id
            )));
        }
        let Denial { name, policy } = session.denial(&self.known.id);
        if self.policies.get(&name) == Some(&policy) {
            return Ok(Outcome::Denied { policy: name, before: true });
        }
        let others = self.policies.iter().filter(|(other, _)| **other != name);
        let taken: usize = others.map(|(_, policy)| size(policy)).sum();
        if taken + size(&policy) > ROOM {
            return Ok(Outcome::Not(full(taken, &policy)));
        }
        match self.iam.put(&self.role.name, &name, &policy).await {
            Ok(()) => drop(self.policies.insert(name.clone(), policy)),
            Err(CallError::Refused { refusal, .. }) if refusal.code == FULL => {
                return Ok(Outcome::Not(full(taken, &policy)));
            }
            Err(error) => return Err(error),
        }
        Ok(Outcome::Denied { policy: name, before: false })
    }

    /// Whether a session is of this role, and not of an earlier one of the same name.
    fn is_of(&self, session: &Session) -> bool {
        let known = &self.known;
        let same = match &session.role_id {
            Some(id) => *id == known.id,
            None => known.created.is_some_and(|created| created < session.issued_at),
        };
        same && is_id(&known.id) && self.role.is_account_of(&known.arn)
    }
}

fn full(taken: usize, policy: &str) -> String {
    format!(
        "the role has no room for it: its inline policies take {taken} of {ROOM} characters, and this one {}",
        size(policy)
    )
}
