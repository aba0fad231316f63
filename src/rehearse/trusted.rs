//! The trust policies that an author wrote: a folder, `ROLE.json` each, read and checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Error;
use super::input;
use super::sandbox::sts::Role;
use super::sandbox::{KNOWN_AS, trust};
use dataflow_config::aws::Partition;
use dataflow_config::credential::ProviderRequest;
use dataflow_host::files;
use dataflow_types::near_name::nearest;

/// The longest session of any role, in seconds: how long each really may be is said in no trust policy.
const LONGEST: i64 = 43_200;

/// Where trust policies are looked for.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder that somebody named: it must be there.
    pub fn named(path: PathBuf) -> Result<Self, Error> {
        input::folder(&path)?;
        Ok(Self { path })
    }

    /// A folder that is used where it is there.
    pub fn usual(path: PathBuf) -> Result<Self, Error> {
        match files::length(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { path }),
            _ => Self::named(path),
        }
    }

    /// Every role that is asked for, with the trust policy that the author wrote for it; and of each that has none, that
    /// it is lent to anybody here.
    pub(super) fn roles(
        &self,
        asked: &[ProviderRequest],
    ) -> Result<(BTreeMap<String, Role>, Vec<String>), Error> {
        let assumed = assumed(asked);
        let (mut roles, mut open) = (BTreeMap::new(), Vec::new());
        for (arn, by) in &assumed {
            let trust = self.policy(arn)?.unwrap_or_else(|| {
                open.push(self.without_policy(arn, assumed.keys()));
                usual(arn, by)
            });
            roles.insert(arn.clone(), Role { trust, max_duration: LONGEST });
        }
        Ok((roles, open))
    }

    fn without_policy<'r>(&self, arn: &str, all: impl Iterator<Item = &'r String>) -> String {
        let told = format!(
            "no trust policy is there for `{arn}`: here any job of {KNOWN_AS} with the usual audience may have it"
        );
        let all: BTreeSet<&str> = all.map(|arn| name(arn)).collect();
        let there = files::list(&self.path).unwrap_or_default();
        let names = there.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".json"));
        let unused: Vec<&str> = names.filter(|name| !all.contains(name)).collect();
        match nearest(name(arn), &unused) {
            Some(near) => {
                let path = self.path.join(format!("{near}.json"));
                format!("{told}; `{}` is for no role that is asked for: did you mean it?", path.display())
            }
            None => told,
        }
    }

    fn policy(&self, arn: &str) -> Result<Option<Value>, Error> {
        let path = self.path.join(format!("{}.json", name(arn)));
        // A link that leads nowhere is there, and is told.
        if files::length(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let text = input::text(&path)?;
        let policy = trust::parse(&text).map_err(|source| Error::TrustJson { path: path.clone(), source })?;
        match trust::check(&policy) {
            Ok(()) => Ok(Some(policy)),
            Err((place, problem)) => Err(Error::Trust { path, place, problem }),
        }
    }
}

fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// Each role that is asked for, with the roles that it is assumed by, where that is not the token's bearer.
fn assumed(asked: &[ProviderRequest]) -> BTreeMap<String, BTreeSet<String>> {
    let mut arns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ask in asked {
        let ProviderRequest::Aws(aws) = ask else { continue };
        let mut before: Option<String> = None;
        for role in std::iter::once(&aws.role).chain(aws.chain.iter().map(|hop| &hop.role)) {
            arns.entry(role.to_string()).or_default().extend(before.replace(role.to_string()));
        }
    }
    arns
}

/// Where the author wrote none: any job of the issuer, for the usual audience, or the roles before it.
fn usual(arn: &str, by: &BTreeSet<String>) -> Value {
    let parts: Vec<&str> = arn.split(':').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let (partition, account) = (part(1), part(4));
    let audience = Partition::named(partition).unwrap_or(Partition::USUAL).audience();
    let mut statements = vec![json!({
        "Effect": "Allow",
        "Principal": { "Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{KNOWN_AS}") },
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": { "StringEquals": { format!("{KNOWN_AS}:aud"): audience } },
    })];
    if !by.is_empty() {
        let actions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
        statements.push(json!({"Effect": "Allow", "Principal": {"AWS": by}, "Action": actions}));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}
