//! What is wrong with an `aws` block, beyond the types of its keys.

use chrono::DateTime;

use super::{Account, Aws, MAX_ARNS, MAX_CHAINED, MAX_DURATION, MIN_DURATION, RoleArn};
use super::{SessionPolicy, Unfit, Wrong, document, wrong};
use crate::address::is_safe;

impl Aws {
    /// Checks the whole block: the first key that is wrong, and the problem.
    pub(super) fn check_block(&self) -> Result<(), Wrong> {
        self.check_times()?;
        self.check_chain()?;
        self.check_policy()?;
        self.check_worlds()?;
        if self.profile.is_some() && self.prefix.is_some() {
            return wrong(
                "prefix",
                "expected one of `profile` and `prefix`: a profile sets no such variable",
            );
        }
        if let Some(url) = self.endpoint.as_ref().filter(|url| !is_safe(url)) {
            let seen = url.origin().ascii_serialization();
            return wrong(
                "endpoint",
                format!("expected an https URL, saw `{seen}`: a token would travel in clear"),
            );
        }
        self.token.check().map_err(|(key, problem)| (format!("token.{key}"), problem))
    }

    fn check_times(&self) -> Result<(), Wrong> {
        let max = if self.chain.is_empty() { MAX_DURATION } else { MAX_CHAINED };
        let asked = self.chain.last().map_or(self.duration, |last| last.duration);
        if let Some(duration) = asked.filter(|asked| !(MIN_DURATION..=max).contains(asked)) {
            let problem = format!("expected {MIN_DURATION} to {max}, saw `{duration}`");
            return wrong(self.key("duration"), problem);
        }
        let Some(deadline) = self.deadline else { return Ok(()) };
        if deadline.as_secs() == 0 || deadline > max {
            return wrong("deadline", format!("expected 1s to {max}, saw `{deadline}`"));
        }
        if asked.is_some() {
            return wrong("deadline", format!("expected one of `deadline` and `{}`", self.key("duration")));
        }
        Ok(())
    }

    fn check_chain(&self) -> Result<(), Wrong> {
        let Some((_, before)) = self.chain.split_last() else { return Ok(()) };
        let own = [
            ("duration", self.duration.is_some()),
            ("session-policy", self.session_policy.is_some()),
            ("policy-arns", !self.policy_arns.is_empty()),
        ];
        let own = own.into_iter().filter(|(_, there)| *there).map(|(key, _)| key.to_owned());
        let hops = before.iter().enumerate();
        let hops = hops.filter_map(|(at, hop)| Some(format!("chain[{at}].{}", hop.of_the_last()?)));
        if let Some(key) = own.chain(hops).next() {
            return wrong(key, "expected it at the last role of `chain`: only that one's session is lent");
        }
        for (at, hop) in self.chain.iter().enumerate() {
            hop.check().map_err(|(key, problem)| (format!("chain[{at}].{key}"), problem))?;
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), Wrong> {
        let (policy, managed) = self.narrowed();
        if managed.len() > MAX_ARNS {
            let problem = format!("expected at most {MAX_ARNS}, saw {}", managed.len());
            return wrong(self.key("policy-arns"), problem);
        }
        let given = match policy {
            Some(SessionPolicy::Inline(policy)) => Some(policy),
            // Read when it is needed: it is on the host, where this may not be.
            Some(SessionPolicy::File(_)) => return Ok(()),
            None => None,
        };
        let deadline = self.short_deadline().map(|_| DateTime::UNIX_EPOCH);
        let unfit = |unfit: Unfit| (self.key("session-policy"), unfit.to_string());
        document(given, managed, deadline).map(drop).map_err(unfit)
    }

    /// Roles, region and managed policies are of one partition, and the roles of allowed accounts.
    fn check_worlds(&self) -> Result<(), Wrong> {
        let partition = self.role.partition();
        self.check_regions()?;
        let place = |at: usize| if at == 0 { "role".to_owned() } else { format!("chain[{}].role", at - 1) };
        let roles = || std::iter::once(&self.role).chain(self.chain.iter().map(|hop| &hop.role)).enumerate();
        if let Some((at, role)) = roles().find(|(_, role)| role.partition() != partition) {
            let problem = format!("expected a role of the partition of `{}`, saw `{role}`", self.role);
            return wrong(place(at), problem);
        }
        let allowed = |role: &RoleArn| self.allowed_accounts.iter().any(|one| one.as_str() == role.account());
        match roles().find(|(_, role)| !self.allowed_accounts.is_empty() && !allowed(role)) {
            Some((at, role)) => {
                let allowed: Vec<&str> = self.allowed_accounts.iter().map(Account::as_str).collect();
                let allowed = allowed.join("` or `");
                wrong(place(at), format!("expected a role of account `{allowed}`, saw `{role}`"))
            }
            None => Ok(()),
        }
    }
}
