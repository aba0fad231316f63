//! How a message shows what was seen. A secret that was written in the wrong place is not repeated into a log.

use serde_json::Value;

use super::path::Segment;

/// The longest text that is shown whole.
const LONGEST: usize = 200;

/// How well-known credentials begin.
const BEGINNINGS: [&str; 22] = [
    "-----BEGIN",
    "eyJ",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "ASIA",
    "hvs.",
    "hvb.",
    "hvr.",
    "s.",
    "bkua_",
    "bkat_",
    "xox",
    "sk-",
    "AIza",
    "ya29.",
    "ATAT",
];

/// Keys whose values are secrets, or hold some.
const SECRET_KEYS: [&str; 12] = [
    "secret",
    "client-secret",
    "private-key",
    "password",
    "passphrase",
    "token",
    "access-token",
    "api-key",
    "secret-access-key",
    "aws-secret-access-key",
    "aws-session-token",
    "credentials-json",
];

/// Maps whose values are anything.
const SECRET_MAPS: [&str; 3] = ["data", "form", "environment"];

/// What was seen at a place, for a message.
pub(super) fn shown(path: &[Segment], value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => format!("`{truth}`"),
        Value::Number(_) if is_of_a_secret(path) => "a number".to_owned(),
        Value::Number(number) if number.is_f64() => format!("number `{number}`"),
        Value::Number(number) => format!("integer `{number}`"),
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(text) if is_hidden(path, text) => hidden(text),
        Value::String(text) => format!("`{}`", escaped(text)),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(members) if members.is_empty() => "an empty map".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// The same message without what must not be shown of the value that it is about.
pub(super) fn without_secrets(path: &[Segment], value: &Value, message: String) -> String {
    match value {
        Value::String(text) if !text.is_empty() && is_hidden(path, text) => {
            let quoted = message.replace(&format!("`{text}`"), &hidden(text));
            without_word(&quoted, text)
        }
        Value::Array(items) => items.iter().enumerate().fold(message, |message, (index, item)| {
            without_secrets(&below(path, Segment::Index(index)), item, message)
        }),
        Value::Object(members) => members.iter().fold(message, |message, (key, item)| {
            without_secrets(&below(path, Segment::Key(key.clone())), item, message)
        }),
        _ => message,
    }
}

/// The message without a text that stands in it as a word of its own: a short one is part of many a word.
fn without_word(message: &str, text: &str) -> String {
    let is_part = |c: Option<char>| text.len() < 8 && c.is_some_and(char::is_alphanumeric);
    let (mut out, mut rest) = (String::new(), message);
    while let Some((before, after)) = rest.split_once(text) {
        out.push_str(before);
        let word = is_part(out.chars().next_back()) || is_part(after.chars().next());
        out.push_str(if word { text } else { "…" });
        rest = after;
    }
    out + rest
}

/// A text on one line, in which nothing hides: what is not seen is written as YAML writes it between double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\'' | '"' | '\\' => out.push(c),
            // Whatever the standard library would not print as it is: controls, marks of direction, odd spaces.
            _ if c.escape_debug().nth(1).is_none() => out.push(c),
            _ => match u32::from(c) {
                code @ 0..=0xff => out.extend(["\\x", &format!("{code:02x}")]),
                code @ 0x100..=0xffff => out.extend(["\\u", &format!("{code:04x}")]),
                code => out.extend(["\\U", &format!("{code:08x}")]),
            },
        }
    }
    out
}

fn below(path: &[Segment], segment: Segment) -> Vec<Segment> {
    let mut path = path.to_vec();
    path.push(segment);
    path
}

/// A key that was seen.
pub(super) fn key(seen: &str) -> String {
    if looks_secret(seen) { hidden(seen) } else { format!("`{}`", escaped(seen)) }
}

fn hidden(text: &str) -> String {
    match text.chars().count() {
        1 => "a string of 1 character (not shown)".to_owned(),
        count => format!("a string of {count} characters (not shown)"),
    }
}

