//! What must hold after a job and one sweep: the record against what the sandbox gave.

use std::collections::BTreeSet;

use buildkite_dataflow::record::Link;
use buildkite_dataflow::record::parts::Lent;
use buildkite_dataflow::settlement::Settlement;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::bootstrap::{blocks, key};
use super::story::Story;
use crate::support::hooks::Stage;

/// A credential as the sandbox knows it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    handle: String,
    ends: DateTime<Utc>,
    revoked: bool,
    /// The policy that bounds it.
    policy: String,
}

/// Every credential that the story's provider gave.
pub(super) fn given(stage: &Stage, story: &Story) -> Vec<Given> {
    if story.provider == "aws" {
        let issued = stage.sandbox.sts().issued().into_iter();
        let given = issued.map(|one| Given {
            handle: one.access_key_id,
            ends: usable_until(one.expires_at, one.policy.as_deref().unwrap_or_default()),
            revoked: false,
            policy: one.policy.unwrap_or_default(),
        });
        return given.collect();
    }
    let lives = stage.sandbox.provider(story.provider).unwrap().lives().into_iter();
    let given = lives.map(|one| Given {
        handle: one.handle,
        ends: one.ends,
        revoked: one.revoked,
        policy: String::new(),
    });
    given.collect()
}

/// When a session of AWS is of no use any more: its own deadline may be earlier than its end. What STS answers is
/// in whole seconds.
fn usable_until(ends: DateTime<Utc>, policy: &str) -> DateTime<Utc> {
    let deadline = policy.split("\"aws:CurrentTime\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let deadline = deadline.map(|at| at.parse::<DateTime<Utc>>().unwrap());
    ends.min(deadline.unwrap_or(ends)).trunc_subsecs(0)
}

/// What does not hold, though it must. `slack` is how far a process's clock was off, in seconds.
pub(super) fn broken(stage: &Stage, given: &[Given], fault: &str, slack: i64) -> Vec<String> {
    let mut broken = Vec::new();
    let links = stage.records();
    for journal in stage.open_journals() {
        // A hook killed between making the file and its first line left nothing to settle; it goes in a day.
        let void = std::fs::metadata(&journal).unwrap().len() == 0 && given.is_empty();
        if !void {
            broken.push(format!("{} is left", journal.display()));
        }
    }
    for block in blocks(stage) {
        std::fs::remove_dir_all(block).unwrap();
    }
    let private = stage.private_files();
    if !private.is_empty() {
        broken.push(format!("files are left: {private:?}"));
        for file in &private {
            std::fs::remove_file(file).unwrap();
        }
    }
    stage.no_secret_anywhere();
    for block in links.iter().map(|link| format!("{}.{}", link.run.job, link.run.instance)) {
        let key = key(&stage.folder.path().join("state/jobs").join(block));
        if key.exists() {
            broken.push(format!("the key {} is left", key.display()));
            std::fs::remove_file(key).unwrap();
        }
    }
    let ends = links.iter().filter(|link| link.end.is_some()).count();
    let chains: BTreeSet<_> = links.iter().map(|link| (&link.run.job, &link.run.instance)).collect();
    if ends != chains.len() {
        broken.push(format!("{ends} END links for {} chains", chains.len()));
    }
    if links.iter().enumerate().any(|(number, link)| link.sequence as usize != number) {
        broken.push("a link is missing".into());
    }
    // Nobody can know of an answer to a request that somebody else doubled.
    let doubled = usize::from(fault.starts_with("twice"));
    let untold = given.iter().filter_map(|one| untrue(&links, one, TimeDelta::seconds(slack)));
    broken.extend(untold.skip(doubled));
    broken
}

/// The last word on each request.
fn settlements(links: &[Link]) -> Vec<(&str, &Settlement)> {
    let ends = links.iter().filter_map(|link| link.end.as_ref()).flat_map(|end| &end.settlements);
    let late = links.iter().filter_map(|link| link.late.as_ref()).flat_map(|late| &late.settlements);
    late.chain(ends).map(|one| (one.request.as_str(), &one.settlement)).collect()
}

/// What the record says wrongly of a credential, or does not say.
fn untrue(links: &[Link], one: &Given, slack: TimeDelta) -> Option<String> {
    let starts = || links.iter().filter_map(|link| link.start.as_ref());
    let ends = links.iter().filter_map(|link| link.end.as_ref());
    let mut leases = starts().flat_map(|start| &start.leases).chain(ends.flat_map(|end| &end.renewals));
    let told = settlements(links);
    let of = |lease: &Lent| told.iter().find(|(id, _)| *id == lease.request).map(|(_, settled)| *settled);
    let long_enough = |until: DateTime<Utc>| until + slack >= one.ends;
    let problem = |what: &str| Some(format!("{what}: {one:?}, told {told:?}"));
    let Some(lease) = leases.find(|lease| lease.handle == one.handle) else {
        let lost = told
            .iter()
            .any(|(_, settled)| matches!(settled, Settlement::Unknown { until } if long_enough(*until)));
        let second = starts().flat_map(|start| &start.findings).any(|told| told.ident == "answer-lost");
        return if lost || second || one.revoked { None } else { problem("nobody tells of it") };
    };
    match of(lease) {
        None => problem("nobody says what became of it"),
        Some(
            Settlement::Revoked { .. }
            | Settlement::RevokedInferred { .. }
            | Settlement::RevokedInPart { .. }
            | Settlement::RevokeAccepted { .. },
        ) => {
            if one.revoked {
                None
            } else {
                problem("it was not revoked")
            }
        }
        Some(Settlement::Bounded { at }) => {
            let told = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            if one.policy.contains(&told) { None } else { problem("it has no such bound") }
        }
        Some(
            Settlement::Expires { at: until }
            | Settlement::AlreadyExpired { at: until }
            | Settlement::Unknown { until }
            | Settlement::Failed { until, .. },
        ) => {
            if one.revoked || long_enough(*until) {
                None
            } else {
                problem("it lives longer")
            }
        }
        // What was read lives on; of the login itself the lease says it.
        Some(Settlement::Stored { .. }) if one.revoked || long_enough(lease.expires_at) => None,
        Some(_) => problem("that is no settlement of it"),
    }
}
