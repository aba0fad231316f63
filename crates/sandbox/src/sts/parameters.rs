//! The parameters that both ways to assume a role share, and their limits (STS API reference).

use std::collections::BTreeMap;

use super::{Refusal, refuse};
use dataflow_config::aws::is_tag_value;

/// What the request asks for.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    pub(super) role: &'a str,
    pub(super) session: &'a str,
    pub(super) seconds: i64,
    pub(super) policy: Option<&'a str>,
    pub(super) managed: Vec<String>,
}

impl<'a> Parameters<'a> {
    /// Reads and checks them.
    pub(super) fn of(form: &'a BTreeMap<String, String>) -> Result<Self, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str);
        let required = |name: &str, shown: &str| {
            field(name).ok_or_else(|| invalid("null", shown, "Member must not be null"))
        };
        let (role, session) =
            (required("RoleArn", "roleArn")?, required("RoleSessionName", "roleSessionName")?);
        check_name(session, "roleSessionName")?;
        field("SourceIdentity").map_or(Ok(()), |identity| check_name(identity, "sourceIdentity"))?;
        check_tags(form)?;
        let seconds = field("DurationSeconds").unwrap_or("3600");
        let policy = field("Policy");
        check_policy(policy, form)?;
        let managed = members(form, "PolicyArns", ".arn");
        Ok(Self { role, session, seconds: duration(seconds)?, policy, managed })
    }

    /// How full policies and tags are, in percent, by plain text: AWS's own packing is not published.
    pub(super) fn packed(&self, tags: &BTreeMap<String, String>) -> Result<usize, Refusal> {
        let policies = self.policy.map_or(0, str::len) + self.managed.iter().map(String::len).sum::<usize>();
        let tags: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        match ((policies + tags) * 100).div_ceil(POLICY_LENGTH) {
            percent @ 0..=100 => Ok(percent),
            percent => {
                let text = format!(
                    "Packed policy consumes {percent}% of allotted space, please use smaller policy."
                );
                Err(refuse(400, "PackedPolicyTooLarge", text))
            }
        }
    }
}

const POLICY_LENGTH: usize = 2048;

pub(super) fn invalid(value: &str, name: &str, constraint: &str) -> Refusal {
    let text = format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {constraint}"
    );
    refuse(400, "ValidationError", text)
}

/// The values of `NAME.member.N` and what follows.
pub(super) fn members(form: &BTreeMap<String, String>, name: &str, rest: &str) -> Vec<String> {
    let prefix = format!("{name}.member.");
    let one = |key: &str| key.strip_prefix(&prefix)?.strip_suffix(rest)?.parse::<usize>().ok();
    form.iter().filter(|(key, _)| one(key).is_some()).map(|(_, value)| value.clone()).collect()
}

/// The tags of the request, as `AssumeRole` takes them.
fn check_tags(form: &BTreeMap<String, String>) -> Result<(), Refusal> {
    const PATTERN: &str = "Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]";
    let keys = members(form, "Tags", ".Key");
    if keys.len() > 50 {
        return Err(invalid("[...]", "tags", "Member must have length less than or equal to 50"));
    }
    for (at, key) in keys.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 || !is_tag_value(key) {
            return Err(invalid(key, &format!("tags.{}.member.key", at + 1), &format!("{PATTERN}+")));
        }
        if keys.iter().take(at).any(|other| other.eq_ignore_ascii_case(key)) {
            let text = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(refuse(400, "InvalidParameterValue", text));
        }
    }
    for (at, value) in members(form, "Tags", ".Value").iter().enumerate() {
        if !is_tag_value(value) {
            return Err(invalid(value, &format!("tags.{}.member.value", at + 1), &format!("{PATTERN}*")));
        }
    }
    let known = |key: &String| keys.iter().any(|other| other.eq_ignore_ascii_case(key));
    if !members(form, "TransitiveTagKeys", "").iter().all(known) {
        let text = "The specified transitive tag key must be included in the requested tags.";
        return Err(refuse(400, "InvalidParameterValue", text));
    }
    Ok(())
}

