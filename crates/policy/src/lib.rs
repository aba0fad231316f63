//! What is allowed: requests and claims in, decisions out; pure.

use std::path::Path;

use chrono::TimeDelta;

use dataflow_config::credential::Kind;
use dataflow_config::host::{HostConfig, StepRequests};
use dataflow_types::claims::Claims;
use dataflow_types::span::Span;
use url::Url;

mod enforce;
pub mod pattern;
pub mod request;
pub mod wanted;

pub use enforce::{Ruling, rule};
pub use request::{Origin, Request};

/// The rule that keeps tokens from endpoints that the host config does not name.
const ENDPOINTS: &str = "endpoints";

/// The rule that keeps steps from files that the host config does not name.
const KEY_FILES: &str = "key-files";

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub effect: Effect,
    /// What decided: `built-in`, `grant:NAME`, `endpoints`, `key-files`, `aws.allowed-accounts`, `limits.duration`, `limits.token-lifetime`, `step-requests`.
    pub rule: String,
    /// Why not; empty for an allowance.
    pub reason: String,
    /// The claims that were not as a grant wants them; empty where claims did not decide.
    pub failed: Vec<Mismatch>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It may be lent.
    Allow,
    /// It may not.
    Deny,
}

/// A claim that is not as a grant wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The claim's name.
    pub claim: String,
    /// The grant's pattern.
    pub expected: String,
    /// The token's value; absent when the token has no such claim.
    pub seen: Option<String>,
}

impl Decision {
    fn allow(rule: impl Into<String>) -> Self {
        Self { effect: Effect::Allow, rule: rule.into(), reason: String::new(), failed: Vec::new() }
    }

    fn deny(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { effect: Effect::Deny, rule: rule.into(), reason: reason.into(), failed: Vec::new() }
    }

    /// Whether it may be lent.
    pub fn allows(&self) -> bool {
        self.effect == Effect::Allow
    }
}

/// Decides one request of the job with these claims. The first rule that says no is the answer.
pub fn decide(request: &Request, claims: &Claims, host: &HostConfig) -> Decision {
    let kind = request.ask.kind();
    let rule = match &request.origin {
        Origin::Step if host.step_requests == StepRequests::GrantsOnly => {
            return Decision::deny("step-requests", "this host lends only what its own grants name");
        }
        Origin::Step => "built-in".to_owned(),
        Origin::Grant(name) => match grant_mismatch(name, claims, host) {
            Some(denial) => return denial,
            None => format!("grant:{name}"),
        },
    };
    let denial = endpoint(&request.origin, kind, host)
        .or_else(|| key_file(&request.origin, kind, host))
        .or_else(|| account(kind, host))
        .or_else(|| limits(kind, host));
    denial.unwrap_or_else(|| Decision::allow(rule))
}

fn grant_mismatch(name: &str, claims: &Claims, host: &HostConfig) -> Option<Decision> {
    let rule = format!("grant:{name}");
    let Some(grant) = host.grants.iter().find(|grant| grant.name == name) else {
        return Some(Decision::deny(rule, "the host config has no such grant"));
    };
    let failed = pattern::mismatches(&grant.claims, claims);
    if failed.is_empty() {
        return None;
    }
    Some(Decision { failed, ..Decision::deny(rule, "the job's claims do not match the grant") })
}

fn endpoint(origin: &Origin, kind: &dyn Kind, host: &HostConfig) -> Option<Decision> {
    // What the host config itself names in a grant needs no second permission.
    if *origin != Origin::Step {
        return None;
    }
    let known = |named: &Url| host.endpoints.iter().any(|allowed| allowed.origin() == named.origin());
    let named = kind.endpoints().into_iter().find(|named| !known(named))?;
    let reason =
        format!("`endpoints` in the host config does not allow `{}`", named.origin().ascii_serialization());
    Some(Decision::deny(ENDPOINTS, reason))
}

