//! From what happened to the parts of a record.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::hook::{Context, in_record};
use dataflow_host::{Env, env};
use dataflow_job::Reported;
use dataflow_job::identity::{Identity, LEEWAY};
use dataflow_lease::Lease;
use dataflow_lease::export::{Export, NAMES, Restore};
use dataflow_lease::journal::{Entry, Exported};
use dataflow_policy::wanted::LeftOut;
use dataflow_policy::{self as policy, Decision, Origin, Request};
use dataflow_providers::token::Key;
use dataflow_providers::{self as provider, aws};
use dataflow_record::end;
use dataflow_record::parts::{self, DataTrust, DataUse, Lent, Outcome, Requested, Start, TokenUse, Told};
use dataflow_types::credential::EnvName;
use dataflow_types::dataset::Dataset;
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;
use dataflow_types::settlement::Settlement;
use dataflow_types::span::Span;

/// One request with its answer.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) id: String,
    pub(super) request: Request,
    pub(super) decision: Decision,
    pub(super) session: String,
}

/// Something a reader should look at.
pub(super) fn told(ident: finding::Ident, what: impl Into<String>) -> Told {
    Told { ident: ident.to_string(), what: what.into() }
}

/// Whether a finding is as it should be: no more than news.
pub(super) fn is_news(finding: &Told) -> bool {
    use finding::Ident::{NotAskedFor, NotSecret, SecretTakenOff};
    [NotAskedFor, SecretTakenOff, NotSecret].iter().any(|news| news.as_str() == finding.ident)
}

pub(super) fn left_out(one: &LeftOut) -> Told {
    let LeftOut { place, provider, condition, .. } = one;
    told(
        finding::Ident::NotAskedFor,
        format!("`{place}` ({provider}) is not asked for: `{condition}` is false"),
    )
}

pub(super) fn requested(decided: &Decided, context: &Context<'_>) -> Requested {
    let kind = decided.request.ask.kind();
    Requested {
        id: decided.id.clone(),
        place: decided.request.place.clone(),
        origin: origin(&decided.request.origin),
        provider: kind.provider().to_owned(),
        target: kind.target(),
        decision: Some(in_record::decision(&decided.decision)),
        duration_seconds: policy::duration(kind, &context.loaded.config).as_secs(),
    }
}

/// Who asks, as the record says it.
pub(super) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Step => "step".to_owned(),
        Origin::Grant(name) => format!("grant:{name}"),
    }
}

