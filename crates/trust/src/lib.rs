//! A role's trust policy (IAM JSON policy language), as far as a session of a job can meet it. What is not
//! understood is an error and never an allowance.

use std::collections::BTreeMap;

use serde_json::Value;

use dataflow_types::claims::Claims;

mod check;
mod condition;
mod document;
mod principal;

pub use check::check;
pub use condition::like;
pub use document::parse;
pub use principal::Principal;

/// Whether the whole of `text` is as `pattern` says: `*` is any text, `?` any one character.
pub fn is_like(pattern: &str, text: &str) -> bool {
    condition::like(pattern, text)
}

/// Who asks, in the policy's terms.
#[derive(Clone, Debug)]
pub struct Asker {
    principal: Principal,
    keys: BTreeMap<String, Vec<String>>,
    tags: BTreeMap<String, String>,
}

impl Asker {
    /// The bearer of a token, before a role of `account`. The issuer is named without its scheme, as the OIDC
    /// provider's ARN and the condition keys name it.
    pub fn bearer(issuer: &str, account: &str, claims: &Claims) -> Self {
        let keys = [
            (format!("{issuer}:aud"), claims.audiences()),
            (format!("{issuer}:sub"), claims.text("sub").into_iter().collect()),
        ];
        let provider = format!(":iam::{account}:oidc-provider/{issuer}");
        Self { principal: Principal::Federated { provider }, keys: keys.into(), tags: tags(claims) }
    }

    /// A session of another role (role chaining).
    pub fn role(arn: &str, external_id: Option<&str>, tags: BTreeMap<String, String>) -> Self {
        let keys = [("sts:ExternalId".to_owned(), external_id.map(str::to_owned).into_iter().collect())];
        Self { principal: Principal::Role { arn: arn.to_owned() }, keys: keys.into(), tags }
    }

    /// The same, for a session of this name.
    #[must_use]
    pub fn named(mut self, session: &str) -> Self {
        self.keys.insert("sts:RoleSessionName".into(), vec![session.to_owned()]);
        self
    }

    /// The session tags of the request; where there are any, the policy must allow `sts:TagSession`.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// The values of a condition key; an error for one that is not known here.
    fn values(&self, key: &str) -> Result<Vec<String>, String> {
        if let Some(tag) = key.strip_prefix("aws:RequestTag/") {
            return Ok(self.tags.get(tag).cloned().into_iter().collect());
        }
        if key == "aws:TagKeys" {
            return Ok(self.tags.keys().cloned().collect());
        }
        self.keys.get(key).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.keys.keys().map(String::as_str).collect();
            format!(
                "condition key `{key}` is not understood (known: `{}`, `aws:RequestTag/NAME`, `aws:TagKeys`)",
                known.join("`, `")
            )
        })
    }
}

/// What a policy says to an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement allows it, or one denies it: why each did not, or does.
    Refused(Vec<String>),
    /// The policy says something that is not understood here.
    NotUnderstood(String),
}

/// Evaluates a trust policy for one action.
pub fn evaluate(policy: &Value, action: &str, asker: &Asker) -> Verdict {
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

/// Understood or not; and if so, fitting or why not.
type Fits = Result<Result<(), String>, String>;

fn fits(statement: &Value, action: &str, asker: &Asker) -> Fits {
    let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
    if let Some(key) =
        statement.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str())))
    {
        return Err(format!("`{key}` is not understood in a trust policy"));
    }
    let actions = strings(statement.get("Action").ok_or("no `Action`")?)?;
    let principal = principal::fits(statement.get("Principal").ok_or("no `Principal`")?, &asker.principal)?;
    if !actions.iter().any(|pattern| condition::like(&pattern.to_lowercase(), &action.to_lowercase())) {
        return Ok(Err(format!("its actions are `{}`", actions.join("`, `"))));
    }
    if let Err(reason) = principal {
        return Ok(Err(reason));
    }
    conditions(statement.get("Condition"), asker)
}

fn conditions(condition: Option<&Value>, asker: &Asker) -> Fits {
    let Some(condition) = condition else { return Ok(Ok(())) };
    let mut fits = Ok(());
    // All are read, even past one that fails: a typo in the last must not wait for the first to hold.
    for (operator, keys) in condition.as_object().ok_or("`Condition` is no object")? {
        for (key, expected) in keys.as_object().ok_or_else(|| format!("`{operator}` is no object"))? {
            let (expected, seen) = (strings(expected)?, asker.values(key)?);
            if !condition::holds(operator, &expected, &seen)? && fits.is_ok() {
                let seen =
                    if seen.is_empty() { "nothing".to_owned() } else { format!("`{}`", seen.join("`, `")) };
                let expected = expected.join("` or `");
                fits = Err(format!("{operator} `{key}`: expected `{expected}`, saw {seen}"));
            }
        }
    }
    Ok(fits)
}

/// The session tags that a token carries.
fn tags(claims: &Claims) -> BTreeMap<String, String> {
    let tags = claims.as_map().get("https://aws.amazon.com/tags").and_then(|tags| tags.get("principal_tags"));
    let tags = tags.and_then(Value::as_object).into_iter().flatten();
    let first = |value: &Value| value.get(0).and_then(Value::as_str).map(str::to_owned);
    tags.filter_map(|(name, value)| Some((name.clone(), first(value)?))).collect()
}

