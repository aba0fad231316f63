//! Patterns over claims: anchored at both ends, `*` stands for any text.

use std::collections::BTreeMap;

use super::Mismatch;
use dataflow_types::claims::Claims;

/// The claims that are not as `rules` want them.
pub fn mismatches(rules: &BTreeMap<String, String>, claims: &Claims) -> Vec<Mismatch> {
    rules
        .iter()
        .map(|(claim, expected)| Mismatch {
            claim: claim.clone(),
            expected: expected.clone(),
            seen: claims.text(claim),
        })
        .filter(|m| !m.seen.as_ref().is_some_and(|seen| matches(&m.expected, seen)))
        .collect()
}

/// Whether the whole of `text` is as `pattern` says.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').map_or((None, rest), |(middle, tail)| (Some(middle), tail));
    // Each middle part is taken where it first fits, which leaves the most for what follows.
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        match text.find(part).and_then(|at| text.get(at + part.len()..)) {
            Some(rest) => text = rest,
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_is_anchored_and_a_star_is_any_text() {
        for (pattern, text, expected) in [
            ("main", "main", true),
            ("main", "mainline", false),
            ("release/*", "release/1.2", true),
            ("release/*", "x/release/1", false),
            ("*-prod", "web-prod", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_from_a_text_matches_it(a in "[a-c]{0,4}", b in "[a-c]{0,4}", c in "[a-c]{0,4}") {
            let (pattern, text) = (format!("{a}*{c}"), format!("{a}{b}{c}"));
            prop_assert!(matches(&pattern, &text));
        }

        #[test]
        fn a_pattern_without_a_star_is_equality(a in ".{0,6}", b in ".{0,6}") {
            prop_assume!(!a.contains('*'));
            prop_assert_eq!(matches(&a, &b), a == b);
        }
    }
}
