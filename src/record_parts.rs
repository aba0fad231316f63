//! Builds the parts of a record from what a hook did.

use std::collections::BTreeMap;

use crate::context::Context;
use crate::findings;
use dataflow_config::host::HostConfig;
use dataflow_config::step::Step;
use dataflow_config::token::TokenSource;
use dataflow_job::Reported;
use dataflow_job::identity::{Identity, Trust};
use dataflow_job::keys::Source;
use dataflow_lease::Lease;
use dataflow_lease::export::Restore;
use dataflow_lease::journal::{Entry, Exported, Opened};
use dataflow_policy::{self as policy, Origin, Request};
use dataflow_providers as provider;
use dataflow_providers::token::{Minted, Subject};
use dataflow_record::end;
use dataflow_record::parts::{
    self, DataTrust, DataUse, Decision, Effect, Finding, IdentityTrust, KeySource, Lent, Mismatch, Outcome,
    Requested, Run, Start, TokenUse,
};
use dataflow_types::dataset::Dataset;
use dataflow_types::failure::Failure;
use dataflow_types::settlement::Settlement;

/// A request with its answer.
pub(crate) fn requested(
    id: String,
    request: &Request,
    decision: &policy::Decision,
    host: &HostConfig,
) -> Requested {
    let kind = request.ask.kind();
    Requested {
        id,
        place: request.place.clone(),
        origin: origin(&request.origin),
        provider: kind.provider().to_owned(),
        target: kind.target(),
        decision: Some(self::decision(decision)),
        duration_seconds: policy::duration(kind, host).as_secs(),
    }
}

/// Who asks, as the record says it.
pub(crate) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Step => "step".to_owned(),
        Origin::Grant(name) => format!("grant:{name}"),
    }
}

/// A lease as the record has it.
pub(crate) fn lent(lease: &Lease) -> Lent {
    Lent {
        request: lease.id.clone(),
        provider: lease.provider.clone(),
        principal: lease.principal.clone(),
        handle: lease.handle.clone(),
        session: lease.session.clone(),
        fingerprint: lease.fingerprint.clone(),
        issued_at: lease.issued_at,
        expires_at: lease.expires_at,
        facts: lease.facts(provider::public_details(&lease.provider)),
    }
}

/// The journal's entry for an exchange that lent nothing; nothing, where a credential may exist.
pub(crate) fn not_lent(id: &str, error: &provider::Error, reason: String) -> Option<Entry> {
    if error.nothing_issued() {
        return Some(Entry::NotIssued { id: id.to_owned(), reason });
    }
    let settlement = Settlement::Expires { at: error.left_until()? };
    Some(Entry::Settled { id: id.to_owned(), settlement })
}

/// Every token of the job that was minted for some requests.
pub(crate) fn token_uses(subject: &Subject) -> Vec<TokenUse> {
    let source = match &subject.key.from {
        TokenSource::Agent => "agent",
        TokenSource::File(_) => "file",
        TokenSource::Command(_) => "command",
    };
    let token_use = |minted: Minted| TokenUse {
        audience: subject.key.request.audience.clone().unwrap_or_default(),
        source: source.to_owned(),
        fingerprint: minted.token.fingerprint(),
        expires_at: minted.ends(),
    };
    subject.all().into_iter().map(token_use).collect()
}

/// The data that a step names.
pub(crate) fn data(datasets: &[Dataset]) -> Vec<DataUse> {
    let data = |dataset: &Dataset| DataUse { uri: dataset.uri().to_owned(), trust: DataTrust::Asserted };
    datasets.iter().map(data).collect()
}

/// What is known before anything was lent.
pub(crate) fn start(context: &Context<'_>, identity: &Identity, step: &Step) -> Start {
    let Reported { said, creator, cut } = Reported::of(&context.host.env);
    Start {
        identity: Some(self::identity(identity)),
        reported: said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        asserted: creator
            .map(|who| ("build-creator".to_owned(), who))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        requests: Vec::new(),
        leases: Vec::new(),
        exported: Vec::new(),
        tokens: Vec::new(),
        inputs: data(&step.inputs),
        outputs: data(&step.outputs),
        outcome: Outcome::Granted,
        failure: None,
        findings: findings::of_identity(identity).into_iter().chain(findings::taken_off(&cut)).collect(),
        ruled_by: context.loaded.file.as_ref().map(|file| {
            Box::new(parts::RuledBy {
                file: file.display().to_string(),
                changeable: context.loaded.changeable.as_ref().map(|place| place.display().to_string()),
            })
        }),
    }
}

/// What became of the exported variables.
pub(crate) fn restored(variables: &[(Exported, Restore)], reached: bool) -> Vec<end::Restored> {
    let outcome = |restore: &Restore| match restore {
        Restore::LeaveChanged => restore.word(),
        _ if !reached => "not-restored",
        _ => restore.word(),
    };
    let one = |(variable, restore): &(Exported, Restore)| end::Restored {
        name: variable.name.clone(),
        outcome: outcome(restore).to_owned(),
    };
    variables.iter().map(one).collect()
}

/// The failure as the record tells it: what a server said may repeat what it was sent.
pub(crate) fn failure(failure: &Failure, context: &Context<'_>) -> Finding {
    Finding { ident: failure.ident.to_string(), what: context.host.mask.apply(&failure.sentence()) }
}

/// What a journal says of its run.
pub(crate) fn run(opened: &Opened) -> Run {
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
pub(crate) fn identity(identity: &Identity) -> parts::Identity {
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
pub(crate) fn decision(decision: &policy::Decision) -> Decision {
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
