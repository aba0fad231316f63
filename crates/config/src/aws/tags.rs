//! Session tags, and what STS takes of them (`AssumeRole` in the STS API reference).

use std::collections::{BTreeMap, BTreeSet};

/// The most tags of one session.
const MOST: usize = 50;

/// What the value of a tag may be, in words.
pub const TAG_VALUE: &str = "expected at most 256 letters, digits, spaces and `_.:/=+-@`";

/// Whether STS takes a text as a tag's value.
pub fn is_tag_value(text: &str) -> bool {
    text.chars().count() <= 256 && text.chars().all(stands)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`
fn stands(c: char) -> bool {
    let separator = c.is_whitespace() && !c.is_control();
    c.is_alphanumeric() || separator || "_.:/=+-@".contains(c)
}

/// What is wrong with the tags of a role that is assumed with another's session, with the key that is wrong.
pub(super) fn check(
    tags: &BTreeMap<String, String>,
    transitive: &[String],
) -> Result<(), (&'static str, String)> {
    const TAGS: &str = "session-tags";
    if tags.len() > MOST {
        return Err((TAGS, format!("expected at most {MOST}, saw {}", tags.len())));
    }
    let mut known = BTreeSet::new();
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || !key.chars().all(stands) {
            let problem = "expected a name of 1 to 128 letters, digits, spaces and `_.:/=+-@`, saw";
            return Err((TAGS, format!("{problem} `{}`", key.escape_debug())));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err((TAGS, format!("`{key}`: names that begin with `aws:` are AWS's own")));
        }
        if !known.insert(key.to_lowercase()) {
            return Err((TAGS, format!("`{key}` is there already: AWS does not tell upper from lower case")));
        }
        if !is_tag_value(value) {
            return Err((TAGS, format!("`{key}`: {TAG_VALUE}, saw `{}`", value.escape_debug())));
        }
    }
    match transitive.iter().find(|key| !known.contains(&key.to_lowercase())) {
        Some(key) => Err(("transitive-tag-keys", format!("expected a name of `session-tags`, saw `{key}`"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(tags: &[(&str, &str)], transitive: &[&str]) -> Result<(), &'static str> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let transitive: Vec<String> = transitive.iter().map(|key| (*key).to_owned()).collect();
        check(&tags, &transitive).map_err(|(key, _)| key)
    }

    #[test]
    fn tags_are_as_sts_takes_them() {
        assert_eq!(checked(&[("branch", "feature/JIRA-1 \u{44f}"), ("empty", "")], &["Branch"]), Ok(()));
        let long = "x".repeat(257);
        for (key, value) in
            [("branch", "#2"), ("a#b", ""), ("", ""), ("AWS:x", ""), ("b", "a\nb"), ("b", long.as_str())]
        {
            assert_eq!(checked(&[(key, value)], &[]), Err("session-tags"), "{key}={value}");
        }
        assert_eq!(checked(&[("a", ""), ("A", "")], &[]), Err("session-tags"));
        assert_eq!(checked(&[("a", "")], &["b"]), Err("transitive-tag-keys"));
    }
}
