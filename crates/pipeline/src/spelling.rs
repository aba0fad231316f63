//! Keys of a step that may be written in several ways.

/// Keys with more than one spelling: ours first, then what may be written, the strongest first.
pub(super) const SPELLINGS: &[(&str, &[&str])] = &[
    ("command", &["commands", "command"]),
    ("key", &["key", "id", "identifier"]),
    ("label", &["label", "name"]),
    ("artifact_paths", &["artifact_paths", "artifacts"]),
    ("agents", &["agents", "agent_query_rules"]),
    ("timeout_in_minutes", &["timeout_in_minutes", "timeout"]),
];

/// What may be written for `key`, the strongest first.
pub(super) fn spellings(key: &str) -> Vec<&str> {
    match SPELLINGS.iter().find(|(ours, _)| *ours == key) {
        Some((_, written)) => written.to_vec(),
        None => vec![key],
    }
}
