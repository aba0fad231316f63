//! The values in a text of any grammar: JSON that a strict reader refuses, YAML, TOML, lines for a shell, `.netrc`,
//! connection strings, XML.
//!
//! No parser for each, since what reads a secret in a step is more lenient than a parser here would be. A word is a value
//! where a separator stands before it and none behind it; a word beside none is one where it is no ordinary word.

use super::MIN_LENGTH;
use super::elements::elements;
use super::ordinary::{is_common, is_harmless, is_ordinary, is_telling};
use super::plain::{closing, of_base64, of_entities, of_escapes, of_percent, of_shell};

/// The most values that are looked for in one text.
const MOST: usize = 1024;

/// The most words and separators that are looked at in one text.
const WORDS: usize = 32 << 10;

/// For how many of them a word of a shell counts, which may be long.
const SHELL: usize = 32;

/// The longest value of several words, and the longest with quotes that are written twice, in bytes.
const LONGEST: usize = 1024;

/// What stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Another word, or nothing.
    Nothing,
    /// The beginning of a line or of a list.
    Item,
    /// The mark of a list of YAML.
    Dash,
    /// A key and its separator.
    Key { quoted: bool, harmless: bool },
    /// A word such as `password`, in a line that has no separators.
    Telling,
}

/// Reads one line of a text.
struct Reader<'t> {
    /// From here to the end of the text.
    rest: &'t str,
    /// What of it is this line.
    line: &'t str,
    before: Before,
    comment: bool,
    found: Vec<String>,
    /// How many words may still be looked at.
    left: usize,
}

/// The values in this text. The second is whether there are more.
pub(super) fn of(text: &str) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    if text.starts_with('<') {
        elements(text, &mut found, MOST);
    }
    let mut rest = text;
    let mut left = WORDS;
    while !rest.is_empty() && found.len() < MOST && left > 0 {
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let mut reader = Reader { rest, line, before: Before::Item, comment: false, found, left };
        reader.read();
        (found, left) = (reader.found, reader.left);
        rest = rest.get(line.len()..).unwrap_or_default();
    }
    let cut = found.len() >= MOST || left == 0;
    (found, cut)
}

