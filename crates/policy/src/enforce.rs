//! Enforcement: what the decisions on several requests mean on this host.

use super::{Decision, ENDPOINTS, Effect, KEY_FILES, Request, decide};
use dataflow_config::host::{HostConfig, Mode};
use dataflow_types::claims::Claims;
use dataflow_types::failure::{Failure, Ident};

/// The decisions on several requests, and what follows from them.
#[derive(Debug)]
pub struct Ruling {
    /// One for each request, in their order.
    pub decisions: Vec<Decision>,
    /// What a host that enforces would not lend, where this one only observes; or why nothing is lent.
    pub outcome: Result<Vec<Failure>, Failure>,
}

/// Decides these requests of the job with these claims. All or nothing: one that is denied stops the others too.
pub fn rule<'r>(requests: impl Iterator<Item = &'r Request>, claims: &Claims, host: &HostConfig) -> Ruling {
    let (mut decisions, mut stopped, mut observed) = (Vec::new(), None, Vec::new());
    for request in requests {
        let decision = decide(request, claims, host);
        if !decision.allows() {
            let failure = decision.denial(request);
            if host.mode == Mode::Enforce || decision.is_unconditional() {
                stopped.get_or_insert(failure);
            } else {
                observed.push(failure);
            }
        }
        decisions.push(decision);
    }
    let outcome = stopped.map_or(Ok(observed), |failure| Err(failure.presenting(claims)));
    Ruling { decisions, outcome }
}

impl Decision {
    /// Whether every mode enforces it: it keeps a token from a host, or a key from a step, that this host does not allow.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.effect == Effect::Deny && [ENDPOINTS, KEY_FILES].contains(&self.rule.as_str())
    }

    /// Why `request` is not lent, in the words of this decision.
    fn denial(&self, request: &Request) -> Failure {
        let (provider, target) = (request.ask.kind().provider(), request.ask.kind().target());
        let failed = self.failed.iter().map(|mismatch| {
            let seen =
                mismatch.seen.as_ref().map_or_else(|| "nothing".to_owned(), |seen| format!("`{seen}`"));
            format!("claim `{}`: expected `{}`, saw {seen}", mismatch.claim, mismatch.expected)
        });
        let rule = format!("rule `{}`: {}", self.rule, self.reason);
        let what = format!("this host's policy does not lend {provider} `{target}` ({})", request.place);
        Failure::new(Ident::Denied, what)
            .caused_by(std::iter::once(rule).chain(failed).collect())
            .hinted("the host config decides this; the platform engineers of this host own it")
    }
}
