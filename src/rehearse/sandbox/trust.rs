//! A role's trust policy (IAM JSON policy language), as far as web identity needs it. What is not
//! understood is an error and never an allowance.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::claims::Claims;
use crate::policy::pattern::matches;

/// Who asks, in the policy's terms.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The issuer without its scheme, as the OIDC provider's ARN and condition keys name it.
    pub issuer: &'a str,
    /// The token's claims.
    pub claims: &'a Claims,
}

/// What a policy says to an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement allows it: why each did not.
    Refused(Vec<String>),
    /// The policy says something that is not understood here.
    NotUnderstood(String),
}

/// Evaluates a trust policy for one action.
pub fn evaluate(policy: &Value, action: &str, asker: &Asker<'_>) -> Verdict {
    let statements = match policy.get("Statement") {
        Some(Value::Array(many)) => many.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Verdict::NotUnderstood("the policy has no `Statement`".into()),
    };
    let (mut allowed, mut denied, mut reasons) = (false, false, Vec::new());
    for (index, statement) in statements.into_iter().enumerate() {
        let fits = match fits(statement, action, asker) {
            Ok(fits) => fits,
            Err(problem) => return Verdict::NotUnderstood(format!("Statement[{index}]: {problem}")),
        };
        match (statement.get("Effect").and_then(Value::as_str), fits) {
            (Some("Allow"), Ok(())) => allowed = true,
            (Some("Deny"), Ok(())) => {
                denied = true;
                reasons.push(format!("Statement[{index}] denies it"));
            }
            (Some("Allow"), Err(reason)) => reasons.push(format!("Statement[{index}]: {reason}")),
            (Some("Deny"), Err(_)) => {}
            _ => {
                return Verdict::NotUnderstood(format!(
                    "Statement[{index}]: `Effect` is neither Allow nor Deny"
                ));
            }
        }
    }
    if allowed && !denied { Verdict::Allowed } else { Verdict::Refused(reasons) }
}

type Fits = Result<Result<(), String>, String>;

fn fits(statement: &Value, action: &str, asker: &Asker<'_>) -> Fits {
    let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
    if let Some(key) =
        statement.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str())))
    {
        return Err(format!("`{key}` is not understood in a trust policy"));
    }
    let actions = strings(statement.get("Action").ok_or("no `Action`")?)?;
    if !actions.iter().any(|pattern| matches(&pattern.to_lowercase(), &action.to_lowercase())) {
        return Ok(Err(format!("its actions are `{}`", actions.join("`, `"))));
    }
    let principal = statement.get("Principal").ok_or("no `Principal`")?;
    let federated = match principal {
        Value::String(all) if all == "*" => vec!["*".to_owned()],
        _ => strings(principal.get("Federated").ok_or("no federated `Principal`")?)?,
    };
    let provider = format!(":oidc-provider/{}", asker.issuer);
    if !federated.iter().any(|arn| arn == "*" || arn.ends_with(&provider)) {
        return Ok(Err(format!(
            "its principal is `{}`, the token's issuer is `{}`",
            federated.join("`, `"),
            asker.issuer
        )));
    }
    conditions(statement.get("Condition"), asker)
}

fn conditions(condition: Option<&Value>, asker: &Asker<'_>) -> Fits {
    let Some(condition) = condition else { return Ok(Ok(())) };
    for (operator, keys) in condition.as_object().ok_or("`Condition` is no object")? {
        for (key, expected) in keys.as_object().ok_or_else(|| format!("`{operator}` is no object"))? {
            let (expected, seen) = (strings(expected)?, values(key, asker)?);
            if !holds(operator, &expected, &seen)? {
                let seen =
                    if seen.is_empty() { "nothing".to_owned() } else { format!("`{}`", seen.join("`, `")) };
                return Ok(Err(format!(
                    "{operator} `{key}`: expected `{}`, saw {seen}",
                    expected.join("` or `")
                )));
            }
        }
    }
    Ok(Ok(()))
}

/// The values of a condition key: `ISSUER:aud`, `ISSUER:sub`, `ISSUER:amr`, `aws:RequestTag/NAME`.
fn values(key: &str, asker: &Asker<'_>) -> Result<Vec<String>, String> {
    if let Some(tag) = key.strip_prefix("aws:RequestTag/") {
        return Ok(tags(asker.claims).remove(tag).into_iter().collect());
    }
    match key.strip_prefix(asker.issuer).and_then(|rest| rest.strip_prefix(':')) {
        Some("aud") => Ok(asker.claims.audiences()),
        Some("sub") => Ok(asker.claims.text("sub").into_iter().collect()),
        _ => Err(format!(
            "condition key `{key}` is not understood (known: `{0}:aud`, `{0}:sub`, `aws:RequestTag/NAME`)",
            asker.issuer
        )),
    }
}

