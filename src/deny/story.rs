//! One run of `deny`, from the records to the records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::role::{Outcome, Standing};
use super::session::{Denial, RoleName, Session};
use super::{Doors, Order, impossible, operator, refused};
use crate::report::Report;
use dataflow_config::host_find::Loaded;
use dataflow_host::Host;
use dataflow_host::http::Http;
use dataflow_providers::aws;
use dataflow_providers::aws::iam::Iam;
use dataflow_providers::call::CallError;
use dataflow_record::end::{ClaimedBy, SettledLease};
use dataflow_record::parts::Finding;
use dataflow_sinks as sink;
use dataflow_sinks::chain::{self, Chain, Wanted};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;
use dataflow_types::settlement::Settlement;

/// One session, and where it is told of.
#[derive(Debug)]
struct One<'a> {
    session: Session,
    recorded: Option<(usize, &'a str)>,
}

type Roles<'a> = BTreeMap<RoleName, Vec<One<'a>>>;

/// One run, and what it has to say.
pub(super) struct Story<'a> {
    order: &'a Order,
    host: &'a Host,
    report: &'a mut Report,
    /// What should be denied and is not.
    undenied: Vec<String>,
    /// By chain: requests whose sessions are denied, each with a sentence.
    told: BTreeMap<usize, Vec<(String, String)>>,
}

impl<'a> Story<'a> {
    /// A story that is told in `report`.
    pub(super) fn of(order: &'a Order, host: &'a Host, report: &'a mut Report) -> Self {
        Self { order, host, report, undenied: Vec::new(), told: BTreeMap::new() }
    }

    /// From the records to the records.
    pub(super) async fn run(mut self, loaded: &Loaded) -> Result<(), Failure> {
        let chains = self.chains()?;
        let mut roles = self.sessions(&chains);
        self.named(&mut roles)?;
        if roles.is_empty() {
            let what = if self.is_pruning() { "denied" } else { "lent" };
            self.report.lines.push(if self.undenied.is_empty() {
                format!("no session of AWS was {what} there")
            } else {
                "what could be read there names no session of AWS".to_owned()
            });
        }
        if self.order.dry_run {
            if let Some(arn) = &self.order.operator {
                operator::fits(arn, &chains, roles.keys())?;
            }
            self.show(&roles);
        } else {
            self.act(loaded, &chains, &roles).await?;
            self.tell(&chains);
        }
        self.end();
        Ok(())
    }

    fn chains(&mut self) -> Result<Vec<Chain>, Failure> {
        let Some(records) = &self.order.records else { return Ok(Vec::new()) };
        let jobs = &self.order.jobs;
        let wanted = if jobs.is_empty() { Wanted::Denied } else { Wanted::Jobs(jobs) };
        let found = chain::find(records, wanted).map_err(|error| {
            let (sentence, cause) = chain::unreadable(jobs, records, &error);
            impossible(sentence).caused_by(vec![cause]).hinted(chain::WHERE)
        })?;
        if let Some((sentence, cause)) = found.nothing_of(jobs, records) {
            return Err(impossible(sentence).caused_by(cause).hinted(chain::WHERE));
        }
        self.undenied.extend(found.broken);
        // The author of a forged link chose what it says: an operator says whether it is so.
        for lent in found.unattached.iter().flat_map(chain::lent).filter(|lent| lent.provider == aws::NAME) {
            if lent.expires_at > self.host.clock.now() && Session::of(lent).is_ok() {
                let who = &lent.principal;
                self.undenied.push(format!("one of these names `{who}`: `--session {who}` denies it"));
            }
        }
        Ok(found.chains)
    }

    /// Adds the sessions that the operator names, whatever records say of them.
    fn named(&self, roles: &mut Roles<'_>) -> Result<(), Failure> {
        for arn in &self.order.sessions {
            let session = Session::named(arn, self.host.clock.now()).ok_or_else(|| {
                impossible(format!(
                    "`--session`: expected an ARN such as `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`, saw \
                     `{arn}`"
                ))
                .hinted("CloudTrail names it as `userIdentity.arn`; the session's name carries the job's id")
            })?;
            let sessions = roles.entry(session.role.clone()).or_default();
            // First, where room is short: the operator knows of it.
            if let Some(at) = sessions.iter().position(|one| one.session.name == session.name) {
                let known = sessions.remove(at);
                let session = Session { role_id: known.session.role_id, ..session };
                sessions.insert(0, One { session, recorded: known.recorded });
            } else {
                sessions.insert(0, One { session, recorded: None });
            }
        }
        Ok(())
    }

