//! Findings: what a reader of a record should look at.

use chrono::{DateTime, Utc};

use dataflow_host::{Env, env};
use dataflow_job::identity::{Identity, LEEWAY, Trust};
use dataflow_lease::Lease;
use dataflow_lease::export::{Export, NAMES};
use dataflow_lease::journal::Exported;
use dataflow_policy::Request;
use dataflow_policy::wanted::LeftOut;
use dataflow_providers::aws;
use dataflow_record::parts::Finding;
use dataflow_types::credential::EnvName;
use dataflow_types::finding;
use dataflow_types::span::Span;

/// Whether a finding is as it should be: no more than news.
pub(crate) fn is_news(finding: &Finding) -> bool {
    use finding::Ident::{NotAskedFor, NotSecret, SecretTakenOff};
    [NotAskedFor, SecretTakenOff, NotSecret].iter().any(|news| news.as_str() == finding.ident)
}

/// A credential that is not asked for, because its condition is false.
pub(crate) fn left_out(one: &LeftOut) -> Finding {
    let LeftOut { place, provider, condition, .. } = one;
    Finding::new(
        finding::Ident::NotAskedFor,
        format!("`{place}` ({provider}) is not asked for: `{condition}` is false"),
    )
}

/// What a reader should know of a lease.
pub(crate) fn of_lease(lease: &Lease, answer_lost: bool, latest: DateTime<Utc>) -> Vec<Finding> {
    let (id, until) = (&lease.id, latest.format("%Y-%m-%dT%H:%M:%SZ"));
    let lost = answer_lost.then(|| {
        let what =
            format!("an earlier answer to request {id} was lost: a second session may live until {until}");
        Finding::new(finding::Ident::AnswerLost, what)
    });
    let full = aws::nearly_full(&lease.facts(&[])).map(|percent| {
        let what = format!(
            "the session policies and tags of request {id} take {percent} % of what STS packs: at more than \
             100 % it refuses"
        );
        Finding::new(finding::Ident::PolicyNearlyFull, what)
    });
    lost.into_iter().chain(full).collect()
}

/// That a credential lives longer than the host's limit, where the host only observes.
pub(crate) fn outlived(lease: &Lease, limit: Span) -> Finding {
    let Lease { principal, expires_at, .. } = lease;
    let what =
        format!("`{principal}` lives until {expires_at}, and `limits.duration` of this host is {limit}");
    Finding::new(finding::Ident::WouldBeDenied, what)
}

/// The texts of secrets that the log does not hide.
pub(crate) fn not_hidden(left_out: usize) -> Option<Finding> {
    let what = || {
        format!("{left_out} texts of the secrets are more than a log can look for: they are not hidden in it")
    };
    (left_out > 0).then(|| Finding::new(finding::Ident::TextsNotHidden, what()))
}

/// What the record does not repeat of a variable.
pub(crate) fn taken_off(variables: &[&'static str]) -> Option<Finding> {
    let what = || {
        let names = variables.join("`, `");
        format!("`{names}` can carry a secret: the record has it without user, query and fragment")
    };
    (!variables.is_empty()).then(|| Finding::new(finding::Ident::SecretTakenOff, what()))
}

/// What the step is handed over as no secret.
pub(crate) fn not_secret<'r>(requests: impl Iterator<Item = &'r Request>) -> impl Iterator<Item = Finding> {
    let plain = requests.filter(|one| one.export).flat_map(|one| one.ask.kind().plain());
    plain.map(|name| {
        Finding::new(
            finding::Ident::NotSecret,
            format!("`{name}` is handed over as no secret: the log shows it"),
        )
    })
}

/// What a reader should know of the identity.
pub(crate) fn of_identity(identity: &Identity) -> Vec<Finding> {
    let skew = identity.skew.filter(|skew| skew.abs() > LEEWAY / 5);
    let skew = skew.map(|skew| {
        Finding::new(finding::Ident::ClockSkew, format!("the host's clock is {skew} s off the issuer's"))
    });
    let unverified = match &identity.trust {
        Trust::Unverified(why) => Some(Finding::new(
            finding::Ident::IdentityUnverified,
            format!("the job's token could not be verified: {why}"),
        )),
        Trust::Verified(_) => None,
    };
    skew.into_iter().chain(unverified).collect()
}

/// What each use of the plugin sets anew, and nothing is lost by: the folder of its files, and the files of the AWS tools,
/// which have the profiles of all uses.
const OURS: [&str; 4] =
    [env::BLOCK.name, env::OIDC_TMPDIR.name, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];

/// What was set for the step before and is now covered, a static key, a profile; and what competes with what is lent.
pub(crate) fn covered(export: &Export, standing: &Env) -> Vec<Finding> {
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
        Finding::new(
            finding::Ident::VariableCovered,
            format!("`{}` was set already; it comes back after the step", variable.name),
        )
    });
    let competing = competing.iter().map(|found| match found.covered {
        Some(_) => Finding::new(finding::Ident::VariableCovered, found.sentence()),
        None => Finding::new(finding::Ident::VariableCompetes, found.sentence()),
    });
    anew.chain(competing).collect()
}
