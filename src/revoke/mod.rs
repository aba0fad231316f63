//! Revoking logins of Vault from outside of the host that they were lent on, by the accessors in their records.
//!
//! A job's own host gives its logins back, and tries again for as long as they live. Where that host is gone, or too
//! slow for whoever knows that something leaked, an operator does it.

use std::path::PathBuf;

use url::Url;

use crate::report::Report;
use dataflow_config::host_find::Loaded;
use dataflow_host::Host;
use dataflow_host::http::Http;
use dataflow_providers::SettleContext;
use dataflow_providers::vault::{self, accessor};
use dataflow_record::end::{ClaimedBy, SettledLease};
use dataflow_record::parts::{Finding, Lent};
use dataflow_sinks::chain::{self, Chain, Wanted};
use dataflow_types::failure::{Failure, Ident};
use dataflow_types::finding;
use dataflow_types::settlement::Settlement;

mod operator;

use operator::Operator;

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    /// The folder of the records.
    pub records: PathBuf,
    /// The jobs whose logins are revoked.
    pub jobs: Vec<String>,
    /// Whether the jobs' hosts will never write to their records again.
    pub host_gone: bool,
    /// Whether Vault is asked about every login, also where its record says that it is over.
    pub all: bool,
}

/// Revokes the logins that the records of some jobs tell of, and says so in the records.
pub async fn revoke(host: &Host, loaded: &Loaded, order: &Order) -> Report {
    let mut report = Report::default();
    if let Err(failure) = attempt(host, loaded, order, &mut report).await {
        report.failure = Some(failure);
    }
    report
}

async fn attempt(host: &Host, loaded: &Loaded, order: &Order, report: &mut Report) -> Result<(), Failure> {
    let records = &order.records;
    let found = chain::find(records, Wanted::Jobs(&order.jobs)).map_err(|error| {
        let (sentence, cause) = chain::unreadable(&order.jobs, records, &error);
        impossible(sentence).caused_by(vec![cause]).hinted(chain::WHERE)
    })?;
    let operator = Operator::of(&host.env)?;
    host.mask.add(&operator.token);
    if let Some((sentence, cause)) = found.nothing_of(&order.jobs, records) {
        return Err(impossible(sentence).caused_by(cause).hinted(chain::WHERE));
    }
    let http = Http::new(operator.network(&host.env, loaded));
    let context = SettleContext { host: &loaded.config, http: &http, clock: &host.clock };
    let mut story = Story { operator, context, report, order, unrevoked: found.broken };
    let logins = |link| chain::lent(link).filter(|lent| lent.provider == vault::NAME);
    for lent in found.unattached.iter().flat_map(logins) {
        story.unrevoked.push(format!("one of these names `{}`, accessor `{}`", lent.principal, lent.handle));
    }
    for chain in &found.chains {
        story.chain(chain).await;
    }
    if !found.chains.iter().any(|chain| chain.lent(vault::NAME).next().is_some()) {
        story.report.lines.push(if story.unrevoked.is_empty() {
            "no login of Vault was lent there".to_owned()
        } else {
            "what could be read there names no login of Vault".to_owned()
        });
    }
    story.end()
}

/// One run, and what it has to say.
struct Story<'a> {
    operator: Operator,
    context: SettleContext<'a>,
    report: &'a mut Report,
    order: &'a Order,
    /// What should be revoked and is not, or nobody can tell.
    unrevoked: Vec<String>,
}

