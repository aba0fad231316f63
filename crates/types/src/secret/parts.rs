//! The texts inside of a secret that has a structure: JSON, keys and values of any grammar, a URL with a password, base64.

use std::collections::HashSet;

use serde_json::Value;

use super::{MIN_LENGTH, plain, values};

/// The most texts that are looked for in one secret.
const MOST: usize = 256;

/// How many bytes all texts inside of a secret may have beyond four times its length.
const SPARE: usize = 16 << 10;

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

/// Takes a secret apart. Numbers, truth values, keys, ordinary words and what is too short are no texts: hidden, they
/// would mangle the log.
pub(super) fn of(secret: &str) -> Parts {
    let mut parts = Parts { texts: vec![secret.to_owned()], ..Parts::default() };
    let mut seen = HashSet::from([secret.to_owned()]);
    // A text of very many separators has as many texts inside, each nearly as long as it.
    let mut bytes = 4 * secret.len() + SPARE;
    let mut next = 0;
    while let Some(text) = parts.texts.get(next).cloned() {
        next += 1;
        let (inner, cut) = inside(&text);
        parts.left_out += usize::from(cut);
        for inner in inner {
            if inner.trim().len() < MIN_LENGTH || !seen.insert(inner.clone()) {
                continue;
            }
            if parts.texts.len() < MOST && inner.len() <= bytes {
                bytes -= inner.len();
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

/// The texts right inside of this one. The second is whether there are more than are returned.
fn inside(text: &str) -> (Vec<String>, bool) {
    let mut found: Vec<String> = plain::of_base64(text).into_iter().collect();
    if !has_structure(text) {
        return (found, false);
    }
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with(['{', '[', '"'])
        && let Ok(json) = serde_json::from_str::<Value>(text)
    {
        strings(&json, &mut found);
        return (found, false);
    }
    for line in lines(text).filter(|line| !line.starts_with(['{', '[', '"', '<', '#'])) {
        found.extend(value(line));
        if line.contains([';', '&']) {
            found.extend(line.split([';', '&']).filter_map(value));
        }
    }
    found.extend(
        text.split("://").skip(1).filter_map(password).flat_map(|password| {
            [Some(password.to_owned()), plain::of_percent(password)].into_iter().flatten()
        }),
    );
    let (values, cut) = values::of(text);
    found.extend(values);
    (found, cut)
}

/// Whether a text could be more than one word: most secrets are none.
fn has_structure(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    text.bytes().any(|byte| !(byte.is_ascii_alphanumeric() || b"-._+/~".contains(&byte)))
}

/// The password of a URL, from what stands behind its scheme.
fn password(rest: &str) -> Option<&str> {
    let authority = rest.split(|c: char| "/?#\"'<>".contains(c) || c.is_whitespace()).next()?;
    Some(authority.rsplit_once('@')?.0.split_once(':')?.1)
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
