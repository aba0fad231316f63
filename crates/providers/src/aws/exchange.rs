//! The exchange: one session by the token, and one more for each role of the chain.

use super::ask::{Session, Sts};
use super::hand_over::{HandOver, Handed};
use super::narrowed::Narrowed;
use super::{DEADLINE, Error, PACKED, Role, SESSION_ENDS, THROUGH, TOKEN, USERID};
use crate::{Context, callback};
use chrono::{DateTime, SecondsFormat, Utc};
use dataflow_config::aws::{self, Aws, Hop};
use dataflow_config::credential::Kind as _;
use dataflow_types::credential::{Credential, Material, SettleWith};
use std::collections::BTreeMap;

impl Role<'_> {
    /// Exchanges what this provider takes for a credential.
    pub(super) async fn exchange(
        &self,
        session: &str,
        context: &Context<'_>,
    ) -> Result<Credential, crate::Error> {
        let Role { aws, name } = self;
        let narrowed = Narrowed::of(aws, context)?;
        let sts = Sts::new(aws, context)?;
        let mut chain = aws.chain.iter().enumerate().peekable();
        let first = narrowed.asked(session, chain.peek().is_none());
        let mut sessions = vec![sts.with_token(&first).await?];
        while let Some((at, hop)) = chain.next() {
            let Some(by) = sessions.last() else { break };
            let name = hop.session_name.as_ref().map_or(session, aws::SessionName::as_str);
            let asked = narrowed.asked(name, chain.peek().is_none());
            let next = sts.with_session(hop, by, &asked).await;
            let next = next.map_err(|error| at_hop(error, at, hop, &sessions))?;
            sessions.push(next);
        }
        let account = sessions.last().and_then(|lent| lent.principal.split(':').nth(4)).unwrap_or_default();
        check_account(aws, account, context, &sts)?;
        let lent = sessions.pop().ok_or_else(|| crate::Error::Source(aws.target()))?;
        let callback = name.map(|name| {
            callback::line(context.program, &["credential-process", "--block"], context.folder, name)
        });
        let handed = HandOver { aws, folder: context.folder, callback }.of(&lent);
        Ok(credential(lent, &sessions, narrowed.deadline, handed))
    }
}

/// Says which role of a chain failed, and until when the sessions before it live.
fn at_hop(error: crate::Error, at: usize, hop: &Hop, before: &[Session]) -> crate::Error {
    match error {
        crate::Error::Aws(source) => {
            let ends = before.iter().map(|session| session.expires_at).max().unwrap_or_default();
            let by = before.last().map(|session| session.principal.clone()).unwrap_or_default();
            let (role, lost) = (hop.role.to_string(), before.iter().any(|session| session.lost));
            let error = crate::Error::Aws(Error::Hop { at, role, by, ends, source: Box::new(source) });
            if lost { crate::Error::AfterLoss(Box::new(error)) } else { error }
        }
        crate::Error::AfterLoss(last) => crate::Error::AfterLoss(Box::new(at_hop(*last, at, hop, before))),
        other => other,
    }
}

/// Where the configuration names accounts, the session that came must be of one of them.
fn check_account(aws: &Aws, account: &str, context: &Context<'_>, sts: &Sts<'_>) -> Result<(), Error> {
    let named = |accounts: &[aws::Account]| {
        accounts.is_empty() || accounts.iter().any(|allowed| allowed.as_str() == account)
    };
    if named(&aws.allowed_accounts) && named(&context.host.aws.allowed_accounts) {
        return Ok(());
    }
    let problem = format!("answered a session of account `{account}`, which is not among the allowed ones");
    Err(Error::Malformed { host: sts.host(), problem })
}

fn credential(
    lent: Session,
    before: &[Session],
    deadline: Option<DateTime<Utc>>,
    (variables, files): Handed,
) -> Credential {
    let facts = facts(&lent, before, deadline);
    Credential {
        variables,
        files,
        expires_at: deadline.unwrap_or(lent.expires_at),
        principal: lent.principal,
        handle: lent.access_key_id.clone(),
        settle_with: if facts.is_empty() { SettleWith::Nothing } else { SettleWith::Facts(facts) },
        answer_lost: lent.lost || before.iter().any(|session| session.lost),
        flaw: None,
        material: Material::AwsKeys {
            access_key_id: lent.access_key_id,
            secret_access_key: lent.secret_access_key,
            session_token: lent.token,
        },
    }
}

fn facts(lent: &Session, before: &[Session], deadline: Option<DateTime<Utc>>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: String| drop(facts.insert(name.to_owned(), value));
    let second = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    if !lent.userid.is_empty() {
        fact(USERID, lent.userid.clone());
    }
    if let Some(deadline) = deadline {
        fact(DEADLINE, second(deadline));
        fact(SESSION_ENDS, second(lent.expires_at));
    }
    let most = |of: fn(&Session) -> Option<i32>| {
        before.iter().chain([lent]).filter_map(of).max().filter(|most| *most > 0)
    };
    if let Some(packed) = most(|session| session.sizes.packed) {
        fact(PACKED, packed.to_string());
    }
    if let Some(token) = most(|session| session.sizes.token) {
        fact(TOKEN, token.to_string());
    }
    if !before.is_empty() {
        let through: Vec<&str> = before.iter().map(|session| session.principal.as_str()).collect();
        fact(THROUGH, through.join(" "));
    }
    facts
}

/// A session name that no other exchange has: made of the job's id, so that CloudTrail names the job.
pub fn session_name(job_id: &str) -> String {
    let plain: String = job_id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' })
        .take(40)
        .collect();
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("buildkite-job-{plain}-{}", unique.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_config::aws::SessionName;

    #[test]
    fn a_session_name_holds_the_job_and_is_valid_and_unique() {
        let job = "0194f6f2-5a7c-4b6e-9d5e-5b1a2c3d4e5f";
        let (one, other) = (session_name(job), session_name(job));
        assert!(one.starts_with(&format!("buildkite-job-{job}-")));
        assert_ne!(one, other);
        for name in [one, session_name("../evil id!"), session_name(&"x".repeat(300))] {
            assert!(name.parse::<SessionName>().is_ok(), "{name}");
        }
    }
}
