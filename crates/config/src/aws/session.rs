//! What narrows a session: an inline policy, managed policies, a deadline.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::types::PolicyArn;

/// The most that STS takes of an inline policy, in characters; its managed ARNs count too.
const MAX_POLICY: usize = 2048;
/// The most managed policies that STS takes.
pub const MAX_ARNS: usize = 10;

/// The versions of the language that there are (IAM's reference of policy elements).
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];

/// A policy that narrows one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionPolicy {
    /// Written where it is asked for.
    Inline(Map<String, Value>),
    /// A file on the host, by its absolute path.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for SessionPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |seen: String| {
            serde::de::Error::custom(format!(
                "expected a policy in IAM's words, or `file:` and an absolute path, saw {seen}"
            ))
        };
        match Value::deserialize(deserializer)? {
            Value::Object(policy) => Ok(Self::Inline(policy)),
            Value::String(text) => match text.strip_prefix("file:").map(PathBuf::from) {
                Some(path) if path.is_absolute() => Ok(Self::File(path)),
                _ => Err(wrong(format!("`{text}`"))),
            },
            other => Err(wrong(format!("`{other}`"))),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for SessionPolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SessionPolicy".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A policy in IAM's words, or `file:` and an absolute path on the host.",
            "type": ["object", "string"],
            "pattern": "^file:/",
            "patternProperties": {
                "^Version$": { "enum": VERSIONS },
                "^Statement$": {
                    "type": ["object", "array"],
                    "additionalProperties": true,
                    "items": { "type": "object", "additionalProperties": true },
                },
            },
            "required": ["Statement"],
            "additionalProperties": true,
        })
    }
}

/// What is wrong with a policy's text or number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no policy.
    #[error("expected a policy with a `Statement`, a map or a list of maps")]
    NoStatement,
    /// It is of no version of the language; what it says.
    #[error("expected the `Version` `2012-10-17` or `2008-10-17`, in quotes, saw `{0}`")]
    Version(String),
    /// It is too long.
    #[error(
        "expected at most {MAX_POLICY} characters of policies and managed ARNs, counted without white \
         space and with the deadline's own statement, saw {0}"
    )]
    TooLong(usize),
}

