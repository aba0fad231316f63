//! Quotes and what a backslash means between them.

use super::Problem;

/// Where `quote` stands next that no backslash takes away.
pub(super) fn closing(text: &str, from: usize, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.get(from..)?.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(from + index),
            _ => {}
        }
    }
    None
}

/// What the backslash at `at` and what follows it stand for in double quotes, and where it goes on.
pub(super) fn double(raw: &str, at: usize) -> Result<(Vec<u8>, usize), Problem> {
    let rest = raw.get(at + 1..).unwrap_or_default();
    let Some(next) = rest.chars().next() else {
        return Err(Problem::at(at, "saw a backslash at the end of a text"));
    };
    let after = at + 1 + next.len_utf8();
    let one = |byte: u8| Ok((vec![byte], after));
    match next {
        'n' => one(b'\n'),
        's' => one(b' '),
        'r' => one(b'\r'),
        't' => one(b'\t'),
        'v' => one(0x0b),
        'f' => one(0x0c),
        'b' => one(0x08),
        'a' => one(0x07),
        'e' => one(0x1b),
        'x' => match rest.get(1..3).and_then(|digits| from_digits(digits, 16)) {
            Some(byte) => Ok((vec![byte], after + 2)),
            None => one(b'x'),
        },
        '0'..='7' => {
            let digits: String = rest.chars().take(3).take_while(|c| c.is_digit(8)).collect();
            let byte = from_digits(&digits, 8);
            let byte = byte.ok_or_else(|| {
                Problem::at(at, format!("saw `\\{digits}`, which is no byte: expected \\377 at most"))
            })?;
            Ok((vec![byte], at + 1 + digits.len()))
        }
        _ => Ok((next.to_string().into_bytes(), after)),
    }
}

fn from_digits(digits: &str, radix: u32) -> Option<u8> {
    // A sign is a digit to the standard library.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u8::from_str_radix(digits, radix).ok())?
}

/// What the backslash at `at` stands for in single quotes, and where it goes on: only the quote and itself.
pub(super) fn single(raw: &str, at: usize) -> (String, usize) {
    match raw.get(at + 1..).and_then(|rest| rest.chars().next()) {
        Some(next @ ('\\' | '\'')) => (next.to_string(), at + 2),
        Some(next) => (format!("\\{next}"), at + 1 + next.len_utf8()),
        None => ("\\".to_owned(), at + 1),
    }
}

/// A text in double quotes in which nothing is expanded.
pub(super) fn unescaped(raw: &str) -> Result<String, Problem> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(next) = raw.get(at..).and_then(|rest| rest.chars().next()) {
        if next == '\\' {
            let (bytes, after) = double(raw, at)?;
            out.extend(bytes);
            at = after;
        } else {
            out.extend(next.to_string().into_bytes());
            at += next.len_utf8();
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A text in single quotes.
pub(super) fn plain(raw: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(next) = raw.get(at..).and_then(|rest| rest.chars().next()) {
        if next == '\\' {
            let (text, after) = single(raw, at);
            out.push_str(&text);
            at = after;
        } else {
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}
