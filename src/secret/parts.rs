//! The texts inside of a secret that has a structure: JSON, lines of keys and values, a URL with a password.

use serde_json::Value;

use super::MIN_LENGTH;

/// The most texts that are looked for in one secret.
const MOST: usize = 256;

/// What a secret is made of.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The secret, and each text inside of it.
    pub(super) texts: Vec<String>,
    /// Each line of those that have several.
    pub(super) lines: Vec<String>,
    /// How many texts are not told here.
    pub(super) left_out: usize,
}

/// Takes a secret apart. Numbers, truth values, keys and what is too short are no texts: hidden, they would mangle the
/// log.
pub(super) fn of(secret: &str) -> Parts {
    let mut parts = Parts { texts: vec![secret.to_owned()], ..Parts::default() };
    let mut next = 0;
    while let Some(text) = parts.texts.get(next).cloned() {
        next += 1;
        for inner in inside(&text) {
            if inner.len() < MIN_LENGTH || parts.texts.contains(&inner) {
                continue;
            }
            if parts.texts.len() < MOST {
                parts.texts.push(inner);
            } else {
                parts.left_out += 1;
            }
        }
    }
    for text in &parts.texts {
        let lines = lines(text).filter(|line| line.len() >= MIN_LENGTH && *line != text);
        parts.lines.extend(lines.map(str::to_owned));
    }
    parts
}

/// The lines of a text; a break that somebody escaped (`\n`) ends one too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.split("\\n")).map(str::trim).filter(|line| !is_armour(line))
}

/// `-----BEGIN CERTIFICATE-----` is in a thousand logs and no secret.
fn is_armour(line: &str) -> bool {
    line.starts_with("-----") && line.ends_with("-----")
}

/// The texts right inside of this one.
fn inside(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.trim_start().starts_with(['{', '[', '"'])
        && let Ok(json) = serde_json::from_str::<Value>(text)
    {
        strings(&json, &mut found);
        return found;
    }
    for line in lines(text) {
        found.extend(value(line));
        if line.contains([';', '&']) {
            found.extend(line.split([';', '&']).filter_map(value));
        }
    }
    if let Some((_, password)) = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.rsplit_once('@')?.0.split_once(':'))
    {
        found.push(password.to_owned());
        found.push(percent_decoded(password));
    }
    found
}

fn strings(json: &Value, found: &mut Vec<String>) {
    match json {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(map) => map.values().for_each(|value| strings(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a line such as `KEY=value`, `export KEY="value"` or `key: value`.
fn value(line: &str) -> Option<String> {
    let line = line.trim_start_matches("export ").trim();
    let (key, value) = line.split_once('=').or_else(|| line.split_once(": "))?;
    let value = value.trim();
    if key.trim().is_empty() || key.trim().contains(char::is_whitespace) || value.starts_with('=') {
        return None;
    }
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(quoted.unwrap_or(value).to_owned())
}

fn percent_decoded(text: &str) -> String {
    let form = text.replace('+', "%2B");
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
