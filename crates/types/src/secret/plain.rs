//! What a text means that is written down escaped: the text itself.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The longest word of a shell that is read, in bytes.
const WORD: usize = 16 << 10;

/// The text that base64 holds, in either alphabet, on one line or on several. `None` for bytes that are no text.
pub(super) fn of_base64(text: &str) -> Option<String> {
    const FRONT: usize = 16;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    let front = text.as_bytes().get(..FRONT).filter(|front| front.iter().all(|byte| is_digit(*byte)));
    // Most secrets are random: their front tells it.
    if front.is_some_and(|front| !could_be_text(&decode(front).unwrap_or_default())) {
        return None;
    }
    let text = text.trim_end_matches(|c: char| c == '=' || c.is_whitespace());
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if digits.len() < 8 || !digits.iter().all(|byte| is_digit(*byte)) {
        return None;
    }
    let decoded = String::from_utf8(decode(&digits)?).ok()?;
    decoded.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).then_some(decoded)
}

fn could_be_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A character is cut at the end.
        Err(error) if error.error_len().is_none() => return true,
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let digits: Vec<u8> = digits.iter().map(standard).collect();
    GeneralPurpose::new(&STANDARD, config).decode(digits).ok()
}

/// A text in which `%XX` stands for a byte.
pub(super) fn of_percent(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    (decoded != text).then(|| decoded.into_owned())
}

/// A text as JSON, TOML, YAML, Java's properties and C escape it: each escape of any of them is read.
pub(super) fn of_escapes(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut units = Vec::new();
    let mut chars = text.chars();
    let push = |units: &mut Vec<u16>, c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        let Some(escape) = escape else {
            push(&mut units, c);
            continue;
        };
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = chars.as_str().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match (code, escape) {
            (Some(code), _) => {
                chars = chars.as_str().get(digits..).unwrap_or_default().chars();
                match (char::from_u32(code), u16::try_from(code)) {
                    (Some(c), _) => push(&mut units, c),
                    // Half of a pair.
                    (None, Ok(unit)) => units.push(unit),
                    (None, Err(_)) => push(&mut units, char::REPLACEMENT_CHARACTER),
                }
            }
            (None, 'n') => push(&mut units, '\n'),
            (None, 't') => push(&mut units, '\t'),
            (None, 'r') => push(&mut units, '\r'),
            (None, 'b') => push(&mut units, '\u{8}'),
            (None, 'f') => push(&mut units, '\u{c}'),
            (None, 'a') => push(&mut units, '\u{7}'),
            (None, 'v') => push(&mut units, '\u{b}'),
            (None, 'e' | 'E') => push(&mut units, '\u{1b}'),
            (None, '\n') => {}
            (None, other) => push(&mut units, other),
        }
    }
    Some(String::from_utf16_lossy(&units))
}

/// A text of XML or HTML without its entities.
pub(super) fn of_entities(text: &str) -> Option<String> {
    if !text.contains('&') {
        return None;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let entity = after.split_once(';').and_then(|(name, after)| Some((entity(name)?, after)));
        plain.push(entity.map_or('&', |(c, _)| c));
        rest = entity.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    Some(plain)
}

fn entity(name: &str) -> Option<char> {
    let code = name.strip_prefix('#').and_then(|code| match code.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => code.parse().ok(),
    });
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => char::from_u32(code?),
    }
}

/// The word of a shell at the front of a text, without its quotes. `None` where a quote is not closed.
pub(super) fn of_shell(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        let after = text.get(at + c.len_utf8()..)?;
        match c {
            _ if at > WORD => return None,
            '\\' => word.extend(chars.next().map(|(_, c)| c).filter(|c| *c != '\n')),
            '$' if after.starts_with('\'') => {
                let inner = after.get(1..)?;
                let inner = inner.get(..closing(inner, '\'', true)?)?;
                word.push_str(&of_escapes(inner).unwrap_or_else(|| inner.to_owned()));
                chars.nth(inner.chars().count() + 1);
            }
            '\'' | '"' => {
                let length = closing(after, c, c == '"')?;
                let inner = after.get(..length)?;
                word.push_str(&if c == '"' { in_double_quotes(inner) } else { inner.to_owned() });
                chars.nth(inner.chars().count());
            }
            ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
            c if c.is_whitespace() => break,
            c => word.push(c),
        }
    }
    Some(word)
}

fn in_double_quotes(inner: &str) -> String {
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && "\"\\$`\n".contains(*next) => {
                plain.extend(chars.next().filter(|c| *c != '\n'));
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// Where a quote ends that has begun; one behind a backslash ends none where that `escapes`.
pub(super) fn closing(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at);
        }
        if at > WORD {
            return None;
        }
        if escapes && c == '\\' {
            chars.next();
        }
    }
    None
}