impl Story<'_> {
    async fn chain(&mut self, chain: &Chain) {
        let (mut settlements, mut findings) = (Vec::new(), Vec::new());
        for lent in chain.lent(vault::NAME) {
            if !self.is_due(lent, chain.settlement(&lent.request)) {
                continue;
            }
            let who = format!("`{}`, accessor `{}`", lent.principal, lent.handle);
            match self.one(lent).await {
                Ok(settlement) => {
                    self.report.lines.push(format!("{who}: {settlement}"));
                    let what =
                        format!("request {}: by an operator, accessor `{}`", lent.request, lent.handle);
                    findings.push(Finding::new(finding::Ident::LoginRevoked, what));
                    settlements.push(SettledLease {
                        request: lent.request.clone(),
                        settlement,
                        claimed_by: Some(ClaimedBy::Operator),
                    });
                }
                Err(why) => self.unrevoked.push(format!("{who}: {why}")),
            }
        }
        let now = self.context.clock.now();
        if settlements.is_empty() {
            return;
        }
        if !chain.is_whole() {
            self.report.warnings.push(format!(
                "the record of job {} does not tell of this: something beside it cannot be believed",
                chain.job()
            ));
        } else if !self.order.host_gone && !chain.is_closed(now) {
            self.report.warnings.push(format!(
                "the record of job {} is still its host's to go on with, and does not tell of this: \
                 `--host-gone` writes it where that host is gone for good",
                chain.job()
            ));
        } else if let Err(error) = chain.tell(settlements, findings, now) {
            self.report.failure = Some(Failure::of(Ident::RecordNotStored, &error));
        }
    }

    /// Whether a login is to be revoked: it lives, and nobody said yet that it does not.
    fn is_due(&mut self, lent: &Lent, settlement: Option<&Settlement>) -> bool {
        let over = match settlement {
            _ if self.order.all => return true,
            _ if lent.expires_at <= self.context.clock.now() => format!("ended at {}", lent.expires_at),
            None | Some(Settlement::Failed { .. } | Settlement::Left { .. }) => return true,
            Some(settlement) => format!("its record says {settlement}"),
        };
        self.report.lines.push(format!("`{}`, accessor `{}`: {over}", lent.principal, lent.handle));
        false
    }

    async fn one(&self, lent: &Lent) -> Result<Settlement, String> {
        let Operator { address, namespace, token } = &self.operator;
        let fact = |name: &str| lent.facts.get(name).map(String::as_str);
        if lent.handle == vault::NO_ACCESSOR {
            return Err(format!("nobody can revoke a batch token: it ends at {}", lent.expires_at));
        }
        let theirs = fact(vault::ADDRESS).ok_or("its record does not tell its address: revoke it by hand")?;
        let same = |url: &Url| url.as_str().trim_end_matches('/') == address.as_str().trim_end_matches('/');
        if !theirs.parse().is_ok_and(|url| same(&url)) {
            return Err(format!("it is of `{theirs}`, and `VAULT_ADDR` is `{address}`"));
        }
        let place = (address, namespace.as_deref().or(fact(vault::NAMESPACE)));
        let login = accessor::Recorded {
            accessor: &lent.handle,
            principal: &lent.principal,
            issued_at: lent.issued_at,
        };
        let at = self.context.clock.now();
        let living: Vec<String> =
            fact(vault::LIVING).iter().flat_map(|paths| paths.lines()).map(str::to_owned).collect();
        match accessor::revoke(place, login, token, &self.context).await {
            accessor::Outcome::Revoked if living.is_empty() => Ok(Settlement::Revoked { at }),
            accessor::Outcome::Revoked => Ok(Settlement::RevokedInPart { at, living }),
            accessor::Outcome::Inferred => Ok(Settlement::RevokedInferred { at }),
            accessor::Outcome::Unknown(said) => Err(format!(
                "this Vault knows no login by it ({said}): it has ended, or is of another namespace"
            )),
            accessor::Outcome::Another(other) => Err(format!(
                "it is left alone, for it is of another login than the record tells: this Vault says {other}"
            )),
            accessor::Outcome::Not(why) => Err(why),
        }
    }

    fn end(self) -> Result<(), Failure> {
        if self.unrevoked.is_empty() {
            return self.report.failure.take().map_or(Ok(()), Err);
        }
        let denied = self.unrevoked.iter().any(|why| why.contains(": 403"));
        let mut causes = self.unrevoked;
        causes.extend(self.report.failure.take().map(|failure| failure.sentence()));
        let failure =
            Failure::new(Ident::LoginNotRevoked, "what should be revoked is not, or that is not known")
                .caused_by(causes);
        Err(if denied {
            let paths = format!("`{}` and on `{}`", accessor::PATH, accessor::LOOKUP);
            failure.hinted(format!("the operator's policies must allow `update` on {paths}"))
        } else {
            failure.hinted("`vault token revoke -accessor ACCESSOR` revokes one that you know of, whatever the records say")
        })
    }
}

fn impossible(what: impl Into<String>) -> Failure {
    Failure::new(Ident::RevocationImpossible, what).leaving("nothing was revoked")
}