fn is_structure(c: char) -> bool {
    c.is_whitespace() || ",;&{}[]()<>|".contains(c)
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

impl<'t> Reader<'t> {
    fn read(&mut self) {
        let (whole, start) = (self.line, self.line.trim_start());
        self.comment = start.starts_with(['#', ';']) || start.starts_with("//") || start.starts_with("--");
        while let Some(c) = self.line.chars().next() {
            if self.found.len() >= MOST || self.left == 0 {
                return;
            }
            self.left -= 1;
            let parted = self.line.len() < whole.len()
                && whole
                    .get(..whole.len() - self.line.len())
                    .is_some_and(|read| read.ends_with(char::is_whitespace));
            let note = c == '#' || self.line.starts_with("//");
            if c.is_whitespace() {
                self.skip(c.len_utf8());
            } else if parted && note {
                self.comment = true;
                self.before = Before::Nothing;
                self.skip(c.len_utf8());
            } else if let Some(length) = self.quoted(c) {
                self.skip(length);
            } else if is_structure(c) {
                self.before = if "[,{(".contains(c) { Before::Item } else { Before::Nothing };
                self.skip(c.len_utf8());
            } else if matches!(c, ':' | '=') {
                self.separator(false, false);
            } else {
                self.bare(whole);
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.line = self.line.get(bytes..).unwrap_or_default();
    }

    /// Takes a text in quotes that begins here. How long it is, with its quotes.
    fn quoted(&mut self, quote: char) -> Option<usize> {
        if !is_quote(quote) {
            return None;
        }
        let after = self.line.get(1..)?;
        let mut length = closing(after, quote, quote == '"')?;
        // A shell ends it at the first, Python and JavaScript do not.
        if let Some(longer) = closing(after, quote, true).filter(|longer| *longer > length) {
            self.value(after.get(..length)?, true);
            length = longer;
        }
        let (inner, behind) = (after.get(..length)?, after.get(length + 1..)?);
        // CSV, YAML and SQL write a quote twice.
        let mut twice = length;
        while let Some(more) = after.get(twice + 1..).and_then(|more| more.strip_prefix(quote)) {
            match closing(more, quote, quote == '"').filter(|_| twice < LONGEST) {
                Some(further) => twice += 2 + further,
                None => break,
            }
        }
        if twice > length {
            let quotes = [quote, quote].iter().collect::<String>();
            self.value(&after.get(..twice)?.replace(&quotes, &quote.to_string()), true);
        }
        if behind.trim_start().starts_with([':', '=']) && !behind.trim_start().starts_with("==") {
            let harmless = is_harmless(inner);
            self.skip(length + 2);
            self.skip(self.line.len() - self.line.trim_start().len());
            self.separator(true, harmless);
            return Some(0);
        }
        self.value(inner, true);
        self.before = Before::Nothing;
        Some(length + 2)
    }

    /// Takes what stands between a key and its value.
    fn separator(&mut self, quoted: bool, harmless: bool) {
        let wide = |c: char| matches!(c, ':' | '=' | '>');
        let length = self.line.len() - self.line.trim_start_matches(wide).len();
        let assigns = self.line.starts_with('=');
        self.skip(length);
        self.before = Before::Key { quoted, harmless };
        if assigns && !self.comment {
            self.assigned();
        }
        self.run();
    }

    /// A value as a shell reads it, over several lines too.
    fn assigned(&mut self) {
        self.left = self.left.saturating_sub(SHELL);
        let word = of_shell(self.rest).unwrap_or_default();
        if self.rest.get(..word.len()) != Some(word.as_str()) {
            self.push(word);
        }
    }

    /// A value of several words: all that stands before what ends it.
    fn run(&mut self) {
        let all = self.line.trim_start();
        let all = all.get(..LONGEST).unwrap_or(all);
        let end = all.find([',', ';', '&', '}', ']', ')', '<', '|']).unwrap_or(all.len());
        let all = all.get(..end).unwrap_or_default();
        let end = all.find(" #").or_else(|| all.find("\t#")).unwrap_or(all.len());
        let all = all.get(..end).unwrap_or_default().trim();
        if all.contains(char::is_whitespace)
            && !all.contains(['=', '"', '\'', '{', '['])
            && !all.contains(": ")
        {
            self.push(all.to_owned());
        }
    }

    /// Takes a word without quotes.
    fn bare(&mut self, whole: &'t str) {
        let (mut length, mut last, mut escaped) = (0, ' ', false);
        for c in self.line.chars() {
            let ends = is_structure(c) || (is_quote(c) && matches!(last, ':' | '=' | '$'));
            if ends && !escaped {
                break;
            }
            escaped = c == '\\' && !escaped;
            last = c;
            length += c.len_utf8();
        }
        let word = self.line.get(..length).unwrap_or_default();
        let behind = self.line.get(length..).unwrap_or_default();
        let is_key = word.len() < self.line.trim_end().len()
            && behind.trim_start().starts_with([':', '='])
            && !behind.trim_start().starts_with("==");
        let parts = if word.contains("://") { None } else { word.split_once([':', '=']) };
        if word == "-" || word == "$" {
            self.before = if word == "-" { Before::Dash } else { self.before };
            self.skip(length);
        } else if let Some((key, value)) = parts.filter(|(key, _)| !self.is_whole(word) && !key.is_empty()) {
            self.skip(key.len());
            let harmless = is_harmless(key);
            self.separator(false, harmless);
            self.fields(word, value);
        } else if is_key {
            let harmless = is_harmless(word);
            if matches!(self.before, Before::Key { .. }) && !is_ordinary(word) {
                self.push(word.to_owned());
            }
            self.skip(length);
            self.skip(self.line.len() - self.line.trim_start().len());
            self.separator(false, harmless);
        } else {
            if word.len() < whole.trim().len() || of_base64(word).is_some() {
                self.value(word, false);
            }
            self.before = if self.announces(word, whole) { Before::Telling } else { Before::Nothing };
            self.skip(length);
        }
    }

    /// Whether a word with a separator in it is a value all the same.
    fn is_whole(&self, word: &str) -> bool {
        let is_padded = || word.ends_with('=') && of_base64(word).is_some();
        matches!(self.before, Before::Key { .. } | Before::Telling) || is_padded()
    }

    /// The fields of `host:port:database:user:password` and of the like.
    fn fields(&mut self, word: &str, value: &str) {
        self.found.extend(word.splitn(5, ':').nth(4).map(str::to_owned));
        for field in value.split([':', '=']).filter(|field| field.len() < value.len()) {
            if !is_ordinary(field) {
                self.push(field.to_owned());
            }
        }
    }

    /// Whether the word behind this one is a secret: in `.netrc`, after an option, after a scheme of HTTP.
    fn announces(&self, word: &str, whole: &str) -> bool {
        const LINES: &[&str] = &["machine", "default", "login", "account", "setenv", "set", "env"];
        if self.comment || !is_telling(word) {
            return false;
        }
        let front = whole.trim_start();
        let front = front.get(..2 * word.len() + 16).unwrap_or(front);
        let first = front.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        word.starts_with('-')
            || word == "Bearer"
            || word == "Basic"
            || LINES.contains(&first.as_str())
            || first == word.to_ascii_lowercase()
    }

    /// Takes a word for a value if it is one.
    fn value(&mut self, word: &str, quoted: bool) {
        let is_number = || word.parse::<f64>().is_ok();
        let taken = match self.before {
            _ if self.comment => !is_ordinary(word),
            Before::Key { .. } | Before::Item | Before::Dash if quoted => true,
            Before::Telling => true,
            Before::Dash if word.len() == self.line.trim().len() => !is_common(word),
            Before::Key { quoted: true, .. } => !is_number(),
            Before::Key { harmless, .. } => !(is_ordinary(word) && (harmless || is_common(word))),
            Before::Item | Before::Dash | Before::Nothing => !is_ordinary(word),
        };
        if !taken {
            return;
        }
        let trimmed = word.trim_end_matches(['.', '!', '?']);
        if !quoted && trimmed.len() < word.len() {
            self.push(trimmed.to_owned());
        }
        self.push(word.to_owned());
    }

    /// Adds a text, and what it means where it is escaped.
    fn push(&mut self, text: String) {
        let escaped = of_escapes(&text);
        let without = text.contains('\\').then(|| of_shell(&text)).flatten();
        let decoded = if text.contains('%') { of_percent(&text) } else { None };
        let plain = of_entities(&text);
        let texts = [Some(text), escaped, without, decoded, plain].into_iter().flatten();
        self.found.extend(texts.filter(|text| text.len() >= MIN_LENGTH));
    }
}