/// The session tags that a token carries.
pub fn tags(claims: &Claims) -> BTreeMap<String, String> {
    let tags = claims.as_map().get("https://aws.amazon.com/tags").and_then(|tags| tags.get("principal_tags"));
    let tags = tags.and_then(Value::as_object).into_iter().flatten();
    let first = |value: &Value| value.get(0).and_then(Value::as_str).map(str::to_owned);
    tags.filter_map(|(name, value)| Some((name.clone(), first(value)?))).collect()
}

fn holds(operator: &str, expected: &[String], seen: &[String]) -> Result<bool, String> {
    let (bare, optional) = match operator.strip_suffix("IfExists") {
        Some(bare) => (bare, true),
        None => (operator, false),
    };
    let (all, bare) = match (bare.strip_prefix("ForAllValues:"), bare.strip_prefix("ForAnyValue:")) {
        (Some(bare), _) => (true, bare),
        (_, Some(bare)) => (false, bare),
        _ => (false, bare),
    };
    let one =
        |seen: &String, test: fn(&str, &str) -> bool| expected.iter().any(|expected| test(expected, seen));
    let equal = |a: &str, b: &str| a == b;
    let equal_ignoring_case = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let (test, negated): (fn(&str, &str) -> bool, bool) = match bare {
        "StringEquals" => (equal, false),
        "StringNotEquals" => (equal, true),
        "StringEqualsIgnoreCase" => (equal_ignoring_case, false),
        "StringLike" | "ArnLike" => (matches, false),
        "StringNotLike" => (matches, true),
        _ => return Err(format!("condition operator `{operator}` is not understood")),
    };
    if seen.is_empty() {
        return Ok(optional || negated || all);
    }
    let found =
        if all { seen.iter().all(|seen| one(seen, test)) } else { seen.iter().any(|seen| one(seen, test)) };
    Ok(found != negated)
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(many) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or_else(|| "expected text".into()))
            .collect(),
        _ => Err("expected text or a list of texts".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const ISSUER: &str = "agent.buildkite.com";

    fn claims() -> Claims {
        let claims =
            json!({"sub": "organization:acme:pipeline:web:ref:refs/heads/main", "aud": "sts.amazonaws.com"});
        Claims::new(claims.as_object().unwrap().clone())
    }

    fn evaluated(condition: &Value) -> Verdict {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/agent.buildkite.com"},
            "Condition": condition}]});
        evaluate(&policy, "sts:AssumeRoleWithWebIdentity", &Asker { issuer: ISSUER, claims: &claims() })
    }

    #[test]
    fn conditions_on_audience_and_subject_decide() {
        let like = |subject: &str| {
            json!({"StringEquals": {"agent.buildkite.com:aud": "sts.amazonaws.com"},
            "StringLike": {"agent.buildkite.com:sub": subject}})
        };
        assert_eq!(evaluated(&like("organization:acme:pipeline:web:*")), Verdict::Allowed);
        let Verdict::Refused(reasons) = evaluated(&like("organization:acme:pipeline:docs:*")) else {
            panic!()
        };
        let expected = "Statement[0]: StringLike `agent.buildkite.com:sub`: expected `organization:acme:pipeline:docs:*`, \
                        saw `organization:acme:pipeline:web:ref:refs/heads/main`";
        assert_eq!(reasons, [expected]);
    }

    #[test]
    fn what_is_not_understood_never_allows() {
        for condition in [
            json!({"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}),
            json!({"StringEquals": {"aws:SourceIp": "10.0.0.0/8"}}),
            json!({"StringEquals": "x"}),
        ] {
            assert!(matches!(evaluated(&condition), Verdict::NotUnderstood(_)), "{condition}");
        }
    }

    #[test]
    fn an_explicit_denial_wins() {
        let statement = |effect: &str| json!({"Effect": effect, "Action": "sts:*", "Principal": "*"});
        let policy = json!({"Statement": [statement("Allow"), statement("Deny")]});
        let verdict = evaluate(&policy, "sts:TagSession", &Asker { issuer: ISSUER, claims: &claims() });
        assert_eq!(verdict, Verdict::Refused(vec!["Statement[1] denies it".into()]));
    }

    proptest! {
        #[test]
        fn no_policy_makes_it_panic(text in "[\\[\\]{}:,\"a-zA-Z*]{0,80}") {
            if let Ok(policy) = serde_json::from_str(&text) {
                evaluate(&policy, "sts:TagSession", &Asker { issuer: ISSUER, claims: &claims() });
            }
        }
    }
}