fn key_file(origin: &Origin, kind: &dyn Kind, host: &HostConfig) -> Option<Decision> {
    // As with endpoints: a grant's own file needs no second permission.
    if *origin != Origin::Step {
        return None;
    }
    let known = |named: &Path| host.key_files.iter().any(|allowed| allowed == named);
    let named = kind.private_key()?.file().filter(|named| !known(named))?;
    let reason = format!("`key-files` in the host config does not allow `{}`", named.display());
    Some(Decision::deny(KEY_FILES, reason))
}

fn account(kind: &dyn Kind, host: &HostConfig) -> Option<Decision> {
    let allowed = &host.aws.allowed_accounts;
    let strange = |account: &&str| !allowed.is_empty() && !allowed.iter().any(|one| one.as_str() == *account);
    let account = kind.accounts().into_iter().find(strange)?;
    Some(Decision::deny("aws.allowed-accounts", format!("this host lends no role of account `{account}`")))
}

fn limits(kind: &dyn Kind, host: &HostConfig) -> Option<Decision> {
    let over = |rule: &str, asked: Option<Span>, limit: Span| {
        let asked = asked.filter(|asked| *asked > limit)?;
        Some(Decision::deny(rule, format!("{asked} was asked for, and this host allows {limit}")))
    };
    let lifetime = kind.token().and_then(|(token, _)| token.lifetime);
    over("limits.duration", kind.duration(), host.limits.asked())
        .or_else(|| over("limits.token-lifetime", lifetime, host.limits.token_lifetime))
}

/// How long the credential will live: what was asked for, or the usual within the host's limit.
pub fn duration(kind: &dyn Kind, host: &HostConfig) -> Span {
    kind.duration().unwrap_or_else(|| kind.usual_duration().min(host.limits.asked()))
}

