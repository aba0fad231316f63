//! Who denies: an identity of its own, and none that a job whose sessions are denied could have.

use super::session::RoleName;
use super::{Doors, Order, impossible};
use dataflow_config::aws::Endpoint;
use dataflow_host::{Env, env};
use dataflow_providers::aws;
use dataflow_providers::aws::iam;
use dataflow_providers::sigv4::Keys;
use dataflow_sinks::chain::Chain;
use dataflow_types::failure::{Failure, Ident};

/// The operator's keys, from the variables that AWS's own tools read.
pub(super) fn keys(env: &Env) -> Result<Keys, Failure> {
    let missing = |name: &str| {
        impossible(format!("`{name}` is not set")).hinted(
            "denying needs an AWS identity of its own, as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
             AWS_SESSION_TOKEN; `--dry-run` needs none",
        )
    };
    let id = env.get(&env::AWS_ACCESS_KEY_ID).ok_or_else(|| missing(env::AWS_ACCESS_KEY_ID.name))?;
    let secret = env.secret(&env::AWS_SECRET_ACCESS_KEY);
    Ok(Keys {
        access_key_id: id.to_owned(),
        secret_access_key: secret.ok_or_else(|| missing(env::AWS_SECRET_ACCESS_KEY.name))?,
        session_token: env.secret(&env::AWS_SESSION_TOKEN),
    })
}

/// Who holds the keys, by STS's word or else the order's; refused where a job of `chains` can be the same.
pub(super) async fn known(
    doors: &Doors<'_>,
    order: &Order,
    chains: &[Chain],
    denied: impl Iterator<Item = &RoleName>,
) -> Result<String, Failure> {
    let mut lent = chains.iter().flat_map(|chain| chain.lent(aws::NAME));
    if let Some(lent) = lent.find(|lent| lent.handle == doors.keys.access_key_id) {
        return Err(unfit(format!(
            "the keys in the environment are those that were lent as `{}`",
            lent.principal
        )));
    }
    let arn = if let Some(arn) = &order.operator {
        arn.clone()
    } else {
        let sts = sts(doors, order)?;
        iam::caller(&doors.query(&sts.region), &sts.url).await.map_err(|error| {
            super::refused(&error, "AWS does not say whose keys these are")
                .hinted("where STS cannot be asked, `--operator ARN` says who it is")
        })?
    };
    fits(&arn, chains, denied)?;
    Ok(arn)
}

/// Refuses an operator who is a role that a job of `chains` could have, or one whose sessions are denied.
pub(super) fn fits<'a>(
    arn: &str,
    chains: &[Chain],
    denied: impl Iterator<Item = &'a RoleName>,
) -> Result<(), Failure> {
    let Some(role) = RoleName::of(arn) else { return Ok(()) };
    let mut theirs = chains.iter().flat_map(roles).filter_map(RoleName::of).chain(denied.cloned());
    if theirs.any(|other| other == role) {
        return Err(unfit(format!("the operator is `{arn}`, and `{role}` is a role of the jobs themselves")));
    }
    Ok(())
}

/// The ARNs of every role that the job of a chain could have sessions of.
fn roles(chain: &Chain) -> impl Iterator<Item = &str> {
    let through = chain.lent(aws::NAME).filter_map(|lent| lent.facts.get(aws::THROUGH));
    let lent = chain.lent(aws::NAME).map(|lent| lent.principal.as_str());
    lent.chain(chain.asked(aws::NAME).map(|asked| asked.target.as_str()))
        .chain(through.flat_map(|arns| arns.split(' ')))
}

fn sts(doors: &Doors<'_>, order: &Order) -> Result<Endpoint, Failure> {
    let first = doors.partition.first_region();
    let endpoint = match &order.sts {
        Some(url) => Ok(Endpoint::at(url, None, first)),
        None => doors.loaded.config.aws.sts().of(doors.partition, first),
    };
    endpoint.map_err(|error| impossible(error.to_string()))
}

fn unfit(what: String) -> Failure {
    Failure::new(Ident::OperatorUnfit, what)
        .hinted("deny with a role that no job of these can assume: one that can, could also undo it")
        .leaving("nothing was denied")
}
