//! What IAM itself refuses in a trust policy, with the place: before anybody asks for the role.

use serde_json::Value;

/// A place in the document, and what is wrong there.
type Wrong = (String, String);

/// The condition operators of IAM, without `IfExists` and the set operators.
const OPERATORS: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "Null",
];

const STATEMENT: &[&str] =
    &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"];

/// Whether the document has the shape of a trust policy.
pub fn check(policy: &Value) -> Result<(), Wrong> {
    known(policy, "", &["Version", "Id", "Statement"])?;
    match policy.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => return wrong("Version", "expected `2012-10-17` or `2008-10-17`"),
    }
    match policy.get("Statement") {
        Some(Value::Array(many)) if !many.is_empty() => {
            let mut numbered = many.iter().enumerate();
            numbered.try_for_each(|(index, one)| statement(one, &format!("Statement[{index}]")))
        }
        Some(one @ Value::Object(_)) => statement(one, "Statement"),
        Some(_) => wrong("Statement", "expected a statement, or a list of them"),
        None => wrong("", "`Statement` is missing"),
    }
}

fn statement(statement: &Value, place: &str) -> Result<(), Wrong> {
    known(statement, place, STATEMENT)?;
    let at = |key: &str| format!("{place}.{key}");
    match statement.get("Effect").map(Value::as_str) {
        Some(Some("Allow" | "Deny")) => {}
        Some(_) => return wrong(at("Effect"), "expected `Allow` or `Deny`"),
        None => return wrong(place, "`Effect` is missing"),
    }
    one_of(statement, place, ["Principal", "NotPrincipal"], principal)?;
    one_of(statement, place, ["Action", "NotAction"], texts)?;
    let Some(condition) = statement.get("Condition") else { return Ok(()) };
    let place = at("Condition");
    for (operator, keys) in object(condition, &place)? {
        let place = format!("{place}.{operator}");
        if !is_operator(operator) {
            return wrong(place, format!("`{operator}` is no condition operator"));
        }
        for (key, values) in object(keys, &place)? {
            texts(values, &format!("{place}[{key}]"))?;
        }
    }
    Ok(())
}

fn one_of(
    statement: &Value,
    place: &str,
    keys: [&str; 2],
    check: impl Fn(&Value, &str) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    match keys.map(|key| statement.get(key).map(|value| (key, value))) {
        [Some(_), Some(_)] => wrong(place, format!("`{}` and `{}` stand together", keys[0], keys[1])),
        [Some((key, value)), None] | [None, Some((key, value))] => check(value, &format!("{place}.{key}")),
        [None, None] => wrong(place, format!("`{}` is missing", keys[0])),
    }
}

fn principal(principal: &Value, place: &str) -> Result<(), Wrong> {
    if principal == "*" {
        return Ok(());
    }
    known(principal, place, &["Federated", "AWS", "Service", "CanonicalUser"])?;
    let kinds = object(principal, place)?;
    if kinds.is_empty() {
        return wrong(place, "it names nobody");
    }
    kinds.iter().try_for_each(|(kind, names)| texts(names, &format!("{place}.{kind}")))
}

fn is_operator(operator: &str) -> bool {
    let bare = operator.strip_prefix("ForAllValues:").or_else(|| operator.strip_prefix("ForAnyValue:"));
    let bare = bare.unwrap_or(operator);
    OPERATORS.contains(&bare.strip_suffix("IfExists").unwrap_or(bare))
}

fn texts(value: &Value, place: &str) -> Result<(), Wrong> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let good = match value {
        Value::Array(many) => !many.is_empty() && many.iter().all(is_text),
        one => is_text(one),
    };
    if good { Ok(()) } else { wrong(place, "expected text or a list of texts") }
}

fn object<'v>(value: &'v Value, place: &str) -> Result<&'v serde_json::Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| (place.to_owned(), "expected an object".to_owned()))
}

fn known(value: &Value, place: &str, keys: &[&str]) -> Result<(), Wrong> {
    let unknown = object(value, place)?.keys().find(|key| !keys.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| {
        wrong(place, format!("unknown key `{key}`, expected one of `{}`", keys.join("`, `")))
    })
}

fn wrong(place: impl Into<String>, problem: impl Into<String>) -> Result<(), Wrong> {
    Err((place.into(), problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn refused(key: &str, value: &Value, place: &str, problem: &str) {
        let mut statement = json!({
            "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "x"}},
        });
        assert_eq!(check(&json!({"Version": "2012-10-17", "Statement": [statement]})), Ok(()));
        statement[key] = value.clone();
        let seen = check(&json!({"Statement": statement})).unwrap_err();
        assert_eq!((seen.0.as_str(), seen.1.as_str()), (place, problem));
    }

    #[test]
    fn a_statement_that_iam_would_refuse_is_told_with_its_place() {
        refused("Effect", &json!("allow"), "Statement.Effect", "expected `Allow` or `Deny`");
        refused("Action", &json!([]), "Statement.Action", "expected text or a list of texts");
        refused("Principal", &json!({}), "Statement.Principal", "it names nobody");
        refused("Condition", &json!("x"), "Statement.Condition", "expected an object");
        let typo = json!({"StringEqual": {"sts:ExternalId": "x"}});
        refused(
            "Condition",
            &typo,
            "Statement.Condition.StringEqual",
            "`StringEqual` is no condition operator",
        );
        refused(
            "NotAction",
            &json!("sts:AssumeRole"),
            "Statement",
            "`Action` and `NotAction` stand together",
        );
    }

    #[test]
    fn a_document_that_is_no_policy_is_told_so() {
        let problem = |document: Value| check(&document).unwrap_err();
        assert_eq!(problem(json!({})), (String::new(), "`Statement` is missing".into()));
        assert_eq!(problem(json!([])), (String::new(), "expected an object".into()));
        assert_eq!(problem(json!({"Statement": []})).0, "Statement");
        assert_eq!(problem(json!({"Version": "2012-10-18", "Statement": []})).0, "Version");
        assert!(problem(json!({"statement": []})).1.starts_with("unknown key `statement`"));
    }

    #[test]
    fn operators_for_sets_and_absent_keys_are_known() {
        for operator in
            ["ForAnyValue:StringLike", "StringEqualsIfExists", "ForAllValues:ArnLikeIfExists", "Bool"]
        {
            assert!(is_operator(operator), "{operator}");
        }
        assert!(!is_operator("ForSomeValues:StringLike"));
    }
}