fn is_hidden(path: &[Segment], text: &str) -> bool {
    is_of_a_secret(path) || looks_secret(text)
}

fn is_of_a_secret(path: &[Segment]) -> bool {
    let mut keys = path.iter().rev().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key.replace('_', "-").to_lowercase()),
        Segment::Index(_) => None,
    });
    let last = keys.next().unwrap_or_default();
    let ends = ["-secret", "-password", "-passphrase", "-token"].iter().any(|end| last.ends_with(end));
    ends || SECRET_KEYS.contains(&last.as_str()) || keys.any(|key| SECRET_MAPS.contains(&key.as_str()))
}

/// Long, of several lines, a URL with a user or a query, or as dense as keys and tokens are.
fn looks_secret(text: &str) -> bool {
    let url = text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@') || rest.contains('?')
    });
    url || text.chars().count() > LONGEST
        || text.contains('\n')
        || text.split(is_between).any(|word| BEGINNINGS.iter().any(|begin| word.starts_with(begin)))
        || text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).any(is_dense)
}

/// What stands before a value in a text: of `NAME=value`, of a list, of a sentence.
fn is_between(c: char) -> bool {
    c.is_whitespace() || "=:,;'\"()[]{}".contains(c)
}

fn is_dense(run: &str) -> bool {
    let count = |is: fn(char) -> bool| run.chars().filter(|c| is(*c)).count();
    let digits = count(|c| c.is_ascii_digit());
    let mixed = count(|c| c.is_ascii_uppercase()) >= 3 && count(|c| c.is_ascii_lowercase()) >= 3;
    let hex = run.chars().all(|c| c.is_ascii_hexdigit()) && digits < run.len();
    run.len() >= 32 && digits >= 3 && (mixed || hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str, text: &str) -> String {
        shown(&[Segment::Key(key.to_owned())], &Value::from(text))
    }

    #[test]
    fn what_may_be_a_secret_is_counted_and_not_shown() {
        for (key, text) in [
            ("client-secret", "hunter2"),
            ("client_secret", "hunter2"),
            ("role", "ghp_abcdef"),
            ("role", "PASSWORD=ghp_abcdef"),
            ("role", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"),
            ("address", "https://me:hunter2@vault.example.test"),
            ("private-key", "-----BEGIN RSA PRIVATE KEY-----\nMII\n"),
        ] {
            let shown = at(key, text);
            assert!(shown.ends_with("characters (not shown)"), "{key}: {shown}");
        }
        assert_eq!(
            at("role", "arn:aws:iam::123456789012:role/ci/Deploy-1"),
            "`arn:aws:iam::123456789012:role/ci/Deploy-1`"
        );
        assert_eq!(
            at("client-id", "00000000-0000-4000-8000-000000000000"),
            "`00000000-0000-4000-8000-000000000000`"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_as_yaml_spells_it() {
        assert_eq!(at("role", "a\u{a0}b\u{202e}\u{1b}[0m\n"), "a string of 9 characters (not shown)");
        assert_eq!(at("role", "a\u{a0}b\u{202e}\u{1b}[0m\u{e0001}"), r"`a\xa0b\u202e\x1b[0m\U000e0001`");
        assert_eq!(at("role", "it's \"so\" é 🙂"), "`it's \"so\" é 🙂`");
    }

    #[test]
    fn a_message_that_holds_a_secret_is_cleared_of_it() {
        let path = [Segment::Key("secret".to_owned())];
        let message =
            without_secrets(&path, &Value::from("hunter2"), "expected a map, saw `hunter2`".to_owned());
        assert_eq!(message, "expected a map, saw a string of 7 characters (not shown)");
        let message = without_secrets(&path, &Value::from("x"), "saw `x` (x), expected `export`".to_owned());
        assert_eq!(message, "saw a string of 1 character (not shown) (…), expected `export`");
    }
}
