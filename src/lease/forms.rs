//! The forms in which a secret can turn up in a log, each to be told to the redactor.
//!
//! The agent hides a registered text and its Go-quoted form, whole; it does not hide single lines of a
//! text of several, nor encodings (read in buildkite/agent `internal/redact`).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::secret::{MIN_LENGTH, Secret};

/// Everything to hide for one secret: itself, each of its lines, escaped and encoded.
pub fn forms(secret: &Secret) -> Vec<Secret> {
    let text = secret.expose();
    let mut found = BTreeSet::from([text.to_owned()]);
    let lines = || text.lines().map(str::trim).filter(|line| !is_armour(line));
    if text.contains('\n') {
        found.extend(lines().map(str::to_owned));
    }
    for part in std::iter::once(text).chain(lines()) {
        found.extend([json(part), json(part).replace('/', r"\/"), shell(part)]);
        found.extend(percent(part));
    }
    found.extend(encoded(text.as_bytes()));
    found.into_iter().filter(|form| form.len() >= MIN_LENGTH).map(Secret::new).collect()
}

/// `-----BEGIN CERTIFICATE-----` is in a thousand logs and no secret.
fn is_armour(line: &str) -> bool {
    line.starts_with("-----") && line.ends_with("-----")
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.trim_matches('"').to_owned()
}

/// As the usual functions write a text into a URL: they differ in what they leave as it is, beside
/// letters, digits and `-._`, and in the case of their digits.
fn percent(text: &str) -> impl Iterator<Item = String> {
    // RFC 3986 and Python's quote; JavaScript's encodeURIComponent and encodeURI; Go's PathEscape.
    let kept = ["~", "~/", "~!*'()", "~!*'();,/?:@&=+$#", "~$&+:=@"];
    let form = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let plain = |byte: u8, kept: &str| {
        byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || kept.as_bytes().contains(&byte)
    };
    let upper = |byte: u8| format!("%{byte:02X}");
    let lower = |byte: u8| format!("%{byte:02x}");
    let others = kept.into_iter().flat_map(move |kept| {
        [upper, lower].map(|escaped: fn(u8) -> String| {
            text.bytes()
                .map(|byte| if plain(byte, kept) { char::from(byte).to_string() } else { escaped(byte) })
                .collect()
        })
    });
    others.chain([form])
}

/// As `printf %q` and `set -x` show it.
fn shell(text: &str) -> String {
    text.replace('\'', r"'\''")
}

/// The characters of base64 that depend on the secret alone, wherever in a longer text it stands: one
/// form for each of the three alignments, in the standard and the URL-safe alphabet (RFC 4648).
fn encoded(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(bytes);
        // Characters that also hold bits of what stands before or after are left out.
        let (from, to) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            if let Some(form) = engine.encode(&shifted).get(from..to) {
                found.push(form.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        forms(&Secret::new(text)).iter().map(|form| form.expose().to_owned()).collect()
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
        let forms = shown("pa\"ss/w'rd");
        for form in [
            r#"pa\"ss/w'rd"#,
            r#"pa\"ss\/w'rd"#,
            "pa%22ss%2Fw%27rd",
            "pa%22ss%2fw%27rd",
            "pa%22ss/w%27rd",
            "pa%22ss%2Fw'rd",
            "pa%22ss/w'rd",
            r#"pa"ss/w'\''rd"#,
        ] {
            assert!(forms.contains(&form.to_owned()), "{form} in {forms:?}");
        }
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