/// One text or several. Policy variables (`${aws:…}`) are refused: unexpanded, a denial would miss its target.
fn strings(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value.as_str() {
        Some(text) if text.contains("${") => {
            Err(format!("the policy variable in `{text}` is not understood"))
        }
        Some(text) => Ok(text.to_owned()),
        None => Err("expected text or a list of texts".to_owned()),
    };
    match value {
        Value::Array(many) => many.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
    const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/agent.buildkite.com";

    fn bearer() -> Asker {
        let claims = json!({
            "sub": "organization:acme:pipeline:web:ref:refs/heads/main", "aud": "sts.amazonaws.com",
            "https://aws.amazon.com/tags": {"principal_tags": {"pipeline_slug": ["web"]}},
        });
        Asker::bearer(
            "agent.buildkite.com",
            "123456789012",
            &Claims::new(claims.as_object().unwrap().clone()),
        )
    }

    fn allowing(principal: &Value, condition: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": WEB_IDENTITY, "Principal": principal, "Condition": condition}]})
    }

    fn on(condition: &Value) -> Verdict {
        evaluate(&allowing(&json!({ "Federated": PROVIDER }), condition), WEB_IDENTITY, &bearer())
    }

    #[track_caller]
    fn reason(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refused(reasons) => reasons.join("; "),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conditions_on_audience_and_subject_decide() {
        let like = |subject: &str| {
            json!({"StringEquals": {"agent.buildkite.com:aud": "sts.amazonaws.com"},
            "StringLike": {"agent.buildkite.com:sub": subject}})
        };
        assert_eq!(on(&like("organization:acme:pipeline:web:*")), Verdict::Allowed);
        let expected = "Statement[0]: StringLike `agent.buildkite.com:sub`: expected `organization:acme:pipeline:docs:*`, \
                        saw `organization:acme:pipeline:web:ref:refs/heads/main`";
        assert_eq!(reason(on(&like("organization:acme:pipeline:docs:*"))), expected);
    }

    #[test]
    fn session_tags_are_condition_keys() {
        let tag = |value: &str| json!({"StringEquals": {"aws:RequestTag/pipeline_slug": value}});
        assert_eq!(on(&tag("web")), Verdict::Allowed);
        assert!(reason(on(&tag("docs"))).ends_with("saw `web`"));
        let keys = json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["pipeline_slug", "step_key"]}});
        assert_eq!(on(&keys), Verdict::Allowed);
    }

    #[test]
    fn what_is_not_understood_never_allows() {
        for condition in [
            json!({"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}),
            json!({"StringEquals": {"aws:SourceIp": "10.0.0.0/8"}}),
            json!({"StringEquals": {"agent.buildkite.com:pipeline_slug": "web"}}),
            json!({"StringNotLike": {"agent.buildkite.com:sub": "${aws:username}"}}),
            json!({"StringEquals": {"agent.buildkite.com:sub": "another"}, "Typo": {"agent.buildkite.com:sub": "x"}}),
            json!({"StringEquals": "x"}),
        ] {
            assert!(matches!(on(&condition), Verdict::NotUnderstood(_)), "{condition}");
        }
    }

    #[test]
    fn another_accounts_provider_is_another_provider() {
        let federated = json!({"Federated": PROVIDER.replace("1234", "9234")});
        let verdict = evaluate(&allowing(&federated, &json!({})), WEB_IDENTITY, &bearer());
        assert!(reason(verdict).contains("its principal is `arn:aws:iam::9234"));
    }

    #[test]
    fn a_statement_for_people_does_not_concern_a_token() {
        let policy = json!({"Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
            {"Effect": "Allow", "Action": WEB_IDENTITY, "Principal": {"Federated": PROVIDER}}]});
        assert_eq!(evaluate(&policy, WEB_IDENTITY, &bearer()), Verdict::Allowed);
    }

    #[test]
    fn an_explicit_denial_wins() {
        let statement = |effect: &str| json!({"Effect": effect, "Action": "sts:*", "Principal": "*"});
        let policy = json!({"Statement": [statement("Allow"), statement("Deny")]});
        let verdict = evaluate(&policy, "sts:TagSession", &bearer());
        assert_eq!(verdict, Verdict::Refused(vec!["Statement[1] denies it".into()]));
    }

    /// JSON in the words of a trust policy, right and wrong.
    fn documents() -> impl Strategy<Value = Value> {
        let words = [
            "Statement",
            "Effect",
            "Allow",
            "Deny",
            "Principal",
            "Federated",
            "AWS",
            "*",
            PROVIDER,
            "Action",
            "sts:*",
            "Condition",
            "StringLike",
            "ForAnyValue:StringEqualsIfExists",
            "Null",
            "agent.buildkite.com:sub",
            "true",
            "${",
        ];
        let word = move || proptest::sample::select(words.map(str::to_owned).to_vec());
        let leaf =
            prop_oneof![word().prop_map(Value::from), Just(Value::Null), any::<i32>().prop_map(Value::from)];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(word(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_policy_makes_it_panic(policy in documents()) {
            evaluate(&policy, WEB_IDENTITY, &bearer());
        }

        #[test]
        fn no_condition_makes_it_panic_or_allows_without_principal(condition in documents()) {
            let nobody = allowing(&json!({"Federated": "arn:aws:iam::1:oidc-provider/x"}), &condition);
            prop_assert_ne!(evaluate(&nobody, WEB_IDENTITY, &bearer()), Verdict::Allowed);
        }
    }
}
