//! The registry: one entry per provider. What a hook, a journal or a record needs of a provider stands in its entry,
//! so that no code above this crate knows a provider by its name.

use dataflow_policy::Request;
use dataflow_types::credential::Credential;
use dataflow_types::revocation::RevocationTarget;
use dataflow_types::settlement::Settlement;

use crate::provider::{Provider, is_of_each};
use crate::{Context, Error, SettleContext};
use crate::{aws, azure, bitbucket, buildkite, gcp, github, oauth, secrets, vault};

/// The providers of this version.
pub static PROVIDERS: [&Provider; 9] = [
    &aws::PROVIDER,
    &gcp::PROVIDER,
    &azure::PROVIDER,
    &oauth::PROVIDER,
    &github::PROVIDER,
    &bitbucket::PROVIDER,
    &buildkite::PROVIDER,
    &vault::PROVIDER,
    &secrets::PROVIDER,
];

/// The entry of a provider; none where this version does not know it.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.into_iter().find(|provider| provider.name == name)
}

/// What this exchange is called in the provider's own log: the job's id, where the provider has no rule of its own.
pub fn session(request: &Request, job_id: &str) -> String {
    find(request.ask.kind().provider())
        .map_or_else(|| job_id.to_owned(), |provider| (provider.session)(request, job_id))
}

/// Exchanges the job's token, or another credential, for what the request asks.
pub async fn exchange(request: &Request, session: &str, context: &Context<'_>) -> Result<Credential, Error> {
    let name = request.ask.kind().provider();
    let provider = find(name).ok_or(Error::OtherProvider(name))?;
    provider.lend(request, session, context).await
}

/// Gives a lease back, as far as its provider can. One that this version does not know is left to expire.
pub async fn settle(lease: &RevocationTarget, context: &SettleContext<'_>) -> Settlement {
    match find(&lease.provider) {
        Some(provider) => provider.give_back(lease, context).await,
        None => Settlement::Failed {
            reason: format!("this version knows no provider `{}`", lease.provider),
            until: lease.expires_at,
        },
    }
}

/// Of what a settlement needs, what an operator may read in the record.
pub fn public_details(name: &str) -> &'static [&'static str] {
    find(name).map_or(&[], |provider| provider.public_details)
}

/// Whether a settlement can have come of a provider. A provider of a later version has no entry here that says so.
pub fn can_report(name: &str, settlement: &Settlement) -> bool {
    is_of_each(settlement) || find(name).is_some_and(|provider| provider.can_report(settlement))
}