    /// By role, the sessions that live longest first: where room is short they matter most.
    fn sessions<'c>(&mut self, chains: &'c [Chain]) -> Roles<'c> {
        let mut roles = Roles::new();
        for (index, chain) in chains.iter().enumerate() {
            for lent in chain.lent(aws::NAME) {
                match Session::of(lent) {
                    Ok(session) => {
                        let one = One { recorded: Some((index, &lent.request)), session };
                        roles.entry(one.session.role.clone()).or_default().push(one);
                    }
                    Err(_) if lent.expires_at <= self.host.clock.now() => {}
                    Err(error) => self.undenied.push(format!("`{}`: {error}", lent.principal)),
                }
            }
        }
        for sessions in roles.values_mut() {
            sessions.sort_by_key(|one| std::cmp::Reverse(one.session.expires_at));
        }
        roles
    }

    /// Whether a session is worth denying.
    fn is_due(&mut self, session: &Session) -> bool {
        let left = session.expires_at - self.host.clock.now();
        let due = !self.is_pruning() && left.to_std().is_ok_and(|left| left >= self.order.least.0);
        if !due && !self.is_pruning() {
            let (who, at) = (principal(session), session.expires_at.format("%Y-%m-%dT%H:%M:%SZ"));
            let line = if left <= chrono::TimeDelta::zero() {
                format!("`{who}` ended at {at}")
            } else {
                format!("`{who}` ends at {at}, before a policy would be sure to work (`--least`)")
            };
            self.report.lines.push(line);
        }
        due
    }

    /// Whether no job is named: what is over is removed, and nothing is denied.
    fn is_pruning(&self) -> bool {
        self.order.jobs.is_empty() && self.order.sessions.is_empty()
    }

    fn show(&mut self, roles: &Roles<'_>) {
        for (role, sessions) in roles {
            if self.is_pruning() {
                self.report
                    .lines
                    .push(format!("would look at `{role}` for policies of sessions that have ended"));
            }
            for one in sessions {
                if self.is_due(&one.session) {
                    // IAM knows the id where the record does not.
                    let id = one.session.role_id.as_deref().unwrap_or("ROLE-ID");
                    let Denial { name, policy } = one.session.denial(id);
                    self.report.lines.push(format!("would put `{name}` on `{role}`: {policy}"));
                }
            }
        }
    }

    async fn act(&mut self, loaded: &Loaded, chains: &[Chain], roles: &Roles<'_>) -> Result<(), Failure> {
        let Some(partition) = roles.keys().next().map(RoleName::partition) else {
            return Ok(());
        };
        let keys = operator::keys(&self.host.env)?;
        for secret in std::iter::once(&keys.secret_access_key).chain(&keys.session_token) {
            self.host.mask.add(secret);
        }
        let http = Http::new(loaded.config.network());
        let doors = Doors { host: self.host, loaded, http: &http, keys: &keys, partition };
        let operator = operator::known(&doors, self.order, chains, roles.keys()).await?;
        for (role, sessions) in roles {
            let doors = Doors { partition: role.partition(), ..doors };
            if let Err(error) = self.role(&doors.iam(self.order)?, role, sessions, &operator).await {
                let failure = refused(&error, &format!("the policies of `{role}` could not be changed"));
                // What can be denied on other roles is denied all the same.
                self.report.failure.get_or_insert(failure);
            }
        }
        Ok(())
    }

    async fn role(
        &mut self,
        iam: &Iam<'_>,
        role: &RoleName,
        sessions: &[One<'_>],
        operator: &str,
    ) -> Result<(), CallError> {
        let mut standing = Standing::read(iam, role, self.host.clock.now()).await?;
        for name in &standing.pruned {
            self.report.lines.push(format!("removed `{name}` from `{role}`: its session has ended"));
        }
        for one in sessions {
            if !self.is_due(&one.session) {
                continue;
            }
            let who = principal(&one.session);
            match standing.deny(&one.session).await? {
                Outcome::Denied { policy, before } => {
                    let done = if before { "was denied before" } else { "is denied" };
                    self.report
                        .lines
                        .push(format!("`{who}` {done}, by `{policy}`; it takes effect within minutes"));
                    let Some((chain, request)) = one.recorded else { continue };
                    let what = format!("request {request}: `{policy}` on `{role}`, by `{operator}`");
                    self.told.entry(chain).or_default().push((request.to_owned(), what));
                }
                Outcome::Not(why) => self.undenied.push(format!("`{who}`: {why}")),
            }
        }
        Ok(())
    }

    /// Each chain gets one LATE link, for what it does not tell yet.
    fn tell(&mut self, chains: &[Chain]) {
        let now = self.host.clock.now();
        for (index, denied) in &self.told {
            let Some(chain) = chains.get(*index) else { continue };
            let new: Vec<_> =
                denied.iter().filter(|(request, _)| !chain.tells_denied(request)).cloned().collect();
            if new.is_empty() {
                continue;
            }
            if !chain.is_whole() {
                self.report.warnings.push(format!(
                    "the record of job {} does not tell of the denial: something beside it cannot be believed",
                    chain.job()
                ));
            } else if !chain.is_closed(now) {
                self.report.warnings.push(format!(
                    "the record of job {} is not closed yet: run this again after its END, and it tells of the denial",
                    chain.job()
                ));
            } else if let Err(error) = tell(chain, &new, now) {
                let failure = Failure::of(Ident::RecordNotStored, &error);
                self.report.failure.get_or_insert(failure);
            }
        }
    }

    fn end(self) {
        if self.undenied.is_empty() {
            return;
        }
        let failure =
            Failure::new(Ident::SessionNotDenied, "what should be denied is not, or that is not known")
                .caused_by(self.undenied)
                .hinted(
                    "`--session ARN` denies a session that an operator knows of, whatever the records say",
                );
        // The other failure is worth a retry, perhaps, and this one is then told by that.
        match &mut self.report.failure {
            Some(first) => first.causes.extend(failure.causes),
            none => *none = Some(failure),
        }
    }
}

/// Each request with the sentence of its finding.
fn tell(chain: &Chain, denied: &[(String, String)], now: DateTime<Utc>) -> Result<(), sink::Error> {
    let settlement = || Settlement::Denied { at: now };
    let settled = |request: &String| SettledLease {
        request: request.clone(),
        settlement: settlement(),
        claimed_by: Some(ClaimedBy::Operator),
    };
    let settlements = denied.iter().map(|(request, _)| settled(request)).collect();
    let findings = denied.iter().map(|(_, what)| Finding::new(finding::Ident::SessionDenied, what)).collect();
    chain.tell(settlements, findings, now)
}

fn principal(session: &Session) -> String {
    format!("{}/{}", session.role.name, session.name)
}
