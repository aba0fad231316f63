//! Free text made to fit: what may not stand there becomes `-`, what is too long is cut, and a digest of the whole keeps
//! different texts apart.

use ring::digest::{SHA256, digest};

/// As long as a fitted text for any place is: a label of DNS, and short of every provider's names.
const NAME: usize = 63;
/// What `RoleSessionName` and `SourceIdentity` may be long (STS API reference).
const SESSION: usize = 64;
/// What the value of a session tag may be long (STS API reference).
const TAG: usize = 256;
/// Digits of the digest: 80 bits, so that nobody finds a branch's name with the digest of another.
const DIGITS: usize = 20;
/// Stands before the digest.
const BEFORE: &str = "--";

/// A text for any place that has names: letters, digits, `_` and `-`.
pub(super) fn name(text: &str) -> String {
    fitted(text, 1, NAME, |c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// A session's name or a source identity.
pub(super) fn session(text: &str) -> String {
    fitted(text, 2, SESSION, in_session)
}

/// The value of a session tag.
pub(super) fn tag(text: &str) -> String {
    fitted(text, 0, TAG, in_tag)
}

/// `[\w+=,.@-]`
pub(super) fn in_session(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`: of letters beyond ASCII only scripts in which each is a `\p{L}` or `\p{N}` for certain.
pub(super) fn in_tag(c: char) -> bool {
    let certain = matches!(c, '\u{aa}'..='\u{2c1}' | '\u{370}'..='\u{482}' | '\u{48a}'..='\u{556}' | '\u{561}'..='\u{586}'
        | '\u{5d0}'..='\u{5ea}' | '\u{620}'..='\u{64a}' | '\u{10a0}'..='\u{10ff}' | '\u{1e00}'..='\u{1fbc}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}');
    c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c) || (certain && c.is_alphanumeric())
}

fn fitted(text: &str, least: usize, most: usize, allowed: impl Fn(char) -> bool) -> String {
    if (least..=most).contains(&text.chars().count()) && text.chars().all(&allowed) && !seems_fitted(text) {
        return text.to_owned();
    }
    let kept = most - BEFORE.len() - DIGITS;
    let stem = text.chars().take(kept).map(|c| if allowed(c) { c } else { '-' });
    let digits = digest(&SHA256, text.as_bytes());
    let digits = digits.as_ref().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}"));
    stem.collect::<String>() + BEFORE + &digits.collect::<String>()
}

/// A text that looks like another's fitted one gets a digest of its own.
fn seems_fitted(text: &str) -> bool {
    let hex = |digits: &str| {
        digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    text.rsplit_once(BEFORE).is_some_and(|(_, digits)| hex(digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["main", "release-1_2", "a"] {
            assert_eq!(name(text), text);
        }
        assert_eq!(session("bk-main@2"), "bk-main@2");
        assert_eq!(tag("feature/JIRA-1 и 支"), "feature/JIRA-1 и 支");
        assert_eq!(tag(""), "");
    }

    #[test]
    fn what_does_not_is_replaced_cut_and_told_apart() {
        assert_eq!(session("bk-feature/JIRA-1"), format!("bk-feature-JIRA-1--{}", "7bb1971284c8bf1c9fc9"));
        assert_ne!(session("bk-feature/JIRA-1"), session("bk-feature#JIRA-1"));
        assert_eq!(session(&"x".repeat(90)).len(), 64);
        assert_eq!(session("a").len(), 23);
        assert!(tag("#2-bit-ref-r").starts_with("-2-bit-ref-r--"));
    }

    proptest! {
        #[test]
        fn a_fitted_text_is_within_its_place(text in any::<String>()) {
            prop_assert!((2..=64).contains(&session(&text).len()));
            prop_assert!(session(&text).chars().all(in_session));
            prop_assert!(tag(&text).chars().count() <= 256 && tag(&text).chars().all(in_tag));
            prop_assert!((1..=63).contains(&name(&text).len()));
        }

        #[test]
        fn no_text_takes_the_fitted_form_of_another(text in any::<String>()) {
            for fit in [session, tag, name] {
                let fitted = fit(&text);
                prop_assert!(fitted == text || fit(&fitted) != fitted);
            }
        }
    }
}
