//! AWS: `AssumeRoleWithWebIdentity`, and `AssumeRole` for what is chained (STS API 2011-06-15).
//!
//! STS takes nothing back: a session lives until its `Expiration`, and its lease settles as `expires`, or
//! as `bounded` where the session's own policy ends it before.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};

use super::{Context, Provider, SettleContext, callback};
use dataflow_config::aws::{self, Aws, Hop, MIN_DURATION, SessionPolicy};
use dataflow_config::credential::Kind as _;
use dataflow_host::files;
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Material, SettleWith};
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

mod ask;
mod error;
mod hand_over;
pub mod iam;
mod told;
mod transport;

use ask::{Asked, Session, Sts};
pub use error::Error;
use hand_over::{HandOver, Handed};

/// The provider's name in configurations and records.
pub const NAME: &str = "aws";

/// What is known of a lease: when the session's own policy ends it.
const DEADLINE: &str = "deadline";
/// When STS ends it, where that is later.
const SESSION_ENDS: &str = "session-ends";
/// How much of what STS packs its policies and tags take, in percent.
const PACKED: &str = "packed-policy-percent";
/// How much of a session token's room this one takes, in percent.
const TOKEN: &str = "session-token-percent";
/// What policies see of the session as `aws:userid`: the role's id, a colon, the session's name.
pub const USERID: &str = "userid";
/// The sessions that it was made through.
pub const THROUGH: &str = "through";

/// From where on a full session policy is told, in percent.
const NEARLY_FULL: i32 = 80;

/// One role that a step asks for.
#[derive(Debug)]
pub struct Role<'a> {
    /// What is asked for.
    pub aws: &'a Aws,
    /// By which name SDKs may call back for it.
    pub name: Option<&'a str>,
}

impl Provider for Role<'_> {
    async fn exchange(&self, session: &str, context: &Context<'_>) -> Result<Credential, super::Error> {
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
        let lent = sessions.pop().ok_or_else(|| super::Error::Source(aws.target()))?;
        let callback = name.map(|name| {
            callback::line(context.program, &["credential-process", "--block"], context.folder, name)
        });
        let handed = HandOver { aws, folder: context.folder, callback }.of(&lent);
        Ok(credential(lent, &sessions, narrowed.deadline, handed))
    }

    async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
        let deadline = lease.detail.get(DEADLINE).and_then(|at| at.parse::<DateTime<Utc>>().ok());
        if let Some(at) = deadline {
            return Settlement::Bounded { at };
        }
        if lease.expires_at <= context.clock.now() {
            return Settlement::AlreadyExpired { at: lease.expires_at };
        }
        Settlement::Expires { at: lease.expires_at }
    }
}

/// What narrows the session that is lent.
struct Narrowed<'a> {
    policy: Option<String>,
    managed: &'a [aws::PolicyArn],
    deadline: Option<DateTime<Utc>>,
    seconds: i32,
}

impl<'a> Narrowed<'a> {
    fn of(aws: &'a Aws, context: &Context<'_>) -> Result<Self, Error> {
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
    fn asked<'b>(&'b self, name: &'b str, last: bool) -> Asked<'b> {
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

/// Says which role of a chain failed, and until when the sessions before it live.
fn at_hop(error: super::Error, at: usize, hop: &Hop, before: &[Session]) -> super::Error {
    match error {
        super::Error::Aws(source) => {
            let ends = before.iter().map(|session| session.expires_at).max().unwrap_or_default();
            let by = before.last().map(|session| session.principal.clone()).unwrap_or_default();
            let (role, lost) = (hop.role.to_string(), before.iter().any(|session| session.lost));
            let error = super::Error::Aws(Error::Hop { at, role, by, ends, source: Box::new(source) });
            if lost { super::Error::AfterLoss(Box::new(error)) } else { error }
        }
        super::Error::AfterLoss(last) => super::Error::AfterLoss(Box::new(at_hop(*last, at, hop, before))),
        other => other,
    }
}

/// Where somebody named the accounts, the session that came must be of one of them.
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

/// How full STS's room for policies and tags is, in percent, where that is worth a word.
pub fn nearly_full(facts: &BTreeMap<String, String>) -> Option<i32> {
    let percents = [PACKED, TOKEN].into_iter().filter_map(|name| facts.get(name)?.parse().ok());
    percents.max().filter(|percent| *percent >= NEARLY_FULL)
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
    fn a_policy_is_told_from_eighty_percent_on_of_whichever_room_is_fuller() {
        let facts = |packed: &str, token: &str| {
            [(PACKED.to_owned(), packed.to_owned()), (TOKEN.to_owned(), token.to_owned())].into()
        };
        assert_eq!(nearly_full(&facts("79", "79")), None);
        assert_eq!(nearly_full(&facts("80", "3")), Some(80));
        assert_eq!(nearly_full(&facts("3", "99")), Some(99));
        assert_eq!(nearly_full(&BTreeMap::new()), None);
    }

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
