//! The `aws` block of a credential.

use serde::Deserialize;
use url::Url;

use super::kind::Kind;
use super::token::Token;
use dataflow_types::span::Span;

mod chain;
mod check;
mod names;
pub(super) mod partition;
pub(super) mod region;
mod session;
mod sts;
mod tags;
mod types;

pub use chain::{Hop, MAX_CHAINED, MAX_DURATION, MIN_DURATION};
pub use names::{FILES, KEYS, REGIONS};
pub use partition::Partition;
pub use region::Region;
pub use session::{MAX_ARNS, SessionPolicy, Unfit, document};
pub use sts::{Endpoint, Override};
pub use tags::{TAG_VALUE, is_tag_value};
pub use types::{Account, PolicyArn, Prefix, Profile, RoleArn, SessionName};

/// Asks for one role by `AssumeRoleWithWebIdentity`, or for one that is assumed with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Aws {
    /// The role's ARN, of any [partition](#partitions-and-regions).
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", regex(pattern = r"^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/.+$"))
    )]
    pub role: RoleArn,
    /// The region, exported as `AWS_REGION` and `AWS_DEFAULT_REGION`, and whose STS is asked. Without it nothing of a
    /// region is exported, and the partition's first region is asked.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub region: Option<Region>,
    /// The region of the STS that is asked, and that signatures name, where it is another one than the step's
    /// ([regions](#partitions-and-regions)). Default: the region of the STS by its name, else `region`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sts_region: Option<Region>,
    /// How long the credentials live: `15m` to `12h`, at most the role's maximum session duration. Independent of the
    /// token's lifetime. Default: `1h`, or the host's limit where that is less.
    pub duration: Option<Span>,
    /// When a copy of the credentials stops working: `1s` to `12h`, instead of `duration` ([what it
    /// bounds](#what-a-deadline-bounds)).
    pub deadline: Option<Span>,
    /// The session's name, 2 to 64 of `A-Z a-z 0-9 _ + = , . @ -`. A fixed name makes CloudTrail name no job. Default:
    /// `buildkite-job-JOB-RANDOM`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_+=,.@-]{2,64}$"))
    )]
    pub session_name: Option<SessionName>,
    /// A policy in IAM's words that narrows the session, or `file:` and the absolute path of one on the host. With
    /// `policy-arns` and a deadline's statements at most 2048 characters.
    pub session_policy: Option<SessionPolicy>,
    /// Managed policies that narrow the session, ten at most.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub policy_arns: Vec<PolicyArn>,
    /// Claims to add as session tags. The role's trust policy must allow `sts:TagSession`.
    #[serde(default)]
    pub session_tags: Vec<String>,
    /// Accounts outside which nothing may be lent, twelve digits in quotes. Compared with every role named here and
    /// with the session that STS answered. Default: any.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub allowed_accounts: Vec<Account>,
    /// Whether the numbers of the accounts of `role` and `chain` are hidden in the job's log and in what a refusal
    /// says. They are no secrets, and stand in the record.
    #[serde(default)]
    pub mask_account_id: bool,
    /// Further roles, each assumed with the session of the one before (`AssumeRole`); the last one's session is lent.
    /// It lives for `1h` at most, and those before it are asked for 15 minutes and are not lent.
    #[serde(default)]
    pub chain: Vec<Hop>,
    /// Hands over through this profile of a private `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`, which all
    /// profiles of the block share. With `refresh` it holds a `credential_process` and no keys.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z0-9_+=,.@-]{1,64}$"))
    )]
    pub profile: Option<Profile>,
    /// Stands before the names of the variables: `STAGING_` makes `STAGING_AWS_ACCESS_KEY_ID`, and
    /// `STAGING_AWS_REGION` where there is a region.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<String>", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))
    )]
    pub prefix: Option<Prefix>,
    /// Another STS endpoint; the host config must allow it, for the token is sent there. Default: the region's STS.
    pub endpoint: Option<Url>,
    /// For how long, inside `deadlines.grant`, `AccessDenied` is tried again: AWS does not know a new role at once.
    pub retry_access_denied: Option<Span>,
    /// Where the subject token comes from and what it is like.
    #[serde(default)]
    pub token: Token,
}

