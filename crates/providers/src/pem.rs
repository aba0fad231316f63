//! Private keys as they arrive: PEM (RFC 7468) that went through a shell, a form, YAML or an environment variable.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Why a key signs nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not PEM.
    #[error("it is no private key in PEM, such as `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A form that is not read.
    #[error("an EC key must be in PKCS #8: `openssl pkcs8 -topk8 -nocrypt` makes it so")]
    Sec1,
    /// Its base64 is none.
    #[error("its PEM is damaged: store the file as it is, or its base64")]
    Damaged,
    /// Its end is missing.
    #[error("its PEM has no END line: only a part of the file was stored")]
    Cut,
    /// It needs a passphrase.
    #[error("it is encrypted: `openssl pkcs8 -topk8 -nocrypt` takes the passphrase off")]
    Encrypted,
    /// Another program's form.
    #[error("it is {0}:{1} `ssh-keygen -p -m PEM -N '' -f FILE` makes PEM of an RSA key")]
    Foreign(&'static str, &'static str),
    /// The other half, or a certificate.
    #[error("it is {0}, and no private key")]
    NotPrivate(&'static str),
    /// A whole document.
    #[error("it is JSON: name the key of it that holds the PEM, such as `private_key`")]
    Json,
    /// A kind that is not known.
    #[error("it is neither an RSA key of 2048 to 4096 bits nor a P-256 key ({0})")]
    Unknown(String),
    /// The signature failed.
    #[error("it did not sign")]
    DidNotSign,
}

/// A key without its armour.
pub(super) enum Der {
    /// PKCS #1, of RSA alone.
    Pkcs1(Zeroizing<Vec<u8>>),
    /// PKCS #8.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// Without a name: either of them.
    Bare(Zeroizing<Vec<u8>>),
}

/// The key that a text holds: line breaks written as `\n` or lost, quotes, indentation, `\r`, a byte order mark and
/// base64 around the whole are undone.
pub(super) fn read(text: &str) -> Result<Der, Unusable> {
    match armoured(text)? {
        Some(der) => Ok(der),
        None => unarmoured(text),
    }
}

/// A text without lines of PEM: base64 of one that has them, or of the key itself.
fn unarmoured(text: &str) -> Result<Der, Unusable> {
    let foreign = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if foreign.starts_with('{') {
        return Err(Unusable::Json);
    }
    if foreign.starts_with("PuTTY-User-Key-File") {
        return Err(Unusable::Foreign("a key of PuTTY", " export it with PuTTYgen as an OpenSSH key, then"));
    }
    let bytes = decoded(text).ok_or(Unusable::NotPem)?;
    // A sequence whose length takes two bytes, as any such key's does.
    if let [0x30, 0x81 | 0x82, ..] = bytes.as_slice() {
        return Ok(Der::Bare(bytes));
    }
    let inner = std::str::from_utf8(&bytes).map_err(|_| Unusable::NotPem)?;
    armoured(inner)?.ok_or(Unusable::NotPem)
}

/// The first private key between lines of PEM; nothing where there are no such lines.
fn armoured(text: &str) -> Result<Option<Der>, Unusable> {
    let mut rest = text;
    let mut other = None;
    while let Some((_, block)) = rest.split_once(BEGIN) {
        let (label, body) = block.split_once(DASHES).ok_or(Unusable::NotPem)?;
        let end = format!("{END}{label}{DASHES}");
        let (body, after) = body.split_once(end.as_str()).ok_or(Unusable::Cut)?;
        rest = after;
        match label {
            "RSA PRIVATE KEY" | "PRIVATE KEY" if body.contains("ENCRYPTED") => {
                return Err(Unusable::Encrypted);
            }
            "RSA PRIVATE KEY" => return bytes_of(body).map(|der| Some(Der::Pkcs1(der))),
            "PRIVATE KEY" => return bytes_of(body).map(|der| Some(Der::Pkcs8(der))),
            "EC PRIVATE KEY" => return Err(Unusable::Sec1),
            "ENCRYPTED PRIVATE KEY" => return Err(Unusable::Encrypted),
            "OPENSSH PRIVATE KEY" => return Err(Unusable::Foreign("a key of OpenSSH", "")),
            "CERTIFICATE" => other = Some("a certificate"),
            label if label.ends_with("PUBLIC KEY") => other = Some("a public key"),
            _ => {}
        }
    }
    other.map_or(Ok(None), |what| Err(Unusable::NotPrivate(what)))
}

