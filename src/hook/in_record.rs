//! What the record says of a run, an identity and a decision, in its own words.

use dataflow_job::identity::{Identity, Trust};
use dataflow_job::keys::Source;
use dataflow_lease::journal::Opened;
use dataflow_policy as policy;
use dataflow_record::parts::{self, Decision, Effect, IdentityTrust, KeySource, Mismatch, Run};

/// What a journal says of its run.
pub(super) fn run(opened: &Opened) -> Run {
    Run {
        job: opened.job.clone(),
        instance: opened.instance.clone(),
        container: opened.container.clone(),
        install: opened.install.clone(),
        mode: opened.mode.clone(),
        producer: parts::PRODUCER.to_owned(),
        host_config: opened.host_config.clone(),
    }
}

/// What the verification of a token found.
pub(super) fn identity(identity: &Identity) -> parts::Identity {
    let (trust, keys, unverified_because) = match &identity.trust {
        Trust::Verified(source) => (IdentityTrust::Verified, Some(key_source(*source)), None),
        Trust::Unverified(why) => (IdentityTrust::Reported, None, Some(why.clone())),
    };
    let claims = identity.claims.as_map().clone();
    parts::Identity { trust, keys, unverified_because, claims, clock_skew_seconds: identity.skew }
}

fn key_source(source: Source) -> KeySource {
    match source {
        Source::Fetched => KeySource::Fetched,
        Source::Cached => KeySource::Cached,
    }
}

/// What the policy answered.
pub(super) fn decision(decision: &policy::Decision) -> Decision {
    let failed = |one: &policy::Mismatch| Mismatch {
        claim: one.claim.clone(),
        expected: one.expected.clone(),
        seen: one.seen.clone(),
    };
    Decision {
        effect: match decision.effect {
            policy::Effect::Allow => Effect::Allow,
            policy::Effect::Deny => Effect::Deny,
        },
        rule: decision.rule.clone(),
        reason: decision.reason.clone(),
        failed: decision.failed.iter().map(failed).collect(),
    }
}
