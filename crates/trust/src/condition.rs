//! Condition operators ("IAM JSON policy elements: Condition operators" of the IAM User Guide).

/// Whether a condition holds; an error for an operator that is not known here.
pub(super) fn holds(operator: &str, expected: &[String], seen: &[String]) -> Result<bool, String> {
    if operator == "Null" {
        return null(expected, seen);
    }
    let (set, bare) = match operator.split_once(':') {
        Some(("ForAllValues", bare)) => (Set::All, bare),
        Some(("ForAnyValue", bare)) => (Set::Any, bare),
        Some(_) => return Err(unknown(operator)),
        None => (Set::One, operator),
    };
    let (bare, optional) = bare.strip_suffix("IfExists").map_or((bare, false), |bare| (bare, true));
    let (test, negated): (fn(&str, &str) -> bool, bool) = match bare {
        "StringEquals" => (equal, false),
        "StringNotEquals" => (equal, true),
        "StringEqualsIgnoreCase" => (equal_ignoring_case, false),
        "StringNotEqualsIgnoreCase" => (equal_ignoring_case, true),
        "StringLike" => (like, false),
        "StringNotLike" => (like, true),
        _ => return Err(unknown(operator)),
    };
    let one = |seen: &String| expected.iter().any(|expected| test(expected, seen)) != negated;
    match (set, seen) {
        (Set::All, _) => Ok(seen.iter().all(one)),
        (Set::Any, []) => Ok(optional),
        (Set::Any, _) => Ok(seen.iter().any(one)),
        (Set::One, []) => Ok(optional || negated),
        (Set::One, [seen]) => Ok(one(seen)),
        (Set::One, _) => Err(format!("`{operator}` is for one value, and here are {}", seen.len())),
    }
}

enum Set {
    All,
    Any,
    One,
}

fn unknown(operator: &str) -> String {
    format!("condition operator `{operator}` is not understood")
}

fn null(expected: &[String], seen: &[String]) -> Result<bool, String> {
    match expected {
        [text] if text == "true" => Ok(seen.is_empty()),
        [text] if text == "false" => Ok(!seen.is_empty()),
        _ => Err("`Null` expects `true` or `false`".into()),
    }
}

fn equal(expected: &str, seen: &str) -> bool {
    expected == seen
}

fn equal_ignoring_case(expected: &str, seen: &str) -> bool {
    expected.to_lowercase() == seen.to_lowercase()
}

/// Whether the whole of `text` is as `pattern` says: `*` is any text, `?` any one character.
pub fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when the latest star has to take one character more.
    let mut retry = None;
    loop {
        let (mut rest, here) = (pattern.clone(), text.clone());
        let fits = match (rest.next(), text.next()) {
            (Some('*'), _) => {
                text = here.clone();
                retry = Some((rest.clone(), here));
                true
            }
            (None, None) => return true,
            (Some(expected), Some(seen)) => expected == '?' || expected == seen,
            _ => false,
        };
        if fits {
            pattern = rest;
            continue;
        }
        let Some((after_star, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after_star.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[track_caller]
    fn check(operator: &str, expected: &[&str], seen: &[&str], holds: bool) {
        assert_eq!(
            super::holds(operator, &texts(expected), &texts(seen)),
            Ok(holds),
            "{operator} {expected:?} {seen:?}"
        );
    }

    #[test]
    fn several_expected_values_are_alternatives_and_for_a_negation_none_may_fit() {
        check("StringEquals", &["a", "b"], &["b"], true);
        check("StringNotEquals", &["a", "b"], &["b"], false);
        check("StringNotLike", &["a*", "b*"], &["c"], true);
        check("StringEqualsIgnoreCase", &["Main"], &["mAIN"], true);
    }

    #[test]
    fn a_key_that_is_not_there_meets_only_negations_and_if_exists() {
        check("StringEquals", &["a"], &[], false);
        check("StringLike", &["*"], &[], false);
        check("StringNotEquals", &["a"], &[], true);
        check("StringEqualsIfExists", &["a"], &[], true);
        check("Null", &["true"], &[], true);
        check("Null", &["false"], &[], false);
    }

    #[test]
    fn set_operators_judge_each_value() {
        check("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], true);
        check("ForAllValues:StringEquals", &["a"], &["a", "b"], false);
        check("ForAllValues:StringNotEquals", &["a"], &["a", "b"], false);
        check("ForAllValues:StringEquals", &["a"], &[], true);
        check("ForAnyValue:StringEquals", &["b"], &["a", "b"], true);
        check("ForAnyValue:StringNotEquals", &["a"], &["a", "b"], true);
        check("ForAnyValue:StringLike", &["*"], &[], false);
    }

    #[test]
    fn what_has_no_clear_meaning_is_an_error() {
        for (operator, expected, seen) in [
            ("StringLikes", &["a"][..], &["a"][..]),
            ("ForEachValue:StringEquals", &["a"], &["a"]),
            ("ForAllValues:Null", &["true"], &[]),
            ("NullIfExists", &["true"], &[]),
            ("Null", &["yes"], &[]),
            ("StringEquals", &["a"], &["a", "b"]),
        ] {
            assert!(holds(operator, &texts(expected), &texts(seen)).is_err(), "{operator}");
        }
    }

    #[test]
    fn a_pattern_is_anchored_and_knows_two_wildcards() {
        for (pattern, text, expected) in [
            ("main", "main", true),
            ("main", "mainline", false),
            ("ma?n", "main", true),
            ("ma?n", "man", false),
            ("?", "é", true),
            ("*:ref:*", "a:ref:b", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("**?", "x", true),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_agrees_with_its_definition(pattern in "[ab*?]{0,7}", text in "[ab]{0,7}") {
            fn defined(pattern: &[char], text: &[char]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    (['*', rest @ ..], _) => (0..=text.len()).any(|taken| defined(rest, &text[taken..])),
                    ([expected, rest @ ..], [seen, after @ ..]) => {
                        (*expected == '?' || expected == seen) && defined(rest, after)
                    }
                    _ => false,
                }
            }
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(like(&pattern, &text), defined(&chars(&pattern), &chars(&text)));
        }
    }
}