/// By how much a host's clock may be wrong about a server's time: by more, and STS takes no signature.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// The limit that a credential with this much left to live is beyond. What a server chose is bound only by a limit that
/// the host config names.
pub fn outlived(left: TimeDelta, host: &HostConfig) -> Option<Span> {
    let within = |limit: &Span| TimeDelta::from_std(limit.0).is_ok_and(|limit| left > limit + SKEW);
    host.limits.duration.filter(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_config::credential::ProviderRequest;
    use serde_json::json;

    fn host(yaml: &str) -> HostConfig {
        dataflow_config::host_parse::parse("config.yml", yaml).unwrap()
    }

    fn request(origin: Origin, more: &str) -> Request {
        let yaml = format!("role: arn:aws:iam::123456789012:role/x\n{more}");
        Request {
            origin,
            place: "credentials[0]".into(),
            name: None,
            refresh: false,
            git: Vec::new(),
            git_ssh: dataflow_config::git_ssh::GitSsh::default(),
            settle: dataflow_config::credential::Settle::Always,
            written: serde_json::Value::Null,
            pending: request::Pending::default(),
            export: true,
            ask: ProviderRequest::Aws(serde_yaml::from_str(&yaml).unwrap()),
        }
    }

    fn claims() -> Claims {
        Claims::new(json!({"pipeline_slug": "web", "build_branch": "main"}).as_object().unwrap().clone())
    }

    fn grant(claims: &str) -> HostConfig {
        let lent = "{aws: {role: 'arn:aws:iam::123456789012:role/x'}}";
        host(&format!(
            "step-requests: grants-only\ngrants:\n- {{name: g, claims: {{{claims}}}, credentials: [{lent}]}}\n"
        ))
    }

    #[test]
    fn a_step_may_ask_where_nothing_forbids_it() {
        let decision = decide(&request(Origin::Step, ""), &claims(), &HostConfig::default());
        assert_eq!(decision, Decision::allow("built-in"));
    }

    #[test]
    fn a_step_may_not_ask_where_only_grants_lend() {
        let host = host("step-requests: grants-only");
        assert_eq!(decide(&request(Origin::Step, ""), &claims(), &host).rule, "step-requests");
    }

    #[test]
    fn a_grant_lends_when_every_claim_matches() {
        let origin = || Origin::Grant("g".into());
        let check = |rules: &str| decide(&request(origin(), ""), &claims(), &grant(rules));
        assert_eq!(check("pipeline_slug: web, build_branch: ma*"), Decision::allow("grant:g"));
        let denied = check("pipeline_slug: web, build_branch: release/*, queue_key: big");
        let failed: Vec<_> = denied.failed.iter().map(|m| (m.claim.as_str(), m.seen.as_deref())).collect();
        assert_eq!(failed, [("build_branch", Some("main")), ("queue_key", None)]);
    }

    #[test]
    fn a_token_goes_only_to_endpoints_that_the_host_allows() {
        let asked = request(Origin::Step, "endpoint: https://sts.evil.test");
        assert_eq!(decide(&asked, &claims(), &HostConfig::default()).rule, "endpoints");
        let host = host("endpoints: ['https://sts.example.test']");
        assert!(!decide(&asked, &claims(), &host).allows());
        let asked = request(Origin::Step, "endpoint: https://sts.example.test/path");
        assert!(decide(&asked, &claims(), &host).allows());
    }

    #[test]
    fn a_key_in_a_file_signs_for_a_step_only_where_the_host_names_the_file() {
        let yaml = "app-id: 7\nowner: acme\nprivate-key: {file: /etc/keys/app.pem}";
        let ask = || ProviderRequest::GitHub(serde_yaml::from_str(yaml).unwrap());
        let asked = |origin| Request { ask: ask(), ..request(origin, "") };
        let denied = decide(&asked(Origin::Step), &claims(), &HostConfig::default());
        assert!(denied.is_unconditional(), "{denied:?}");
        assert_eq!(denied.reason, "`key-files` in the host config does not allow `/etc/keys/app.pem`");
        let near = host("key-files: [/etc/keys/other.pem, /etc/keys]");
        assert_eq!(decide(&asked(Origin::Step), &claims(), &near).rule, "key-files");
        assert!(decide(&asked(Origin::Step), &claims(), &host("key-files: [/etc/keys/app.pem]")).allows());
        let granted = decide(&asked(Origin::Grant("g".into())), &claims(), &grant("pipeline_slug: web"));
        assert!(granted.allows(), "a grant's own file needs no second permission");
    }

    #[test]
    fn a_host_that_observes_lends_what_would_be_denied_and_sends_no_token_to_strangers() {
        let observing = host("mode: observe\nlimits: {duration: 30m}");
        let asked = [request(Origin::Step, ""), request(Origin::Step, "duration: 1h")];
        let ruling = rule(asked.iter(), &claims(), &observing);
        let effects: Vec<bool> = ruling.decisions.iter().map(Decision::allows).collect();
        assert_eq!((effects, ruling.outcome.unwrap().len()), (vec![true, false], 1));
        let enforced = rule(asked.iter(), &claims(), &host("limits: {duration: 30m}")).outcome.unwrap_err();
        assert_eq!(enforced.ident, dataflow_types::failure::Ident::Denied);
        let strange = request(Origin::Step, "endpoint: https://sts.evil.test");
        assert!(rule([&strange].into_iter(), &claims(), &observing).outcome.is_err());
    }

    #[test]
    fn no_role_on_the_way_is_of_an_account_that_the_host_does_not_allow() {
        let host = host("aws: {allowed-accounts: ['123456789012']}");
        let check = |more: &str| decide(&request(Origin::Step, more), &claims(), &host);
        assert!(check("").allows());
        let denied = check("chain: [{role: 'arn:aws:iam::210987654321:role/y'}]");
        assert_eq!(denied.rule, "aws.allowed-accounts");
        assert_eq!(denied.reason, "this host lends no role of account `210987654321`");
    }

    #[test]
    fn limits_bound_what_is_asked_for_and_what_is_not() {
        let host = host("limits: {duration: 30m}");
        let decision = decide(&request(Origin::Step, "duration: 1h"), &claims(), &host);
        assert_eq!(decision.reason, "1h was asked for, and this host allows 30m");
        let unasked = request(Origin::Step, "").ask;
        assert_eq!(duration(unasked.kind(), &host).to_string(), "30m");
    }
}
