//! The forms in which a secret can turn up: in the log of a step, in what a server says about it.
//!
//! The agent hides a registered text and its Go-quoted form, whole; a line break in it stands for any white space. It
//! does not hide parts of it, nor encodings (read in buildkite/agent `internal/redact` and `internal/replacer`).

use std::collections::BTreeSet;

use super::{Secret, can_be_hidden, encoded, parts, quoted};

/// The most texts that the redactor is told for one secret. It compares each byte of a log with all of them.
pub const MOST: usize = 512;

/// What the log is to hide for one secret.
#[derive(Debug, Default)]
pub struct Forms {
    /// The texts, the most telling first: the secret, the texts inside of it, their lines, then the other forms.
    pub texts: Vec<Secret>,
    /// How many more there are.
    pub left_out: usize,
}

/// Everything to hide in a log for one secret: itself, the texts inside of it, each of their lines, quoted and encoded.
pub fn forms(secret: &Secret) -> Forms {
    let parts = parts::of(secret.expose());
    let mut found: Vec<String> = parts.texts.clone();
    found.extend(parts.lines.iter().cloned());
    for text in &parts.texts {
        found.extend(quoted::all(text));
        found.extend(encoded::all(text.as_bytes()));
        // As part of a JSON text that somebody encoded.
        found.extend(encoded_otherwise(text, &quoted::json(text)));
    }
    for line in &parts.lines {
        found.extend(quoted::of_a_line(line));
    }
    let mut texts = distinct(found);
    let left_out = texts.len().saturating_sub(MOST) + parts.left_out;
    texts.truncate(MOST);
    Forms { texts: texts.into_iter().map(Secret::new).collect(), left_out }
}

/// What a file of bytes that are no text looks like in a log.
pub fn of_bytes(bytes: &[u8]) -> Forms {
    let texts = distinct(encoded::all(bytes));
    Forms { texts: texts.into_iter().map(Secret::new).collect(), left_out: 0 }
}

/// Everything that a server can say of a secret that it was sent: the same, as programs quote in their messages, and in
/// the forms in which it was sent. What a log may show on several lines are several texts here.
pub(super) fn echoes(secret: &Secret) -> Vec<Secret> {
    let mut found = Vec::new();
    found.extend(forms(secret).texts.iter().map(|form| form.expose().to_owned()));
    for text in parts::of(secret.expose()).texts {
        let wrapped = encoded::wrapped(text.as_bytes());
        found.extend(wrapped.iter().flat_map(|text| text.split('\n')).map(str::to_owned));
        found.extend(quoted::by_programs(&text));
        let sent: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        // `Authorization: Basic` of an OAuth client holds both parts form-encoded (RFC 6749, 2.3.1).
        found.extend(encoded_otherwise(&text, &sent));
    }
    distinct(found).into_iter().map(Secret::new).collect()
}

/// The base64 of a text as it was written before it was encoded, where that is not as it is.
fn encoded_otherwise(text: &str, written: &str) -> Vec<String> {
    if written == text { Vec::new() } else { encoded::base64(written.as_bytes()) }
}

/// Each once, and none that is too short to be hidden.
fn distinct(found: Vec<String>) -> Vec<String> {
    // Most differ in their first bytes: to compare them costs less than to hash them whole.
    let mut seen = BTreeSet::new();
    let new: Vec<bool> = found.iter().map(|form| can_be_hidden(form) && seen.insert(form)).collect();
    drop(seen);
    found.into_iter().zip(new).filter_map(|(form, new)| new.then_some(form)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        forms(&Secret::new(text)).texts.iter().map(|form| form.expose().to_owned()).collect()
    }

    #[track_caller]
    fn hides(text: &str, all: &[&str]) {
        let forms = shown(text);
        for form in all {
            assert!(forms.iter().any(|known| known == form), "{form} in {forms:#?}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_hidden_and_its_armour_is_not() {
        let forms = shown("-----BEGIN KEY-----\nMIIEabc/def+\nqrs\nxyzxyz\n-----END KEY-----\n");
        assert!(forms.contains(&"MIIEabc/def+".to_owned()));
        assert!(forms.contains(&"xyzxyz".to_owned()));
        assert!(!forms.iter().any(|form| form == "-----BEGIN KEY-----" || form == "qrs"));
    }

    #[test]
    fn escaped_forms_are_hidden() {
        hides(
            "pa\"ss/w'rd",
            &[
                r#"pa\"ss/w'rd"#,
                r#"pa\"ss\/w'rd"#,
                "pa%22ss%2Fw%27rd",
                "pa%22ss%2fw%27rd",
                "pa%22ss/w%27rd",
                "pa%22ss%2Fw'rd",
                "pa%22ss/w'rd",
                r#"pa"ss/w'\''rd"#,
            ],
        );
    }

    #[test]
    fn the_texts_of_a_structure_are_hidden_and_its_numbers_are_not() {
        let json = r#"{"user":"loader","db":{"password":"deep-\"one\""},"port":543210,"ok":true,
            "key":"-----BEGIN K-----\nMIIEline1\n-----END K-----","in":"{\"token\":\"within-json\"}"}"#;
        hides(json, &["loader", "deep-\"one\"", "MIIEline1", "within-json"]);
        assert!(!shown(json).iter().any(|form| form == "543210"));
        hides("A=1\nexport PASSWORD=\"quoted one\"\ntoken: of-yaml\n", &["quoted one", "of-yaml"]);
        hides("postgres://me:p%40ssword@db/app", &["p%40ssword", "p@ssword"]);
        hides("Server=tcp:x;Password=connects;", &["connects"]);
    }

    #[test]
    fn a_key_whose_line_breaks_are_escaped_is_hidden_line_by_line() {
        hides(r"-----BEGIN K-----\nMIIEfirst\nMIIEsecond\n-----END K-----", &["MIIEfirst", "MIIEsecond"]);
    }

    #[test]
    fn wrapped_base64_is_hidden_over_its_line_ends() {
        let secret = "x".repeat(200);
        for (before, width) in [("", 76), ("a", 76), ("ab", 64)] {
            let whole = STANDARD.encode(format!("{before}{secret}\n"));
            let lines: Vec<&str> =
                whole.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let wrapped = lines.join("\n");
            let hidden =
                shown(&secret).into_iter().find(|form| form.contains('\n') && wrapped.contains(form));
            assert!(hidden.unwrap().len() + 8 > wrapped.len());
        }
    }

    #[test]
    fn a_secret_of_many_parts_has_a_bound_and_says_what_is_left_out() {
        let many: Vec<String> = (0..3000).map(|number| format!("part/number+{number}")).collect();
        let forms = forms(&Secret::new(serde_json::to_string(&many).unwrap()));
        assert_eq!(forms.texts.len(), MOST);
        assert!(forms.left_out > 2000);
    }

    proptest! {
        #[test]
        fn base64_of_any_text_around_the_secret_holds_a_hidden_form(
            before in "[ -~]{0,7}", secret in "[!-~]{9,40}", after in "[ -~]{0,7}"
        ) {
            let forms = shown(&secret);
            let whole = format!("{before}{secret}{after}");
            for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                prop_assert!(forms.iter().any(|form| text.contains(form.as_str())), "{} {:?}", text, forms);
            }
        }
    }
}
