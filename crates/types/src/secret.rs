//! Values that may be used but not shown.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memchr::memmem;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

mod elements;
mod encoded;
pub mod forms;
mod ordinary;
mod parts;
mod plain;
mod quoted;
mod values;

/// A string that can be used but not shown: no `Display`, no `Serialize`, wiped when dropped. No `Deserialize` either:
/// what a provider answers comes in through the door of `provider`, which looks at it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(value.into())))
    }

    /// Lends the value to the one expression that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The only form of a secret that is logged, recorded or compared.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.expose().as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

/// SHA-256 of some bytes, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Digests `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{:x}", Sha256::digest(bytes)))
    }

    /// The whole text, prefix included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell one secret of a record from another, where a provider has no name for it.
    pub fn handle(&self) -> String {
        format!("sha256:{}", self.short(16))
    }

    /// The first `digits` hexadecimal digits, for names of files and for people.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get("sha256:".len()..).and_then(|hex| hex.get(..digits)).unwrap_or(&self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every secret this process has met, so that its own diagnostics can be masked: in each form in which a server can
/// repeat it, and a log can show it.
///
/// The second line of defence: types keep secrets out of messages, this catches what a server or a library says.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    known: Known,
    /// What is known beside that, where this is a part of another mask.
    whole: Option<Known>,
}

type Known = Arc<Mutex<Vec<Arc<Masked>>>>;

/// A secret, and its forms as soon as somebody prints.
#[derive(Debug)]
struct Masked {
    secret: Secret,
    forms: OnceLock<Vec<Secret>>,
}

const REDACTED: &str = "[REDACTED]";

impl Mask {
    /// Remembers `secret` for the rest of the process.
    pub fn add(&self, secret: &Secret) {
        if !can_be_hidden(secret.expose()) {
            return;
        }
        let mut one = Arc::new(Masked { secret: secret.clone(), forms: OnceLock::new() });
        for known in self.whole.iter().chain([&self.known]) {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            match known.iter().find(|known| known.secret.expose() == secret.expose()) {
                Some(known) => one = Arc::clone(known),
                None => known.push(Arc::clone(&one)),
            }
        }
    }