pub(super) fn lent(lease: &Lease) -> Lent {
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

/// What a reader should know of a lease.
pub(super) fn of_lease(lease: &Lease, answer_lost: bool, latest: DateTime<Utc>) -> Vec<Told> {
    let (id, until) = (&lease.id, latest.format("%Y-%m-%dT%H:%M:%SZ"));
    let lost = answer_lost.then(|| {
        let what =
            format!("an earlier answer to request {id} was lost: a second session may live until {until}");
        told(finding::Ident::AnswerLost, what)
    });
    let full = aws::nearly_full(&lease.facts(&[])).map(|percent| {
        let what = format!(
            "the session policies and tags of request {id} take {percent} % of what STS packs: at more than \
             100 % it refuses"
        );
        told(finding::Ident::PolicyNearlyFull, what)
    });
    lost.into_iter().chain(full).collect()
}

/// That a credential lives longer than the host's limit, where the host only observes.
pub(super) fn outlived(lease: &Lease, limit: Span) -> Told {
    let Lease { principal, expires_at, .. } = lease;
    let what =
        format!("`{principal}` lives until {expires_at}, and `limits.duration` of this host is {limit}");
    told(finding::Ident::WouldBeDenied, what)
}

/// What of the secrets the log is not told to hide.
pub(super) fn not_hidden(left_out: usize) -> Option<Told> {
    let what = || {
        format!("{left_out} texts of the secrets are more than a log can look for: they are not hidden in it")
    };
    (left_out > 0).then(|| told(finding::Ident::TextsNotHidden, what()))
}

/// What the journal is told of an exchange that lent nothing; nothing, where a credential may exist.
pub(super) fn not_lent(id: &str, error: &provider::Error, reason: String) -> Option<Entry> {
    if error.nothing_issued() {
        return Some(Entry::NotIssued { id: id.to_owned(), reason });
    }
    let settlement = Settlement::Expires { at: error.left_until()? };
    Some(Entry::Settled { id: id.to_owned(), settlement })
}

pub(super) fn token_use(key: &Key, token: &dataflow_types::claims::SubjectToken) -> TokenUse {
    use dataflow_config::token::From;
    let claims = token.unverified_claims().unwrap_or_default();
    let source = match &key.from {
        From::Agent => "agent",
        From::File(_) => "file",
        From::Command(_) => "command",
    };
    TokenUse {
        audience: key.shape.audience.clone().unwrap_or_default(),
        source: source.to_owned(),
        fingerprint: token.fingerprint(),
        expires_at: claims.seconds("exp").and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
    }
}

pub(super) fn data(datasets: &[Dataset]) -> Vec<DataUse> {
    let data = |dataset: &Dataset| DataUse { uri: dataset.uri().to_owned(), trust: DataTrust::Asserted };
    datasets.iter().map(data).collect()
}

/// What is known before anything was lent.
pub(super) fn start(context: &Context<'_>, identity: &Identity, step: &dataflow_config::step::Step) -> Start {
    let Reported { said, creator, cut } = Reported::of(&context.host.env);
    Start {
        identity: Some(in_record::identity(identity)),
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
        findings: identity_findings(identity).into_iter().chain(taken_off(&cut)).collect(),
        ruled_by: context.loaded.file.as_ref().map(|file| {
            Box::new(parts::RuledBy {
                file: file.display().to_string(),
                changeable: context.loaded.changeable.as_ref().map(|place| place.display().to_string()),
            })
        }),
    }
}

/// What the record does not repeat of a variable.
fn taken_off(variables: &[&'static str]) -> Option<Told> {
    let what = || {
        let names = variables.join("`, `");
        format!("`{names}` can carry a secret: the record has it without user, query and fragment")
    };
    (!variables.is_empty()).then(|| told(finding::Ident::SecretTakenOff, what()))
}

/// What the step is handed over as no secret.
pub(super) fn not_secret(decided: &[Decided]) -> impl Iterator<Item = Told> {
    let plain =
        decided.iter().filter(|one| one.request.export).flat_map(|one| one.request.ask.kind().plain());
    plain.map(|name| {
        told(finding::Ident::NotSecret, format!("`{name}` is handed over as no secret: the log shows it"))
    })
}

fn identity_findings(identity: &Identity) -> Vec<Told> {
    let skew = identity.skew.filter(|skew| skew.abs() > LEEWAY / 5);
    let skew = skew.map(|skew| {
        told(finding::Ident::ClockSkew, format!("the host's clock is {skew} s off the issuer's"))
    });
    let unverified = match &identity.trust {
        dataflow_job::identity::Trust::Unverified(why) => Some(told(
            finding::Ident::IdentityUnverified,
            format!("the job's token could not be verified: {why}"),
        )),
        dataflow_job::identity::Trust::Verified(_) => None,
    };
    skew.into_iter().chain(unverified).collect()
}

/// What each use of the plugin sets anew, and nothing is lost by: the folder of its files, and the files of the AWS tools,
/// which have the profiles of all uses.
const OURS: [&str; 4] =
    [env::BLOCK.name, env::OIDC_TMPDIR.name, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];

/// What was set for the step before and is now covered, a static key, a profile; and what competes with what is lent.
pub(super) fn covered(export: &Export, standing: &Env) -> Vec<Told> {
    let competing = export.competing();
    let listed = NAMES.parse().ok().and_then(|names: EnvName| standing.standing(&names));
    let earlier = || listed.into_iter().flat_map(|list| list.expose().split_whitespace());
    let goes_on = |name: &str| OURS.contains(&name) && earlier().any(|known| known == name);
    let anew = |variable: &&Exported| {
        variable.previous.is_some()
            && variable.name != NAMES
            && !goes_on(&variable.name)
            && !competing.iter().any(|found| found.covers(&variable.name))
    };
    let anew = export.previous().iter().filter(anew).map(|variable| {
        told(
            finding::Ident::VariableCovered,
            format!("`{}` was set already; it comes back after the step", variable.name),
        )
    });
    let competing = competing.iter().map(|found| match found.covered {
        Some(_) => told(finding::Ident::VariableCovered, found.sentence()),
        None => told(finding::Ident::VariableCompetes, found.sentence()),
    });
    anew.chain(competing).collect()
}

pub(super) fn restored(variables: &[(Exported, Restore)], reached: bool) -> Vec<end::Restored> {
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
pub(super) fn failure(failure: &Failure, context: &Context<'_>) -> Told {
    Told { ident: failure.ident.to_string(), what: context.host.mask.apply(&failure.sentence()) }
}

/// What policy refused, as a failure.
pub(super) fn denial(one: &Decided) -> Failure {
    let (provider, target) = (one.request.ask.kind().provider(), one.request.ask.kind().target());
    let failed = one.decision.failed.iter().map(|mismatch| {
        let seen = mismatch.seen.as_ref().map_or_else(|| "nothing".to_owned(), |seen| format!("`{seen}`"));
        format!("claim `{}`: expected `{}`, saw {seen}", mismatch.claim, mismatch.expected)
    });
    let rule = format!("rule `{}`: {}", one.decision.rule, one.decision.reason);
    let what = format!("this host's policy does not lend {provider} `{target}` ({})", one.request.place);
    Failure::new(Ident::Denied, what)
        .caused_by(std::iter::once(rule).chain(failed).collect())
        .hinted("the host config decides this; the platform engineers of this host own it")
}
