//! A good document, changed where the input says so: bytes by chance are hardly ever JSON, and what is nearly right
//! goes deeper.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A folder of this process, in memory where the system has such storage: a disk would be most of the time.
pub fn folder(name: &str) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let above = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let folder = above.join(format!("dataflow-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The input, read from its beginning; zero where it has ended.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte.
    pub fn one(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.one()) % end
    }

    /// As many bytes as the next one says, or what is left.
    pub fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.one()).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }

    /// The same as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.some()).into_owned()
    }
}

/// What stands in places of numbers and texts, beside what the input says.
const NUMBERS: [i64; 10] = [0, 1, -1, 59, 3600, 4_102_444_800, 253_402_300_799, 1 << 40, i64::MAX, i64::MIN];
const WORDS: [&str; 24] = [
    "",
    "error",
    "code",
    "message",
    "errors",
    "data",
    "metadata",
    "version",
    "lease_id",
    "token",
    "id",
    "exp",
    "iat",
    "2027-01-01T00:00:00Z",
    "+262142-12-31T23:59:59Z",
    "9999-12-31T23:59:59Z",
    "0000-01-01T00:00:00+14:00",
    "../..",
    "https://evil.test/x",
    "invalid_grant",
    "permission denied",
    "x\r\ny: z",
    "\u{1F600}\u{0}",
    "9223372036854775807",
];

/// `good`, with a few changes.
pub fn edited(mut good: Value, bytes: &mut Bytes<'_>, words: &[&str]) -> Value {
    for _ in 0..bytes.below(4) {
        edit(&mut good, bytes, words);
    }
    good
}

fn edit(value: &mut Value, bytes: &mut Bytes<'_>, words: &[&str]) {
    let deeper = bytes.below(8);
    match value {
        Value::Object(members) if !members.is_empty() && deeper > 0 => {
            let key = members.keys().nth(bytes.below(members.len())).cloned().unwrap_or_default();
            match deeper {
                1 => drop(members.remove(&key)),
                2 => drop(members.insert(word(bytes, words), any(bytes, words, 2))),
                _ => members.get_mut(&key).into_iter().for_each(|inner| edit(inner, bytes, words)),
            }
        }
        Value::Array(items) if !items.is_empty() && deeper > 0 => {
            let at = bytes.below(items.len());
            match deeper {
                1 => drop(items.remove(at)),
                2 => items.push(items.get(at).cloned().unwrap_or_default()),
                _ => items.get_mut(at).into_iter().for_each(|inner| edit(inner, bytes, words)),
            }
        }
        other => *other = any(bytes, words, 2),
    }
}

fn word(bytes: &mut Bytes<'_>, words: &[&str]) -> String {
    let at = bytes.below(WORDS.len() + words.len());
    WORDS.iter().chain(words).nth(at).copied().unwrap_or_default().to_owned()
}

fn any(bytes: &mut Bytes<'_>, words: &[&str], depth: u8) -> Value {
    match bytes.below(if depth == 0 { 8 } else { 10 }) {
        0 => Value::Null,
        1 => Value::Bool(bytes.one() & 1 == 1),
        2 => Value::from(bytes.one()),
        3 => Value::from(NUMBERS[bytes.below(NUMBERS.len())]),
        4 => Value::from(f64::from(bytes.one()) * 1e300),
        5 => Value::from(bytes.text()),
        6 | 7 => Value::from(word(bytes, words)),
        8 => (0..bytes.below(4)).map(|_| any(bytes, words, depth - 1)).collect(),
        _ => {
            let one = |_| (word(bytes, words), any(bytes, words, depth - 1));
            Value::Object((0..2).map(one).collect::<Map<_, _>>())
        }
    }
}