    /// A part of this mask, which remembers by itself what it gets; the whole remembers that too, and is what hides.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { known: Known::default(), whole: Some(Arc::clone(self.whole.as_ref().unwrap_or(&self.known))) }
    }

    /// `text` with every remembered secret replaced, in whatever form it stands there. What several forms cover is
    /// replaced once and whole: nothing is left of a longer secret that a shorter one begins.
    pub fn apply(&self, text: &str) -> String {
        hide(self.whole.as_ref().unwrap_or(&self.known), text)
    }

    /// The same with what this part alone got.
    pub fn apply_part(&self, text: &str) -> String {
        hide(&self.known, text)
    }

    /// The same for the body of an answer. A text in JSON can be escaped in more ways than there are forms: each is
    /// masked as it is read.
    pub fn apply_to_answer(&self, body: &[u8]) -> String {
        match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(mut json) if json.is_object() || json.is_array() => {
                self.apply_within(&mut json);
                self.apply(&json.to_string())
            }
            _ => self.apply(&String::from_utf8_lossy(body)),
        }
    }

    fn apply_within(&self, json: &mut serde_json::Value) {
        use serde_json::Value;
        match json {
            Value::String(text) => *text = self.apply(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply_within(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.apply_within(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn hide(known: &Known, text: &str) -> String {
    if text.len() < MIN_LENGTH {
        return text.to_owned();
    }
    let mut covered: Vec<Range<usize>> = Vec::new();
    for one in known.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for form in one.forms.get_or_init(|| forms::echoes(&one.secret)) {
            covered.extend(places(text, form.expose()));
        }
    }
    without(text, covered)
}

/// The longest text in which a form is looked for as it is: to prepare a search costs more than to search a line.
const LINE: usize = 256;

/// Where `form` stands in `text`, also where one place of it overlaps another.
fn places(text: &str, form: &str) -> Vec<Range<usize>> {
    // Most forms are longer than a line of ours.
    let (Some(last), Some(first)) = (text.len().checked_sub(form.len()), form.bytes().next()) else {
        return Vec::new();
    };
    if text.len() <= LINE {
        let begins = memchr::memchr_iter(first, text.as_bytes().get(..=last).unwrap_or_default());
        let stands =
            |at: &usize| text.as_bytes().get(*at..).is_some_and(|rest| rest.starts_with(form.as_bytes()));
        return begins.filter(stands).map(|at| at..at + form.len()).collect();
    }
    let finder = memmem::Finder::new(form);
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = text.as_bytes().get(from..).and_then(|rest| finder.find(rest)) {
        found.push(from + at..from + at + form.len());
        from += at + 1;
    }
    found
}

/// `text` with one mark for all that these places cover together.
fn without(text: &str, mut covered: Vec<Range<usize>>) -> String {
    covered.sort_by_key(|place| place.start);
    let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
    let mut covered = covered.into_iter().peekable();
    while let Some(mut place) = covered.next() {
        while let Some(next) = covered.next_if(|next| next.start < place.end) {
            place.end = place.end.max(next.end);
        }
        masked.push_str(text.get(done..place.start).unwrap_or_default());
        masked.push_str(REDACTED);
        done = place.end;
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    masked
}

/// A shorter secret cannot be masked without mangling the log (the agent's own minimum, in bytes).
pub const MIN_LENGTH: usize = 6;

/// Whether a log can hide a text without being mangled: white space alone stands in every line.
fn can_be_hidden(text: &str) -> bool {
    text.len() >= MIN_LENGTH && !text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2")), "Secret([REDACTED])");
    }

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_value() {
        assert_eq!(
            Secret::new("abc").fingerprint().as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    fn mask(secrets: &[&str]) -> Mask {
        let mask = Mask::default();
        for secret in secrets {
            mask.add(&Secret::new(*secret));
        }
        mask
    }

    #[test]
    fn nothing_is_left_of_a_longer_secret_that_a_shorter_one_begins() {
        let mask = mask(&["tok-123456", "tok-123456-9f8e7d", "9f8e7d-and-more"]);
        assert_eq!(mask.apply("a tok-123456-9f8e7d b"), "a [REDACTED] b");
        assert_eq!(mask.apply("tok-123456-9f8e7d-and-more"), "[REDACTED]");
    }

    #[test]
    fn a_mask_knows_every_form_in_which_a_server_may_repeat_a_secret() {
        let secret = "p\u{fc} ss/w\"r'd+&<x>";
        let mask = mask(&[secret]);
        for form in [
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>(),
            serde_json::json!(secret).to_string(),
            format!("{secret:?}"),
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("client:{secret}")),
        ] {
            let said = mask.apply(&format!("saw {form}"));
            assert!(said.contains("[REDACTED]") && !said.contains("ss"), "{form}: {said}");
        }
    }

    #[test]
    fn a_secret_that_is_escaped_letter_by_letter_is_masked_in_an_answer() {
        let escaped: Vec<String> =
            "hunter2hunter2".chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
        let escaped = escaped.concat();
        let said =
            mask(&["hunter2hunter2"]).apply_to_answer(format!(r#"{{"error":"{escaped}"}}"#).as_bytes());
        assert_eq!(said, r#"{"error":"[REDACTED]"}"#);
    }

    #[test]
    fn a_form_is_found_in_a_line_and_in_a_long_text_also_where_its_places_overlap() {
        for long in ["", &"-".repeat(LINE)] {
            let text = format!("abababa{long}aba");
            let found: Vec<usize> = places(&text, "aba").iter().map(|place| place.start).collect();
            assert_eq!(found, [0, 2, 4, text.len() - 3]);
            assert!(places(&text, &format!("{text}a")).is_empty());
        }
    }

    #[test]
    fn a_part_of_a_mask_hides_all_that_the_whole_knows_and_by_itself_what_it_got() {
        let whole = mask(&["tok-123456"]);
        let part = whole.part();
        part.add(&Secret::new("part-123456"));
        let text = "tok-123456 part-123456";
        assert_eq!((part.apply(text), whole.apply(text)), ("[REDACTED] [REDACTED]".into(), part.apply(text)));
        assert_eq!(part.apply_part(text), "tok-123456 [REDACTED]");
        part.add(&Secret::new("tok-123456"));
        assert_eq!(part.apply_part(text), "[REDACTED] [REDACTED]");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_an_answer_repeats_of_a_secret_is_left_in_any_form_and_at_any_place(
            secret in "[!-~]{12,90}", before in "[ -~]{0,5}", after in "[ -~]{0,5}", form in 0..8_usize, field in 0..3_usize
        ) {
            use base64::{Engine as _, engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD}};
            let whole = format!("{before}{secret}{after}");
            let wrapped: Vec<char> = STANDARD.encode(format!("{secret}{after}")).chars().collect();
            let wrapped: Vec<String> = wrapped.chunks(76).map(|line| line.iter().collect()).collect();
            let said = match form {
                0 => whole.clone(),
                1 => url::form_urlencoded::byte_serialize(whole.as_bytes()).collect(),
                2 => serde_json::json!(whole).to_string(),
                3 => STANDARD.encode(&whole),
                4 => URL_SAFE_NO_PAD.encode(&whole),
                5 => wrapped.join("\n"),
                6 => whole.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}")),
                _ => format!("{whole:?}"),
            };
            let body = match field {
                0 => serde_json::json!({"error": {"message": said}, "code": 7}).to_string(),
                1 => serde_json::json!([{"errors": [said]}]).to_string(),
                _ => said.clone(),
            };
            let masked = mask(&[&secret]).apply_to_answer(body.as_bytes());
            proptest::prop_assert!(masked.contains(REDACTED), "{masked}");
            // What is left of it says nothing of the secret: of each form, what stood around it.
            let left = masked.replace(REDACTED, "");
            let around = body.len() - said.len() + 3 * (before.len() + after.len()) * 2 + 40;
            proptest::prop_assert!(left.len() <= around, "{left}");
            proptest::prop_assert!(!left.contains(&secret), "{left}");
        }
    }

    #[test]
    fn a_mask_hides_what_it_was_told_and_ignores_what_is_too_short() {
        let mask = Mask::default();
        mask.add(&Secret::new("tok-123456"));
        mask.add(&Secret::new("ab"));
        assert_eq!(mask.apply("ab says tok-123456"), "ab says [REDACTED]");
    }
}