/// The policy to send: what was given and what the deadline asks for, compact; `None` for neither.
pub fn document(
    given: Option<&Map<String, Value>>,
    managed: &[PolicyArn],
    deadline: Option<DateTime<Utc>>,
) -> Result<Option<String>, Unfit> {
    if given.is_none() && deadline.is_none() {
        return Ok(None);
    }
    let mut policy = given.cloned().unwrap_or_else(|| {
        let empty = json!({"Version": "2012-10-17", "Statement": []});
        empty.as_object().cloned().unwrap_or_default()
    });
    match policy.get("Version") {
        None => {}
        Some(Value::String(version)) if VERSIONS.contains(&version.as_str()) => {}
        Some(Value::String(other)) => return Err(Unfit::Version(other.clone())),
        Some(other) => return Err(Unfit::Version(other.to_string())),
    }
    let mut statements = match policy.remove("Statement") {
        Some(Value::Array(many)) if many.iter().all(Value::is_object) => many,
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err(Unfit::NoStatement),
    };
    if let Some(at) = deadline {
        // A session policy allows nothing that it does not name: where there was none, everything is
        // named. Beside another policy it would widen what that one leaves.
        if given.is_none() && managed.is_empty() {
            statements.push(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
        }
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {"DateGreaterThan": {"aws:CurrentTime": at}}}));
        // A session made with this one would not end with it.
        statements.push(json!({"Effect": "Deny", "Action": "sts:AssumeRole*", "Resource": "*"}));
    }
    policy.insert("Statement".to_owned(), statements.into());
    let text = Value::Object(policy).to_string();
    let length = text.chars().count() + managed.iter().map(|arn| arn.as_str().len()).sum::<usize>();
    if length > MAX_POLICY { Err(Unfit::TooLong(length)) } else { Ok(Some(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<SessionPolicy, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn written(given: Option<Value>, managed: &[&str], deadline: bool) -> Value {
        let given = given.map(|given| given.as_object().unwrap().clone());
        let managed: Vec<PolicyArn> = managed.iter().map(|arn| arn.parse().unwrap()).collect();
        let deadline = deadline.then_some(DateTime::UNIX_EPOCH);
        let text = document(given.as_ref(), &managed, deadline).unwrap();
        text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    const MANAGED: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

    fn effects(policy: &Value) -> Vec<&str> {
        let statements = policy["Statement"].as_array().unwrap();
        statements.iter().map(|statement| statement["Effect"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_policy_of_no_version_of_the_language_is_refused() {
        for version in [json!("2012-10-17T00:00:00Z"), json!("2012-10-18"), json!(2012)] {
            let policy = json!({"Version": version, "Statement": []});
            let unfit = document(policy.as_object(), &[], None).unwrap_err();
            assert!(matches!(unfit, Unfit::Version(_)), "{unfit}");
        }
    }

    #[test]
    fn a_policy_is_an_object_or_a_file_by_its_absolute_path() {
        assert_eq!(read(json!("file:/etc/p.json")), Ok(SessionPolicy::File("/etc/p.json".into())));
        assert!(matches!(read(json!({"Statement": []})), Ok(SessionPolicy::Inline(_))));
        for bad in [json!("p.json"), json!("file:p.json"), json!("file:./p.json"), json!(7), json!([])] {
            assert!(read(bad.clone()).unwrap_err().contains("absolute path"), "{bad}");
        }
    }

    #[test]
    fn without_a_deadline_a_policy_is_sent_as_it_is() {
        let policy = json!({"Version": "2008-10-17", "Statement": [{"Effect": "Allow"}]});
        assert_eq!(written(Some(policy.clone()), &[], false), policy);
        assert_eq!(written(None, &[MANAGED], false), Value::Null);
    }

    #[test]
    fn a_deadline_denies_everything_after_it_and_further_roles_at_once() {
        let policy = written(None, &[], true);
        assert_eq!(effects(&policy), ["Allow", "Deny", "Deny"]);
        let at = &policy["Statement"][1]["Condition"]["DateGreaterThan"]["aws:CurrentTime"];
        assert_eq!(at, "1970-01-01T00:00:00Z");
        assert_eq!(policy["Statement"][2]["Action"], "sts:AssumeRole*");
    }

    #[test]
    fn a_deadline_never_widens_what_another_policy_allows() {
        let one = json!({"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}});
        let policy = written(Some(one), &[], true);
        assert_eq!(effects(&policy), ["Allow", "Deny", "Deny"]);
        assert_eq!(policy["Statement"][0]["Action"], "s3:GetObject");
        assert_eq!(effects(&written(None, &[MANAGED], true)), ["Deny", "Deny"]);
    }

    #[test]
    fn what_sts_would_refuse_for_its_form_is_refused_before() {
        let policy = |text: &str| json!({"Statement": [], "Id": text}).as_object().unwrap().clone();
        let long = "x".repeat(MAX_POLICY);
        assert!(matches!(document(Some(&policy(&long)), &[], None), Err(Unfit::TooLong(_))));
        assert_eq!(document(Some(&Map::new()), &[], None), Err(Unfit::NoStatement));
    }

    mod never_widens {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn whatever_was_given(actions in proptest::collection::vec("[a-z]{2,6}:[A-Z][a-z]{2,6}", 0..6)) {
                let statements: Vec<Value> = actions
                    .iter()
                    .map(|action| json!({"Effect": "Allow", "Action": action, "Resource": "*"}))
                    .collect();
                let policy = written(Some(json!({"Statement": statements})), &[], true);
                let allowed = policy["Statement"].as_array().unwrap().iter();
                let allowed = allowed.filter(|statement| statement["Effect"] == "Allow");
                prop_assert!(allowed.map(|one| one["Action"].as_str().unwrap()).eq(actions));
            }
        }
    }
}
