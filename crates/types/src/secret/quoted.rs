//! A text as shells, programs and libraries quote it.
//!
//! Each form is what stands between the quotes. `tests/it/printed.rs` holds them against the programs themselves.

use std::fmt::Write as _;

/// Every way in which a step's tools print a text that they quote.
pub(super) fn all(text: &str) -> Vec<String> {
    if text.bytes().all(is_plain) {
        return Vec::new();
    }
    // What base64 is made of stays as it is but in a URL, and behind the backslash of some writers of JSON.
    if text.bytes().all(is_of_base64) {
        return percent(text).chain([text.replace('/', r"\/")]).collect();
    }
    all_of(text)
}

fn all_of(text: &str) -> Vec<String> {
    let mut found = of_a_line(text);
    // A shell that is not told to leave white space alone; the redactor takes a line break for any of it.
    let words = || text.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    found.extend(text.contains([' ', '\t', '\n']).then(|| words().join("\n")));
    found.extend(percent(text));
    let json = json(text);
    found.extend([
        json.replace('/', r"\/"),
        json_ascii(&json),
        json.replace('\u{7f}', "\\u007f"),
        json_html(&json),
        in_double_quotes(text),
        with_backslashes(text),
        text.replace('\'', r#"'"'"'"#),
        html(text, "&#39;", "&#34;"),
        html(text, "&#x27;", "&quot;"),
        html(text, "&apos;", "&quot;"),
        html(text, "&#39;", "&quot;"),
    ]);
    found.extend(twice(text));
    found.extend(ansi(text));
    found.extend(python(text));
    found
}

/// As CSV, SQL and YAML write a quote, as jq's `@tsv` writes a backslash, and JSON inside of JSON.
fn twice(text: &str) -> Vec<String> {
    if !text.contains(|c: char| c.is_control() || !c.is_ascii() || matches!(c, '"' | '\'' | '\\')) {
        return Vec::new();
    }
    let tabs = each(text, |c, form| match c {
        '\\' => form.push_str("\\\\"),
        '\t' => form.push_str("\\t"),
        '\n' => form.push_str("\\n"),
        '\r' => form.push_str("\\r"),
        c => form.push(c),
    });
    vec![
        text.replace('"', "\"\""),
        text.replace('\'', "''"),
        tabs,
        json(&json(text)),
        json(&json_ascii(text)),
    ]
}

/// The same for one line of several: what prints a part of a text rarely encodes it.
pub(super) fn of_a_line(text: &str) -> Vec<String> {
    if text.bytes().all(is_of_base64) {
        return Vec::new();
    }
    vec![json(text), text.replace('\'', r"'\''")]
}

/// As programs quote a text in their own messages: Go's `%q`, which the agent sees to by itself, and Rust's `Debug`.
pub(super) fn by_programs(text: &str) -> Vec<String> {
    if text.bytes().all(is_of_base64) {
        return Vec::new();
    }
    let debug = format!("{text:?}");
    let debug = debug.get(1..debug.len().saturating_sub(1)).unwrap_or_default().to_owned();
    vec![go(text, false), go(text, true), debug]
}

/// What nobody quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// What base64 is made of, of either alphabet, and what is never quoted.
fn is_of_base64(byte: u8) -> bool {
    is_plain(byte) || b"+/=".contains(&byte)
}

/// `text` with each character as `write` has it.
fn each(text: &str, mut write: impl FnMut(char, &mut String)) -> String {
    let mut form = String::with_capacity(text.len() * 2);
    text.chars().for_each(|c| write(c, &mut form));
    form
}

fn is_graphic(c: char) -> bool {
    c.is_ascii_graphic() || c == ' '
}

/// As Python, Go and Rust see it; behind a letter, where Rust shows a mark that combines with it.
fn is_printable(c: char) -> bool {
    is_graphic(c) || (!c.is_ascii() && !format!("{:?}", format!("a{c}")).contains('\\'))
}

pub(super) fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// As Python's `json.dumps` and `jq -a` write it.
fn json_ascii(json: &str) -> String {
    each(json, |c, form| match c {
        ' '..='~' => form.push(c),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _written = write!(form, "\\u{unit:04x}");
            }
        }
    })
}

/// As Go's `json.Marshal` writes it, for what may stand in a page.
fn json_html(json: &str) -> String {
    each(json, |c, form| match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            let _written = write!(form, "\\u{:04x}", u32::from(c));
        }
        c => form.push(c),
    })
}

/// As bash's `declare -p` and `export -p` show it.
fn in_double_quotes(text: &str) -> String {
    each(text, |c, form| {
        if matches!(c, '"' | '$' | '`' | '\\') {
            form.push('\\');
        }
        form.push(c);
    })
}

/// As bash's `printf %q` shows it (`sh_backslash_quote`).
fn with_backslashes(text: &str) -> String {
    let mut form = String::with_capacity(text.len() * 2);
    for (at, c) in text.char_indices() {
        if " '\"\\|&;()<>!{}*[]?^$`,".contains(c) || (at == 0 && "~#".contains(c)) {
            form.push('\\');
        }
        form.push(c);
    }
    form
}

