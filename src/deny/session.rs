//! One session of a role, and the policy that denies exactly it.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::json;

use dataflow_config::aws::{Partition, SessionName};
use dataflow_providers::aws::USERID;
use dataflow_record::parts::Lent;
use dataflow_types::secret::Fingerprint;

/// What the names of our policies begin with; then follow until when, and whom.
const PREFIX: &str = "buildkite-dataflow-deny.";
const TIME: &str = "%Y%m%dT%H%M%SZ";
const DIGITS: usize = 16;

/// How long a policy stays after its session's end: this host's clock is not AWS's.
const AFTERWARDS: TimeDelta = TimeDelta::minutes(5);

/// The longest life of a session of AWS (`MaxSessionDuration`).
const LONGEST: TimeDelta = TimeDelta::hours(12);

/// A role as those who assumed it are named: without its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RoleName {
    partition: String,
    account: String,
    /// Its name, which is unique in its account.
    pub(super) name: String,
}

impl RoleName {
    /// The role of an ARN: of a session of it, or its own. `None` where it is of something else.
    pub(super) fn of(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, rest] = parts.as_slice() else { return None };
        let name = match (*service, rest.split('/').collect::<Vec<_>>().as_slice()) {
            ("sts", ["assumed-role", name, _]) | ("iam", ["role", .., name]) => *name,
            _ => return None,
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
        let (partition, account) = ((*partition).to_owned(), (*account).to_owned());
        (plain && !name.is_empty()).then(|| Self { partition, account, name: name.to_owned() })
    }

    /// The world it lives in.
    pub(super) fn partition(&self) -> Partition {
        Partition::named(&self.partition).unwrap_or(Partition::USUAL)
    }

    /// Whether an ARN is of the same account.
    pub(super) fn is_account_of(&self, arn: &str) -> bool {
        arn.split(':').nth(4) == Some(self.account.as_str())
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:iam::{}:role/{}", self.partition, self.account, self.name)
    }
}

/// A session that a record tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Whose session it is.
    pub(super) role: RoleName,
    /// The role's unique id, as STS told it; a few services do not.
    pub(super) role_id: Option<String>,
    /// The session's name.
    pub(super) name: String,
    /// When it began.
    pub(super) issued_at: DateTime<Utc>,
    /// When it ends by itself.
    pub(super) expires_at: DateTime<Utc>,
}

/// What a record tells of a session is none. A policy made of it could deny others too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its record does not tell of a session of a role, or not of the same twice")]
pub(super) struct Unfit;

impl Session {
    /// The session that a lease is.
    pub(super) fn of(lent: &Lent) -> Result<Self, Unfit> {
        // Only plain names pass: in a policy, `${…}` would be whoever asks, and so everybody.
        let name = lent.principal.rsplit('/').next().filter(|name| name.parse::<SessionName>().is_ok());
        let name = name.ok_or(Unfit)?.to_owned();
        let role_id = match lent.facts.get(USERID).map(|userid| userid.split_once(':')) {
            None => None,
            Some(Some((id, told))) if is_id(id) && told == name => Some(id.to_owned()),
            Some(_) => return Err(Unfit),
        };
        let role = RoleName::of(&lent.principal).ok_or(Unfit)?;
        Ok(Self { role, role_id, name, issued_at: lent.issued_at, expires_at: lent.expires_at })
    }

    /// The session that an operator names by its ARN. Forged records do not say when it ends.
    pub(super) fn named(arn: &str, now: DateTime<Utc>) -> Option<Self> {
        let role = RoleName::of(arn).filter(|_| arn.split(':').nth(2) == Some("sts"))?;
        let name = arn.rsplit('/').next().filter(|name| name.parse::<SessionName>().is_ok())?.to_owned();
        Some(Self { role, role_id: None, name, issued_at: now, expires_at: now + LONGEST })
    }

    /// The policy for a session of the role with this id.
    pub(super) fn denial(&self, role_id: &str) -> Denial {
        let userid = format!("{role_id}:{}", self.name);
        let condition = json!({"StringEquals": {"aws:userid": userid}});
        let statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let (until, digest) = (self.expires_at.format(TIME), Fingerprint::of(userid.as_bytes()));
        Denial { name: format!("{PREFIX}{until}.{}", digest.short(DIGITS)), policy }
    }
}

/// A policy that denies everything to one session, and says nothing about any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// Its name: the same each time, and with the session's end, so that it can be pruned unread.
    pub(super) name: String,
    /// What it says.
    pub(super) policy: String,
}

