//! Bodies as servers send them: encoded unasked (RFC 9110, section 8.4), with a byte order mark, padded.

use std::io::Read;

use ::http::{HeaderMap, header};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zeroize::Zeroizing;

use super::error::{Error, MAX_BODY};

/// Names under which servers send a body as it is.
const NONE: [&str; 4] = ["identity", "none", "utf-8", "aws-chunked"];

/// How often one body may be encoded.
const MAX_ENCODINGS: usize = 2;

/// The body that a server meant, of at most [`MAX_BODY`] bytes however little was sent.
pub(super) fn decoded(
    mut body: Zeroizing<Vec<u8>>,
    headers: &HeaderMap,
    host: &str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let named = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    let encodings: Vec<String> =
        named.filter(|name| !name.is_empty() && !NONE.contains(&name.as_str())).collect();
    if body.is_empty() {
        return Ok(body);
    }
    if encodings.len() > MAX_ENCODINGS {
        return Err(unread(host, &encodings.join(", ")));
    }
    for encoding in encodings.iter().rev() {
        let bytes = body.as_slice();
        body = match encoding.as_str() {
            "gzip" | "x-gzip" => inflated(MultiGzDecoder::new(bytes), host, encoding)?,
            // Some send what the name says and not what it means (RFC 9110, section 8.4.1.2).
            "deflate" if is_zlib(bytes) => inflated(ZlibDecoder::new(bytes), host, encoding)?,
            "deflate" => inflated(DeflateDecoder::new(bytes), host, encoding)?,
            _ => return Err(unread(host, encoding)),
        };
    }
    Ok(plain(body))
}

/// Whether this begins as zlib does (RFC 1950, section 2.2).
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn inflated(reader: impl Read, host: &str, encoding: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut whole = Zeroizing::new(Vec::new());
    let mut bounded = reader.take(MAX_BODY as u64 + 1);
    bounded.read_to_end(&mut whole).map_err(|_| unread(host, encoding))?;
    if whole.len() > MAX_BODY { Err(Error::TooLong { host: host.to_owned() }) } else { Ok(whole) }
}

fn unread(host: &str, encoding: &str) -> Error {
    let encoding = encoding.chars().filter(char::is_ascii_graphic).take(40).collect();
    Error::Encoding { host: host.to_owned(), encoding }
}

/// UTF-8 without a byte order mark, and without what pads its end.
fn plain(body: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let wide = |of: fn([u8; 2]) -> u16, rest: &[u8]| {
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(rest.as_chunks::<2>().0.iter().map(|pair| of(*pair)).collect());
        Zeroizing::new(String::from_utf16_lossy(&units).into_bytes())
    };
    let mut body = match body.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => Zeroizing::new(rest.to_vec()),
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        _ => body,
    };
    while body.last() == Some(&0) {
        body.pop();
    }
    body
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn read(body: &[u8], encoding: &str) -> Result<Vec<u8>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        let body = decoded(Zeroizing::new(body.to_vec()), &headers, "h.test");
        body.map(|body| body.to_vec()).map_err(|error| error.to_string())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_encoded_unasked_is_read() {
        let text = br#"{"access_token":"a"}"#;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        for (body, encoding) in [
            (gzip(text), "gzip"),
            (gzip(text), "X-GZIP"),
            (gzip(&gzip(text)), "gzip, gzip"),
            (zlib.finish().unwrap(), "deflate"),
            (raw.finish().unwrap(), "deflate"),
            (text.to_vec(), "identity"),
            (text.to_vec(), "utf-8"),
            (text.to_vec(), "none"),
            (text.to_vec(), ""),
        ] {
            assert_eq!(read(&body, encoding).as_deref(), Ok(&text[..]), "{encoding}");
        }
        assert_eq!(read(b"", "br").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_grows_past_all_bounds_or_is_no_such_encoding_is_told() {
        let bomb = gzip(&vec![b' '; MAX_BODY + 1]);
        assert!(bomb.len() < 10_000);
        assert_eq!(read(&bomb, "gzip").unwrap_err(), "`h.test` answered more than 1048576 bytes");
        let cut = &gzip(b"{}")[..12];
        for (body, encoding) in [(&b"{}"[..], "gzip"), (cut, "gzip"), (b"x", "br"), (b"{}", "deflate")] {
            let said = read(body, encoding).unwrap_err();
            assert!(said.contains(&format!("content encoding `{encoding}`")), "{said}");
        }
        assert!(read(b"x", "gzip, gzip, gzip").is_err());
    }

    #[test]
    fn a_body_is_read_whatever_stands_around_its_text() {
        let wide =
            |order: fn(u16) -> [u8; 2]| "\u{feff}{}".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for body in
            [&b"{}"[..], b"\xef\xbb\xbf{}", b"{}\0\0", &wide(u16::to_le_bytes), &wide(u16::to_be_bytes)]
        {
            assert_eq!(read(body, "identity").as_deref(), Ok(&b"{}"[..]), "{body:?}");
        }
    }
}