fn bytes_of(body: &str) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    decoded(body).filter(|bytes| !bytes.is_empty()).ok_or(Unusable::Damaged)
}

/// What base64 holds, in either alphabet and whatever stands around and between it.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let lines = Zeroizing::new(text.replace("\\r", "").replace("\\n", ""));
    let noise = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '\u{feff}' | '=' | ',');
    let plain: Zeroizing<String> = Zeroizing::new(
        lines
            .chars()
            .filter(|c| !noise(*c))
            .map(|c| {
                if c == '-' {
                    '+'
                } else if c == '_' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
    );
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&ALPHABET, config).decode(plain.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    /// Something in the form of PKCS #8, over several lines.
    fn pem(label: &str, between: &str) -> String {
        let der = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        let body = STANDARD.encode(der);
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let begin = format!("{BEGIN}{label}{DASHES}");
        [&[begin.as_str()][..], &lines, &[&format!("{END}{label}{DASHES}")]].concat().join(between)
    }

    #[test]
    fn the_usual_manglings_are_undone() {
        let key = pem("PRIVATE KEY", "\n");
        let expected = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        for mangled in [
            key.clone(),
            format!("{key}\n\n"),
            format!("\u{feff}{key}\n"),
            key.replace('\n', "\r\n"),
            key.replace('\n', "\r"),
            pem("PRIVATE KEY", "\\n"),
            pem("PRIVATE KEY", "\\n") + "\\n",
            pem("PRIVATE KEY", "\\r\\n"),
            format!("\"{}\"", pem("PRIVATE KEY", "\\n")),
            format!("'{key}'"),
            pem("PRIVATE KEY", "\n    "),
            format!("  {}", pem("PRIVATE KEY", "\n\t")),
            pem("PRIVATE KEY", " "),
            pem("PRIVATE KEY", ""),
            STANDARD.encode(&key),
            URL_SAFE_NO_PAD.encode(&key),
            STANDARD
                .encode(&key)
                .as_bytes()
                .chunks(76)
                .map(|line| String::from_utf8_lossy(line) + "\n")
                .collect(),
            format!("{}\n{key}", pem("CERTIFICATE", "\n")),
        ] {
            let Ok(Der::Pkcs8(der)) = read(&mangled) else { panic!("{mangled}") };
            assert_eq!(*der, expected, "{mangled}");
        }
        assert!(matches!(read(&STANDARD.encode(&expected)), Ok(Der::Bare(_))));
        assert!(matches!(read(&pem("RSA PRIVATE KEY", "\\n")), Ok(Der::Pkcs1(_))));
    }

    #[test]
    fn what_cannot_be_undone_is_named() {
        let encrypted = pem("RSA PRIVATE KEY", "\n").replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1);
        for (text, told) in [
            (pem("EC PRIVATE KEY", "\n"), "PKCS #8"),
            (pem("ENCRYPTED PRIVATE KEY", "\n"), "encrypted"),
            (encrypted, "encrypted"),
            (pem("OPENSSH PRIVATE KEY", "\n"), "OpenSSH"),
            ("PuTTY-User-Key-File-3: ssh-rsa".into(), "PuTTY"),
            (pem("PUBLIC KEY", "\n"), "a public key"),
            (pem("CERTIFICATE", "\n"), "a certificate"),
            (pem("PRIVATE KEY", "\n").replace("-----END", "---END"), "no END line"),
            (pem("PRIVATE KEY", "\n").replace("MIIB", "M!IB"), "damaged"),
            (r#"{"private_key": "x"}"#.into(), "JSON"),
            ("hunter2hunter2".into(), "no private key in PEM"),
            (String::new(), "no private key in PEM"),
        ] {
            let Err(error) = read(&text) else { panic!("{text}") };
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