/// Whether a text is the unique id of a role: `AROA…` at AWS, a UUID at others.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a policy of this name is one of ours whose session has ended.
pub(super) fn is_over(policy: &str, now: DateTime<Utc>) -> bool {
    let Some((until, digest)) = policy.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let ours = digest.len() == DIGITS && digest.bytes().all(hex);
    let until = NaiveDateTime::parse_from_str(until, TIME).map(|until| until.and_utc());
    ours && until.is_ok_and(|until| until + AFTERWARDS < now)
}

/// What a policy takes of a role's room: IAM does not count white space.
pub(super) fn size(policy: &str) -> usize {
    policy.chars().filter(|c| !c.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINCIPAL: &str = "arn:aws:sts::123456789012:assumed-role/deploy/buildkite-job-1";

    fn lent(userid: Option<&str>, principal: &str) -> Lent {
        let userid = userid.map(|userid| (USERID.to_owned(), userid.to_owned()));
        Lent {
            request: "0".into(),
            provider: "aws".into(),
            principal: principal.into(),
            handle: "ASIA".into(),
            session: "buildkite-job-1".into(),
            fingerprint: Fingerprint::of(b""),
            issued_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::hours(1),
            facts: userid.into_iter().collect(),
        }
    }

    #[test]
    fn the_policy_denies_everything_to_exactly_one_session() {
        let session = Session::of(&lent(Some("AROA1:buildkite-job-1"), PRINCIPAL)).unwrap();
        let Denial { name, policy } = session.denial(session.role_id.as_deref().unwrap());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&policy).unwrap(),
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*",
                "Condition": {"StringEquals": {"aws:userid": "AROA1:buildkite-job-1"}}}]})
        );
        assert_eq!(session.role.to_string(), "arn:aws:iam::123456789012:role/deploy");
        assert!(!policy.contains(' ') && name.len() <= 128, "{name}");
    }

    #[test]
    fn a_session_that_others_could_match_makes_no_policy() {
        for userid in [
            "${aws:userid}",
            "AROA1:${aws:userid}",
            "AROA1:*",
            "*:buildkite-job-1",
            "AROA1:buildkite-job-?",
            "AROA1",
            ":buildkite-job-1",
            "AROA1:buildkite-job-1:x",
            "AROA1:buildkite-job-1\"",
        ] {
            // Not even where the ARN says the same.
            let name = userid.split_once(':').map_or("", |(_, name)| name);
            let same = format!("arn:aws:sts::123456789012:assumed-role/deploy/{name}");
            for principal in [PRINCIPAL, &same] {
                assert_eq!(Session::of(&lent(Some(userid), principal)), Err(Unfit), "{userid} {principal}");
            }
        }
        assert_eq!(Session::of(&lent(Some("AROA1:other"), PRINCIPAL)), Err(Unfit));
        assert_eq!(Session::of(&lent(None, "arn:aws:sts::123456789012:assumed-role/deploy/*")), Err(Unfit));
        assert_eq!(Session::of(&lent(None, PRINCIPAL)).unwrap().role_id, None);
    }

    #[test]
    fn a_role_is_known_by_its_sessions_and_by_its_own_arn() {
        let role = RoleName::of(PRINCIPAL).unwrap();
        assert_eq!(RoleName::of("arn:aws:iam::123456789012:role/path/deploy"), Some(role.clone()));
        assert!(role.is_account_of("arn:aws:iam::123456789012:role/x"));
        assert!(!role.is_account_of("arn:aws:iam::210987654321:role/deploy"));
        for other in [
            "arn:aws:iam::123456789012:user/deploy",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:sts::123456789012:assumed-role/deploy",
            "arn:aws:sts::123456789012:assumed-role/de&ploy/x",
            "deploy",
        ] {
            assert_eq!(RoleName::of(other), None, "{other}");
        }
    }

    #[test]
    fn only_policies_of_ours_whose_session_has_ended_are_over() {
        let session = Session::of(&lent(Some("AROA1:buildkite-job-1"), PRINCIPAL)).unwrap();
        let Denial { name, .. } = session.denial("AROA1");
        let at = |minutes| session.expires_at + TimeDelta::minutes(minutes);
        assert!(!is_over(&name, at(0)) && !is_over(&name, at(5)) && is_over(&name, at(6)));
        for other in [
            "grant",
            "AWSRevokeOlderSessions",
            "buildkite-dataflow-deny.19700101T000000Z",
            "buildkite-dataflow-deny.19700101T000000Z.0123456789abcde",
            "buildkite-dataflow-deny.19700101T000000Z.0123456789abcdeX",
            "buildkite-dataflow-deny.yesterday.0123456789abcdef",
            "x-buildkite-dataflow-deny.19700101T000000Z.0123456789abcdef",
        ] {
            assert!(!is_over(other, at(9999)), "{other}");
        }
    }
}
