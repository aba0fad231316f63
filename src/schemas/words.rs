//! A doc comment taken apart: its first sentence, the rest, and the default that it ends with.

use serde_json::Value;

/// What a doc comment says of an option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Without the default.
    pub(super) whole: String,
    /// What is right where nothing is said: `Default: ….` at the end.
    pub(super) default: Option<String>,
}

impl Words {
    /// Of a schema's description.
    pub(super) fn of(schema: &Value) -> Self {
        let text = schema["description"].as_str().unwrap_or_default();
        let (whole, default) = text.split_once("Default: ").unwrap_or((text, ""));
        let default = default.trim_end_matches('.').to_owned();
        let default = if default.is_empty() { of_schema(&schema["default"]) } else { Some(default) };
        Self { whole: whole.trim_end().to_owned(), default }
    }

    /// The first sentence and the default, as plain text.
    pub(super) fn short(&self) -> String {
        let whole = plain(&self.whole);
        let mut ends = whole.match_indices(". ").map(|(at, _)| at);
        let outside = |at: &usize| whole.get(..*at).is_some_and(|text| text.matches('`').count() % 2 == 0);
        let first = whole.get(..ends.find(outside).unwrap_or(whole.len())).unwrap_or_default();
        let first = std::iter::once(first.trim_end_matches('.').to_owned());
        let default = self.default.iter().map(|default| format!(" (default {default})"));
        first.chain(default).collect::<String>().replace('`', "")
    }
}

/// The default that a schema names, in Markdown.
fn of_schema(default: &Value) -> Option<String> {
    match default {
        Value::Bool(_) | Value::Number(_) => Some(format!("`{default}`")),
        Value::String(text) => Some(format!("`{text}`")),
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<String> = items.iter().filter_map(of_schema).collect();
            Some(items.join(", "))
        }
        _ => None,
    }
}

/// Markdown without its links: one in parentheses is left out, of others the text stays.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(word, link)| Some((word, link.split_once(')')?)));
        let Some((word, (_, after))) = parts.filter(|(word, _)| !word.contains(['[', ']'])) else {
            plain.push_str(before);
            plain.push('[');
            rest = link;
            continue;
        };
        if let (Some(before), Some(after)) = (before.strip_suffix(" ("), after.strip_prefix(')')) {
            plain.push_str(before);
            rest = after;
        } else {
            plain.push_str(before);
            plain.push_str(word);
            rest = after;
        }
    }
    plain + rest
}

#[test]
fn a_doc_comment_is_taken_apart() {
    let schema = serde_json::json!({
        "description": "How long it lives: `15m` to `1. 2h` ([why](#x)). See [there](y.md). Default: `1h`."
    });
    let words = Words::of(&schema);
    assert_eq!(words.whole, "How long it lives: `15m` to `1. 2h` ([why](#x)). See [there](y.md).");
    assert_eq!(words.short(), "How long it lives: 15m to 1. 2h (default 1h)");
    assert_eq!(plain(&words.whole), "How long it lives: `15m` to `1. 2h`. See there.");
    assert_eq!(plain("`[read, write]` and [a](b)"), "`[read, write]` and a");
}
