//! AWS: `AssumeRoleWithWebIdentity`, and `AssumeRole` for what is chained (STS API 2011-06-15).
//!
//! STS takes nothing back: a session lives until its `Expiration`, and its lease settles as `expires`, or
//! as `bounded` where the session's own policy ends it before.

use std::collections::BTreeMap;
use std::future::ready;

use crate::provider::{Provider, exchanges};
use dataflow_config::aws::Aws;
use dataflow_config::credential::ProviderRequest;

mod ask;
mod error;
mod exchange;
mod hand_over;
pub mod iam;
mod narrowed;
mod refusal;
mod settle;
mod transport;

pub use error::Error;
pub use exchange::session_name;

/// The provider's name in configurations and records.
pub const NAME: &str = "aws";

/// What is known of a lease: when the session's own policy ends it.
const DEADLINE: &str = "deadline";
/// When STS ends it, where that is later.
const SESSION_ENDS: &str = "session-ends";
/// How much of what STS packs its policies and tags take, in percent.
const PACKED: &str = "packed-policy-percent";
/// How much of a session token's room this one takes, in percent.
const TOKEN: &str = "session-token-percent";
/// What policies see of the session as `aws:userid`: the role's id, a colon, the session's name.
pub const USERID: &str = "userid";
/// The sessions that it was made through.
pub const THROUGH: &str = "through";

/// From where on a full session policy is told, in percent.
const NEARLY_FULL: i32 = 80;

/// One role that a step asks for.
#[derive(Debug)]
pub struct Role<'a> {
    /// What is asked for.
    pub aws: &'a Aws,
    /// By which name SDKs may call back for it.
    pub name: Option<&'a str>,
}

/// AWS in the registry.
pub static PROVIDER: Provider = Provider {
    name: NAME,
    settlements: &["expires", "bounded", "already-expired"],
    public_details: &[],
    own_addresses: &[],
    session: |request, job_id| match &request.ask {
        ProviderRequest::Aws(aws) => {
            aws.session_name.as_ref().map_or_else(|| session_name(job_id), ToString::to_string)
        }
        _ => session_name(job_id),
    },
    exchange: exchanges!(Aws(aws), request => Role { aws, name: request.callback() }),
    settle: |lease, context| Box::pin(ready(settle::settle(lease, context))),
};

/// How full STS's room for policies and tags is, in percent, where that is worth a word.
pub fn nearly_full(facts: &BTreeMap<String, String>) -> Option<i32> {
    let percents = [PACKED, TOKEN].into_iter().filter_map(|name| facts.get(name)?.parse().ok());
    percents.max().filter(|percent| *percent >= NEARLY_FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_from_eighty_percent_on_of_whichever_room_is_fuller() {
        let facts = |packed: &str, token: &str| {
            [(PACKED.to_owned(), packed.to_owned()), (TOKEN.to_owned(), token.to_owned())].into()
        };
        assert_eq!(nearly_full(&facts("79", "79")), None);
        assert_eq!(nearly_full(&facts("80", "3")), Some(80));
        assert_eq!(nearly_full(&facts("3", "99")), Some(99));
        assert_eq!(nearly_full(&BTreeMap::new()), None);
    }
}
