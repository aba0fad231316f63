//! What a session's own policy leaves of an action ("Policies and permissions: session policies" of the IAM
//! User Guide), as far as a deadline and lists of actions go.

use chrono::{DateTime, Utc};
use serde_json::Value;

use dataflow_trust::like;

/// Whether the policy allows the action now; an error for what is not understood here.
pub(super) fn allows(policy: &str, action: &str, now: DateTime<Utc>) -> Result<bool, String> {
    let policy: Value = serde_json::from_str(policy).map_err(|error| error.to_string())?;
    let statements = match policy.get("Statement") {
        Some(Value::Array(many)) => many.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let (mut allowed, mut denied) = (false, false);
    for statement in statements {
        let fits = fits(statement, action, now)?;
        match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => allowed |= fits,
            Some("Deny") => denied |= fits,
            _ => return Err("`Effect` is neither Allow nor Deny".into()),
        }
    }
    Ok(allowed && !denied)
}

fn fits(statement: &Value, action: &str, now: DateTime<Utc>) -> Result<bool, String> {
    let listed: Vec<&str> = match statement.get("Action") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => return Err("a session policy without `Action` is not understood".into()),
    };
    let action = action.to_lowercase();
    let named = listed.iter().any(|pattern| like(&pattern.to_lowercase(), &action));
    Ok(named && holds(statement.get("Condition"), now)?)
}

fn holds(condition: Option<&Value>, now: DateTime<Utc>) -> Result<bool, String> {
    let Some(condition) = condition else { return Ok(true) };
    let time = condition.pointer("/DateGreaterThan/aws:CurrentTime").and_then(Value::as_str);
    let alone = condition.as_object().is_some_and(|operators| operators.len() == 1);
    match time.filter(|_| alone).map(str::parse::<DateTime<Utc>>) {
        Some(Ok(at)) => Ok(now > at),
        _ => Err("of conditions only `DateGreaterThan` of `aws:CurrentTime` is understood".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use serde_json::json;

    fn check(statements: &Value, action: &str, seconds: i64) -> Result<bool, String> {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        allows(&json!({ "Statement": statements }).to_string(), action, now)
    }

    #[test]
    fn what_no_statement_names_is_not_allowed_and_a_denial_wins() {
        let read = json!({"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "*"});
        assert_eq!(check(&read, "s3:GetObject", 0), Ok(true));
        assert_eq!(check(&read, "s3:PutObject", 0), Ok(false));
        let both = json!([read, {"Effect": "Deny", "Action": "S3:*", "Resource": "*"}]);
        assert_eq!(check(&both, "s3:GetObject", 0), Ok(false));
    }

    #[test]
    fn a_deadline_denies_from_its_time_on() {
        let deadline = json!([{"Effect": "Allow", "Action": "*"}, {"Effect": "Deny", "Action": "*",
            "Condition": {"DateGreaterThan": {"aws:CurrentTime": "1970-01-01T00:01:00Z"}}}]);
        assert_eq!(check(&deadline, "s3:GetObject", 60), Ok(true));
        assert_eq!(check(&deadline, "s3:GetObject", 61), Ok(false));
    }

    #[test]
    fn what_is_not_understood_never_allows() {
        let strange =
            json!({"Effect": "Allow", "Action": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}});
        assert!(check(&strange, "s3:GetObject", 0).is_err());
        assert!(check(&json!({"Effect": "Allow", "NotAction": "*"}), "s3:GetObject", 0).is_err());
    }
}