/// As bash quotes what holds control characters (`$'…'`), in a locale that knows the others, and in one that does not.
fn ansi(text: &str) -> impl Iterator<Item = String> {
    let escaped = |only_ascii: bool| {
        each(text, |c, form| {
            let short = match c {
                '\n' => 'n',
                '\t' => 't',
                '\r' => 'r',
                '\u{7}' => 'a',
                '\u{8}' => 'b',
                '\u{b}' => 'v',
                '\u{c}' => 'f',
                '\u{1b}' => 'E',
                '\\' | '\'' => c,
                // What the C library calls printable (`iswprint`).
                c if is_graphic(c)
                    || !(only_ascii || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) =>
                {
                    return form.push(c);
                }
                c => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        let _written = write!(form, "\\{byte:03o}");
                    }
                    return;
                }
            };
            form.extend(['\\', short]);
        })
    };
    [escaped(false), escaped(true)].into_iter()
}

/// As Python's `repr` and `ascii` show it, and `repr` of its bytes.
fn python(text: &str) -> impl Iterator<Item = String> {
    // It takes single quotes unless they alone stand in the text.
    let escapes_single = text.contains('\'') && text.contains('"');
    let escaped = |plain: fn(char) -> bool| {
        each(text, |c, form| {
            let _written = match c {
                '\n' => write!(form, "\\n"),
                '\t' => write!(form, "\\t"),
                '\r' => write!(form, "\\r"),
                '\\' => write!(form, "\\\\"),
                '\'' if escapes_single => write!(form, "\\'"),
                c if plain(c) => write!(form, "{c}"),
                c if u32::from(c) <= 0xff => write!(form, "\\x{:02x}", u32::from(c)),
                c if u32::from(c) <= 0xffff => write!(form, "\\u{:04x}", u32::from(c)),
                c => write!(form, "\\U{:08x}", u32::from(c)),
            };
        })
    };
    let bytes = each(&escaped(|c| !c.is_ascii() || is_graphic(c)), |c, form| {
        if c.is_ascii() {
            return form.push(c);
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _written = write!(form, "\\x{byte:02x}");
        }
    });
    [escaped(is_printable), escaped(is_graphic), bytes].into_iter()
}

/// As Go's `%q` shows it, or `%+q`.
fn go(text: &str, only_ascii: bool) -> String {
    each(text, |c, form| {
        let _written = match c {
            '\n' => write!(form, "\\n"),
            '\t' => write!(form, "\\t"),
            '\r' => write!(form, "\\r"),
            '\u{7}' => write!(form, "\\a"),
            '\u{8}' => write!(form, "\\b"),
            '\u{b}' => write!(form, "\\v"),
            '\u{c}' => write!(form, "\\f"),
            '\\' | '"' => write!(form, "\\{c}"),
            c if is_graphic(c) => write!(form, "{c}"),
            c if !only_ascii && is_printable(c) => write!(form, "{c}"),
            c if c.is_ascii() => write!(form, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => write!(form, "\\u{:04x}", u32::from(c)),
            c => write!(form, "\\U{:08x}", u32::from(c)),
        };
    })
}

/// As it stands in XML and HTML, with one of the usual escapes of each quote.
fn html(text: &str, single: &str, double: &str) -> String {
    each(text, |c, form| match c {
        '&' => form.push_str("&amp;"),
        '<' => form.push_str("&lt;"),
        '>' => form.push_str("&gt;"),
        '\'' => form.push_str(single),
        '"' => form.push_str(double),
        c => form.push(c),
    })
}

/// As the usual functions write a text into a URL: they differ in what they leave as it is, beside
/// letters, digits and `-._`, and in the case of their digits.
fn percent(text: &str) -> impl Iterator<Item = String> {
    // RFC 3986 and Python's quote; JavaScript's encodeURIComponent and encodeURI; Go's PathEscape.
    let kept = ["~", "~/", "~!*'()", "~!*'();,/?:@&=+$#", "~$&+:=@"];
    let form = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let others = kept.into_iter().flat_map(move |kept| {
        [b"0123456789ABCDEF", b"0123456789abcdef"].map(|digits| {
            let mut form = String::with_capacity(text.len() * 3);
            for byte in text.bytes() {
                if is_plain(byte) || kept.as_bytes().contains(&byte) {
                    form.push(char::from(byte));
                } else {
                    let digit =
                        |value: u8| digits.get(usize::from(value)).map_or('0', |digit| char::from(*digit));
                    form.extend(['%', digit(byte >> 4), digit(byte & 15)]);
                }
            }
            form
        })
    });
    // Python's quote_plus and Go's QueryEscape keep what the first does, the standard's own form (form) what it does.
    let plus = others.clone().next().filter(|_| text.contains(' ')).map(|first| first.replace("%20", "+"));
    others.chain([form]).chain(plus)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_base64_is_made_of_has_no_other_forms_than_the_few_that_are_made(text in "[A-Za-z0-9._+/=-]{1,40}") {
            let forms = |found: Vec<String>| found.into_iter().chain([text.clone()]).collect::<BTreeSet<_>>();
            prop_assert_eq!(forms(all(&text)), forms(all_of(&text)));
            for form in [json(&text), text.replace('\'', r"'\''"), go(&text, false), go(&text, true)] {
                prop_assert_eq!(&form, &text);
            }
        }
    }
}