type Wrong = (String, String);

impl Kind for Aws {
    fn provider(&self) -> &'static str {
        "aws"
    }

    fn check(&self) -> Result<(), Wrong> {
        self.check_block()
    }

    fn exports(&self) -> Vec<String> {
        if self.profile.is_some() {
            return self.shared();
        }
        let regions: &[&str] = if self.region.is_some() { &REGIONS } else { &[] };
        KEYS.iter().chain(regions).map(|name| self.variable(name)).collect()
    }

    fn shared(&self) -> Vec<String> {
        if self.profile.is_some() { FILES.map(str::to_owned).into() } else { Vec::new() }
    }

    fn exclusive(&self) -> Vec<String> {
        self.profile.iter().map(|profile| format!("the profile `{profile}`")).collect()
    }

    fn target(&self) -> String {
        self.lent_role().to_string()
    }

    fn token(&self) -> Option<(&Token, String)> {
        Some((&self.token, self.role.partition().audience().to_owned()))
    }

    fn token_target(&self) -> String {
        self.role.to_string()
    }

    fn session_tags(&self) -> &[String] {
        &self.session_tags
    }

    fn duration(&self) -> Option<Span> {
        self.chain.last().map_or(self.duration, |last| last.duration).or(self.deadline)
    }

    fn intermediate_lifetime(&self) -> Span {
        if self.chain.is_empty() { Span::seconds(0) } else { MIN_DURATION }
    }

    fn accounts(&self) -> Vec<&str> {
        std::iter::once(&self.role)
            .chain(self.chain.iter().map(|hop| &hop.role))
            .map(RoleArn::account)
            .collect()
    }

    fn hidden(&self) -> Vec<&str> {
        if self.mask_account_id { self.accounts() } else { Vec::new() }
    }

    fn endpoints(&self) -> Vec<&Url> {
        self.endpoint.iter().collect()
    }
}

fn wrong<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), problem.into()))
}

impl Aws {
    /// The role whose session the step gets.
    pub fn lent_role(&self) -> &RoleArn {
        self.chain.last().map_or(&self.role, |last| &last.role)
    }

    /// What narrows the session that the step gets.
    pub fn narrowed(&self) -> (Option<&SessionPolicy>, &[PolicyArn]) {
        match self.chain.last() {
            Some(last) => (last.session_policy.as_ref(), &last.policy_arns),
            None => (self.session_policy.as_ref(), &self.policy_arns),
        }
    }

    /// The deadline, where STS itself gives no session so short.
    pub fn short_deadline(&self) -> Option<Span> {
        self.deadline.filter(|deadline| *deadline < MIN_DURATION)
    }

    /// A variable's name as it is exported.
    pub fn variable(&self, name: &str) -> String {
        self.prefix.as_ref().map_or_else(|| name.to_owned(), |prefix| prefix.before(name))
    }

