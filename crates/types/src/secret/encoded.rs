//! A text as base64 and hexadecimal digits show it, on one line and on several.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Where encoders break lines: GNU and MIME, OpenSSL and PEM.
const WIDTHS: [usize; 2] = [76, 64];

/// Where `xxd -p` breaks lines.
const HEX_WIDTH: usize = 60;

/// Every encoding of these bytes.
pub(super) fn all(bytes: &[u8]) -> Vec<String> {
    let mut found = base64(bytes);
    found.extend(wrapped(bytes));
    let lower = hexadecimal(bytes);
    found.push(lower.to_ascii_uppercase());
    if lower.len() > HEX_WIDTH {
        found.push(broken(&lower, 0, HEX_WIDTH));
    }
    found.push(lower);
    found
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 });
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        digits.push(digit(byte >> 4));
        digits.push(digit(byte & 15));
    }
    digits
}

/// The characters of base64 that depend on the secret alone, wherever in a longer text it stands: one
/// form for each of the three alignments, in the standard and the URL-safe alphabet (RFC 4648).
pub(super) fn base64(bytes: &[u8]) -> Vec<String> {
    let both = |shift: usize| {
        [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
            .map(|engine| own(&engine.encode(shifted(bytes, shift)), bytes, shift))
    };
    (0..3).flat_map(both).collect()
}

/// The same where lines were broken, for a text that begins with the secret or with a character or two before it. The
/// redactor takes a line break for any white space.
pub(super) fn wrapped(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for shift in 0..3 {
        let whole = STANDARD_NO_PAD.encode(shifted(bytes, shift));
        let own = own(&whole, bytes, shift);
        let before = (shift * 8).div_ceil(6);
        found.extend(
            WIDTHS.iter().filter(|width| whole.len() > **width).map(|width| broken(&own, before, *width)),
        );
    }
    found
}

fn shifted(bytes: &[u8], shift: usize) -> Vec<u8> {
    let mut shifted = vec![0; shift];
    shifted.extend_from_slice(bytes);
    shifted
}

/// Characters that also hold bits of what stands before or after are left out.
fn own(encoded: &str, bytes: &[u8], shift: usize) -> String {
    let (from, to) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
    encoded.get(from..to).unwrap_or_default().to_owned()
}

/// `text`, before which `before` characters stand on its first line, in lines of `width`.
fn broken(text: &str, before: usize, width: usize) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / width + 1);
    let (mut rest, mut room) = (text, width - before);
    while let Some((line, more)) = rest.split_at_checked(room).filter(|(_, more)| !more.is_empty()) {
        lines.push_str(line);
        lines.push('\n');
        (rest, room) = (more, width);
    }
    lines.push_str(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_where_their_width_ends_and_no_line_is_empty() {
        assert_eq!(broken("", 0, 4), "");
        assert_eq!(broken("abcd", 0, 4), "abcd");
        assert_eq!(broken("abcde", 0, 4), "abcd\ne");
        assert_eq!(broken("abcdefghi", 3, 4), "a\nbcde\nfghi");
        assert_eq!(hexadecimal(&[0, 0x9a, 0xff]), "009aff");
    }
}
