//! The `Principal` of a statement, and whether who asks is meant.

use serde_json::Value;

use super::{Fits, strings};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Principal {
    /// The bearer of a token.
    Federated {
        /// The end of the OIDC provider's ARN, from `:iam::` on: its partition does not matter here.
        provider: String,
    },
    /// A session of another role.
    Role {
        /// That role's ARN.
        arn: String,
    },
}

/// Whether a statement's `Principal` means `asker`.
pub(super) fn fits(principal: &Value, asker: &Principal) -> Fits {
    let kinds = match principal {
        Value::String(all) if all == "*" => return Ok(Ok(())),
        Value::Object(kinds) => kinds,
        _ => return Err("`Principal` is neither `*` nor an object".into()),
    };
    let known = ["Federated", "AWS", "Service", "CanonicalUser"];
    if let Some(kind) = kinds.keys().find(|kind| !known.contains(&kind.as_str())) {
        return Err(format!("`Principal` of the kind `{kind}` is not understood"));
    }
    let names = |kind: &str| kinds.get(kind).map_or_else(|| Ok(Vec::new()), strings);
    let (federated, aws) = (names("Federated")?, names("AWS")?);
    // IAM reads it as `*`, which here would mean tokens of any issuer: more than who wrote it can have meant.
    if federated.iter().any(|name| name == "*") {
        return Err("`*` as a federated principal is not understood".into());
    }
    let (meant, seen) = match asker {
        Principal::Federated { provider } => {
            let meant =
                aws.iter().any(|name| name == "*") || federated.iter().any(|arn| is_provider(arn, provider));
            (meant, provider.trim_start_matches(":iam::"))
        }
        Principal::Role { arn } => (aws.iter().any(|name| is_aws(name, arn)), arn.as_str()),
    };
    if meant {
        return Ok(Ok(()));
    }
    let expected = [federated, aws].concat().join("`, `");
    Ok(Err(format!("its principal is `{expected}`, who asks is `{seen}`")))
}

fn is_provider(arn: &str, provider: &str) -> bool {
    let partition = arn.strip_prefix("arn:").and_then(|rest| rest.strip_suffix(provider));
    partition.is_some_and(|partition| !partition.contains(':'))
}

/// Whether `name` is everybody, the role, or its account, which leaves the decision to policies of the account:
/// these are not simulated, and taken to allow it.
fn is_aws(name: &str, role: &str) -> bool {
    let account = role.split(':').nth(4).unwrap_or_default();
    let root = name.strip_suffix(":root").and_then(|arn| arn.split(':').nth(4));
    name == "*" || name == role || name == account || root == Some(account)
}
