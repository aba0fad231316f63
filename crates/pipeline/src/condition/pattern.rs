//! Regular expressions that cannot run away.

use regex_lite::{Regex, RegexBuilder};

/// What a compiled expression may need, in bytes: enough for what people write.
const SIZE: usize = 1 << 18;

/// The groups that Buildkite does not take.
const GROUPS: [(&str, &str); 8] = [
    ("(?=", "a look ahead"),
    ("(?!", "a look ahead"),
    ("(?<=", "a look behind"),
    ("(?<!", "a look behind"),
    ("(?>", "an atomic group"),
    ("(?<", "a named group"),
    ("(?P<", "a named group"),
    ("(?#", "a comment"),
];

/// The expression, ready to be used.
pub(super) fn compiled(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    if let Some(what) = refused(pattern) {
        return Err(format!("`/{pattern}/` has {what}, which a condition cannot use"));
    }
    let built =
        RegexBuilder::new(pattern).case_insensitive(ignore_case).size_limit(SIZE).nest_limit(50).build();
    built.map_err(|error| format!("`/{pattern}/` is no regular expression here: {error}"))
}

fn refused(pattern: &str) -> Option<&'static str> {
    let (mut escaped, mut in_class, mut before) = (false, false, ' ');
    for (index, c) in pattern.char_indices() {
        let rest = pattern.get(index..).unwrap_or_default();
        let possessive = !escaped && c == '+' && matches!(before, '?' | '*' | '+' | '}');
        before = if escaped || in_class { ' ' } else { c };
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            _ if possessive => return Some("a possessive quantifier"),
            _ => {
                if let Some((_, what)) = GROUPS.iter().find(|(group, _)| rest.starts_with(group)) {
                    return Some(what);
                }
            }
        }
    }
    None
}
