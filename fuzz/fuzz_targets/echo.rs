//! A secret as a server may repeat it: written here by hand, and not by the code that is to hide it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// What is said, and what of it must not be disclosed.
pub struct Echo {
    /// What a server says.
    pub said: String,
    /// The texts in it that must not be disclosed.
    pub hidden: Vec<String>,
}

/// Every form of a secret.
pub fn all(secret: &str) -> Vec<Echo> {
    let mut all = vec![plain(secret.to_owned())];
    all.extend(quoted(secret).into_iter().map(plain));
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    all.push(plain(hex.to_uppercase()));
    all.push(plain(hex));
    for before in ["", "a", "ab"] {
        let whole = STANDARD.encode(format!("{before}{secret}"));
        let own = own(&whole, before.len(), secret.len());
        all.push(Echo { said: whole.clone(), hidden: vec![own.to_owned()] });
        let url = own.replace('+', "-").replace('/', "_");
        all.push(Echo { said: URL_SAFE_NO_PAD.encode(format!("{before}{secret}")), hidden: vec![url] });
        all.extend([64, 76].map(|width| wrapped(&whole, before.len(), secret.len(), width)));
    }
    all
}

fn plain(said: String) -> Echo {
    Echo { hidden: vec![said.clone()], said }
}

/// The digits that hold bits of the secret alone.
fn own(whole: &str, before: usize, length: usize) -> &str {
    &whole[(before * 8).div_ceil(6)..(before + length) * 8 / 6]
}

fn wrapped(whole: &str, before: usize, length: usize, width: usize) -> Echo {
    let lines = |text: &str, first: usize| -> Vec<String> {
        let (head, rest) = text.split_at(text.len().min(width - first));
        let rest = rest.as_bytes().chunks(width).map(|line| String::from_utf8(line.to_vec()).unwrap());
        [head.to_owned()].into_iter().chain(rest).collect()
    };
    let own = lines(own(whole, before, length), (before * 8).div_ceil(6));
    // What is very short stands in any text.
    let hidden = own.into_iter().filter(|line| line.len() > 11).collect();
    Echo { said: lines(whole, 0).join("\n"), hidden }
}

/// As shells, programs and forms write it. What they leave as it is is one form.
fn quoted(secret: &str) -> Vec<String> {
    let each = |write: &dyn Fn(char, &mut String)| {
        let mut form = String::new();
        secret.chars().for_each(|c| write(c, &mut form));
        form
    };
    let escaped = |of: &'static str| {
        each(&|c, form| {
            form.extend(of.contains(c).then_some('\\'));
            form.push(c);
        })
    };
    let percent = |plain: &'static str| {
        each(&|c, form| match c {
            c if c.is_ascii_alphanumeric() || plain.contains(c) => form.push(c),
            c => write!(form, "%{:02X}", u32::from(c)).unwrap(),
        })
    };
    let json = serde_json::Value::from(secret).to_string();
    vec![
        json[1..json.len() - 1].to_owned(),
        // bash: `declare -p`, `set -x`, `printf %q`.
        escaped("\"$`\\"),
        secret.replace('\'', r"'\''"),
        escaped(" '\"\\|&;()<>!{}*[]?^$`,"),
        // Forms and URLs.
        percent("-._*"),
        percent("-._~"),
        format!("{secret:?}").trim_matches('"').to_owned(),
        each(&|c, form| match c {
            '&' => form.push_str("&amp;"),
            '<' => form.push_str("&lt;"),
            '>' => form.push_str("&gt;"),
            '\'' => form.push_str("&#39;"),
            '"' => form.push_str("&#34;"),
            c => form.push(c),
        }),
    ]
}
