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
    let lower: String = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect();
    found.push(lower.to_ascii_uppercase());
    if lower.len() > HEX_WIDTH {
        found.push(broken(&lower, 0, HEX_WIDTH));
    }
    found.push(lower);
    found
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
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
    for (at, c) in text.chars().enumerate() {
        if at > 0 && (at + before).is_multiple_of(width) {
            lines.push('\n');
        }
        lines.push(c);
    }
    lines
}