    /// A key of what is lent: the block's own, or the last role's.
    fn key(&self, name: &str) -> String {
        match self.chain.len().checked_sub(1) {
            Some(last) => format!("chain[{last}].{name}"),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(yaml: &str) -> Aws {
        serde_yaml::from_str(&format!("role: arn:aws:iam::123456789012:role/x\n{yaml}")).unwrap()
    }

    #[test]
    fn a_duration_out_of_range_is_refused_with_the_range() {
        let (place, problem) = aws("duration: 10m").check().unwrap_err();
        assert_eq!((place.as_str(), problem.as_str()), ("duration", "expected 15m to 12h, saw `10m`"));
        assert!(aws("duration: 43200").check().is_ok());
        assert!(aws("duration: 12h1s").check().is_err());
    }

    #[test]
    fn a_token_does_not_travel_in_clear() {
        for bad in ["http://sts.example.test", "ftp://localhost/"] {
            assert_eq!(aws(&format!("endpoint: {bad}")).check().unwrap_err().0, "endpoint", "{bad}");
        }
        for good in
            ["https://sts.example.test", "http://127.0.0.1:7480", "http://[::1]:1", "http://localhost:1"]
        {
            assert!(aws(&format!("endpoint: {good}")).check().is_ok(), "{good}");
        }
    }

    #[track_caller]
    fn refused(yaml: &str, place: &str, problem: &str) {
        let (key, seen) = aws(yaml).check().unwrap_err();
        assert_eq!(key, place, "{yaml}: {seen}");
        assert!(seen.contains(problem), "{yaml}: {seen}");
    }

    const NEXT: &str = "role: arn:aws:iam::210987654321:role/y";

    #[test]
    fn a_deadline_is_a_duration_or_less_and_not_both() {
        assert!(aws("deadline: 90s").check().is_ok());
        assert_eq!(aws("deadline: 90s").short_deadline().unwrap().as_secs(), 90);
        assert_eq!(aws("deadline: 20m").short_deadline(), None);
        assert_eq!(Kind::duration(&aws("deadline: 20m")).unwrap().as_secs(), 1200);
        refused("deadline: 0", "deadline", "expected 1s to 12h");
        refused(
            "{deadline: 20m, duration: 20m}".trim_matches(['{', '}']).replace(", ", "\n").as_str(),
            "deadline",
            "one of",
        );
        refused(&format!("deadline: 2h\nchain: [{{{NEXT}}}]"), "deadline", "expected 1s to 1h");
    }

    #[test]
    fn only_the_last_role_of_a_chain_is_narrowed_and_for_an_hour_at_most() {
        refused(&format!("duration: 1h\nchain: [{{{NEXT}}}]"), "duration", "only that one's session is lent");
        let two = |keys: &str| format!("chain: [{{{NEXT}, {keys}}}, {{{NEXT}}}]");
        refused(&two("session-policy: {Statement: []}"), "chain[0].session-policy", "last role");
        refused(&two("external-id: 'a b'"), "chain[0].external-id", "2 to 1224");
        refused(&format!("chain: [{{{NEXT}, duration: 2h}}]"), "chain[0].duration", "expected 15m to 1h");
        let good = aws(&format!("chain: [{{{NEXT}, duration: 30m, external-id: shared}}]"));
        assert!(good.check().is_ok());
        assert_eq!(Kind::duration(&good).unwrap().as_secs(), 1800);
        assert_eq!(good.target(), "arn:aws:iam::210987654321:role/y");
    }

    #[test]
    fn everything_is_of_one_partition_and_of_allowed_accounts() {
        refused("region: cn-north-1", "region", "expected one of the partition");
        refused("chain: [{role: 'arn:aws-cn:iam::210987654321:role/y'}]", "chain[0].role", "partition");
        refused("allowed-accounts: ['210987654321']", "role", "expected a role of account `210987654321`");
        let both = format!("allowed-accounts: ['123456789012']\nchain: [{{{NEXT}}}]");
        refused(&both, "chain[0].role", "expected a role of account");
        assert!(aws("allowed-accounts: ['123456789012']").check().is_ok());
    }

    #[test]
    fn a_policy_that_sts_would_not_take_is_refused() {
        let arns = ["arn:aws:iam::aws:policy/x"; 11].join(", ");
        refused(&format!("policy-arns: [{arns}]"), "policy-arns", "expected at most 10, saw 11");
        refused("session-policy: {Version: '2012-10-17'}", "session-policy", "`Statement`");
        let long = format!("session-policy: {{Statement: [], Id: {}}}", "x".repeat(2048));
        refused(&long, "session-policy", "expected at most 2048 characters");
        assert!(aws("session-policy: file:/etc/policy.json").check().is_ok());
    }

    #[test]
    fn variables_have_the_prefix_or_are_the_names_of_two_files() {
        let exports = |yaml: &str| aws(yaml).exports();
        assert_eq!(exports("prefix: A_\nregion: eu-west-1")[3], "A_AWS_REGION");
        assert_eq!(exports("profile: staging\nregion: eu-west-1"), FILES);
        refused("profile: a\nprefix: B_", "prefix", "one of");
    }
}