/// The tags that a token brings.
pub(super) fn check_token_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match tags.iter().find(|(key, value)| !is_tag_value(key) || !is_tag_value(value)) {
        Some((key, _)) => {
            let text = format!("The session tag {key} in the token does not satisfy the constraints of tags");
            Err(refuse(400, "InvalidIdentityToken", text))
        }
        None => Ok(()),
    }
}

fn check_name(session: &str, name: &str) -> Result<(), Refusal> {
    let wrong = |constraint: &str| Err(invalid(session, name, constraint));
    match session.chars().count() {
        0..2 => return wrong("Member must have length greater than or equal to 2"),
        2..=64 => {}
        _ => return wrong("Member must have length less than or equal to 64"),
    }
    if session.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)) {
        return Ok(());
    }
    wrong("Member must satisfy regular expression pattern: [\\w+=,.@-]*")
}

fn duration(text: &str) -> Result<i64, Refusal> {
    let wrong = |constraint: &str| Err(invalid(text, "durationSeconds", constraint));
    match text.parse::<i64>() {
        Ok(seconds @ 900..=43200) => Ok(seconds),
        Ok(..900) => wrong("Member must have value greater than or equal to 900"),
        Ok(_) => wrong("Member must have value less than or equal to 43200"),
        Err(_) => wrong("Member must be a number"),
    }
}

fn check_policy(policy: Option<&str>, form: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let managed = form.keys().filter(|name| name.starts_with("PolicyArns.member."));
    if managed.count() > 10 {
        return Err(invalid("[...]", "policyArns", "Member must have length less than or equal to 10"));
    }
    let Some(policy) = policy else { return Ok(()) };
    if policy.len() > POLICY_LENGTH {
        return Err(invalid("...", "policy", "Member must have length less than or equal to 2048"));
    }
    match serde_json::from_str::<serde_json::Value>(policy) {
        Ok(policy) if policy.get("Statement").is_some() => Ok(()),
        _ => Err(refuse(400, "MalformedPolicyDocument", "This policy contains invalid Json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(changed: &[(&str, &str)]) -> BTreeMap<String, String> {
        let usual = [("RoleArn", "arn:aws:iam::1:role/x"), ("RoleSessionName", "job-1")];
        usual.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn refused(name: &str, value: &str, code: &str, said: &str) {
        let form = form(&[(name, value)]);
        let refusal = Parameters::of(&form).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (400, code));
        assert!(refusal.message.contains(said), "{}", refusal.message);
    }

    #[test]
    fn a_session_lasts_an_hour_unless_told_otherwise() {
        assert_eq!(Parameters::of(&form(&[])).unwrap().seconds, 3600);
        assert_eq!(Parameters::of(&form(&[("DurationSeconds", "900")])).unwrap().seconds, 900);
    }

    #[test]
    fn a_limit_that_is_passed_is_named_as_aws_names_it() {
        refused("DurationSeconds", "899", "ValidationError", "Value '899' at 'durationSeconds' failed");
        refused("DurationSeconds", "43201", "ValidationError", "less than or equal to 43200");
        refused("DurationSeconds", "soon", "ValidationError", "'durationSeconds'");
        refused("RoleSessionName", "a", "ValidationError", "greater than or equal to 2");
        refused("RoleSessionName", &"a".repeat(65), "ValidationError", "less than or equal to 64");
        refused("RoleSessionName", "a/b", "ValidationError", "[\\w+=,.@-]*");
        refused("SourceIdentity", "a/b", "ValidationError", "'sourceIdentity'");
        refused("Tags.member.1.Key", "a#b", "ValidationError", "'tags.1.member.key'");
        refused("Tags.member.1.Value", "#2-bit-ref-r", "ValidationError", "'tags.1.member.value'");
        refused("TransitiveTagKeys.member.1", "a", "InvalidParameterValue", "must be included");
        refused("Policy", &" ".repeat(2049), "ValidationError", "'policy'");
        refused("Policy", "{", "MalformedPolicyDocument", "invalid Json");
    }
}
