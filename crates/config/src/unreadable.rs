//! Why a text is no YAML, in words of YAML: where, what was seen there and what would be right.
//!
//! What was seen is shown by its first character at most: the text that breaks a line may be a secret.

use super::shown::escaped;

/// Why a text cannot be read, and where: line and column, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Where.
    pub(super) at: Option<Position>,
    /// What was seen and what would be right.
    pub(super) problem: String,
}

type Position = (usize, usize);

/// What stands around a message of this program in the parser's own.
const OURS: [char; 2] = ['\u{1}', '\u{2}'];

/// A message that the parser is to hand on.
pub(super) fn ours(problem: &str) -> String {
    let [begin, end] = OURS;
    format!("{begin}{problem}{end}")
}

/// The text of bytes.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|error| {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Unreadable { at: Some((1, 1)), problem: "saw UTF-16, expected UTF-8".to_owned() };
        }
        let (before, after) = bytes.split_at_checked(error.valid_up_to()).unwrap_or((bytes, &[]));
        let byte = after.first().copied().unwrap_or_default();
        let problem = format!("saw the byte 0x{byte:02x}, which is no UTF-8, expected UTF-8");
        Unreadable { at: Some(position(&String::from_utf8_lossy(before))), problem }
    })
}

/// Where a text ends.
fn position(text: &str) -> Position {
    let line = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Turns the parser's words into ours.
pub(super) fn explain(text: &str, error: &serde_yaml::Error) -> Unreadable {
    let at = error.location().map(|at| (at.line(), at.column()));
    let message = error.to_string();
    let [begin, end] = OURS;
    if let Some((problem, _)) = message.split_once(begin).and_then(|(_, rest)| rest.split_once(end)) {
        return Unreadable { at, problem: problem.to_owned() };
    }
    if let Some(found) = control_character(text).filter(|_| message.contains("control characters")) {
        return found;
    }
    let (said, context) = message.split_once(", while ").unwrap_or((&message, ""));
    let origin = numbers(context);
    let here = Here { text, at: at.unwrap_or((1, 1)), origin };
    let (at, problem) = here.problem(said, context).unwrap_or_else(|| {
        let said = said.split(" at line ").next().unwrap_or(said);
        (here.at, format!("saw {}, which is no YAML here: {said}", here.seen()))
    });
    // A mark that the parser does not give is none.
    Unreadable { at: error.location().map(|_| at), problem }
}

/// The first character that YAML has no place for.
fn control_character(text: &str) -> Option<Unreadable> {
    let (before, c) = text.char_indices().find(|(_, c)| c.is_control() && !"\t\n\r\u{85}".contains(*c))?;
    let seen = escaped(&c.to_string());
    let problem = format!("saw the control character `{seen}`, expected text (in UTF-8)");
    Some(Unreadable { at: Some(position(text.get(..before)?)), problem })
}

/// The place in `… at line 3 column 7`.
fn numbers(context: &str) -> Option<Position> {
    let (line, column) = context.split_once(" at line ")?.1.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Where the parser stopped, and where what it was reading begins.
struct Here<'t> {
    text: &'t str,
    at: Position,
    origin: Option<Position>,
}

impl Here<'_> {
    fn line(&self) -> &str {
        self.text.lines().nth(self.at.0.saturating_sub(1)).unwrap_or_default()
    }

    fn rest(&self) -> &str {
        let line = self.line();
        line.char_indices()
            .nth(self.at.1.saturating_sub(1))
            .and_then(|(at, _)| line.get(at..))
            .unwrap_or_default()
    }

    fn seen(&self) -> String {
        match self.rest().chars().next() {
            None if self.at.0 > self.text.lines().count() => "the end of the file".to_owned(),
            None => "the end of the line".to_owned(),
            Some(c) if c.is_alphanumeric() || c.is_whitespace() => "a text".to_owned(),
            Some(c) => format!("`{}`", escaped(&c.to_string())),
        }
    }

    fn opened(&self) -> String {
        self.origin
            .map(|(line, column)| format!(" (begun at line {line}, column {column})"))
            .unwrap_or_default()
    }

    /// What is wrong, and where, in the order of how much each tells.
    fn problem(&self, said: &str, context: &str) -> Option<(Position, String)> {
        let (seen, origin) = (self.seen(), self.origin.unwrap_or(self.at));
        let indented_by_tab =
            self.line().trim_start_matches(' ').starts_with('\t') || self.rest().starts_with('\t');
        let is = |what: &str| said.contains(what);
        let here = |problem: &str| Some((self.at, problem.to_owned()));
        if indented_by_tab {
            return here("saw a tab, expected spaces: YAML is indented by spaces alone");
        }
        if context.contains("quoted scalar") && is("end of stream") {
            return Some((origin, "saw a quote that does not end, expected another one".to_owned()));
        }
        if is("could not find expected ':'") {
            let problem =
                "saw a line without `: `, expected a key and its value; an item of a list begins with `- `";
            return Some((origin, problem.to_owned()));
        }
        if is("mapping values are not allowed") && self.at.1 > 1024 {
            return here("saw a key of more than 1024 characters, expected fewer");
        }
        if is("expected ',' or") {
            let close = if is("']'") { "]" } else { "}" };
            return Some((self.at, format!("saw {seen}, expected `,` or `{close}`{}", self.opened())));
        }
        if is("cannot start any token") {
            return Some((self.at, format!("saw a value that begins with {seen}, expected it in quotes")));
        }
        if is("did not find expected key") && !seen.contains(':') {
            let problem = format!("saw {seen}, expected a key at the indentation of those above it");
            return Some((self.at, problem));
        }
        if is("'-' indicator") {
            let problem = format!("saw {seen}, expected `- ` at the indentation of the items above it");
            return Some((self.at, problem));
        }
        if is("expected node content") {
            let problem = format!("saw {seen}, expected a value: a `[` or `{{` before it may not be closed");
            return Some((self.at, problem));
        }
        FIXED.iter().find(|(theirs, _)| is(theirs)).and_then(|(_, problem)| here(problem))
    }
}

/// The parser's words, and what is said instead.
const FIXED: [(&str, &str); 15] = [
    (
        "mapping values are not allowed",
        "saw a second `: ` on this line or a wrong indentation, expected one key a line; a value with `: ` stands in quotes",
    ),
    ("did not find expected key", "saw a `:` without a key before it, expected a name"),
    ("unknown anchor", "saw an alias (`*`) whose anchor (`&`) is not above it, expected a value"),
    ("undefined alias", "saw an alias (`*`) whose anchor (`&`) is not above it, expected a value"),
    ("recursion limit", "saw more than 100 levels, expected fewer"),
    ("repetition limit", "saw aliases that repeat too much, expected fewer"),
    ("unknown escape", "saw `\\` between double quotes, expected `\\\\` or single quotes"),
    ("escape code", "saw an escape (`\\`) of no character, expected one such as `\\u00e9`"),
    ("hexadecimal number", "saw an escape (`\\`) of no character, expected one such as `\\u00e9`"),
    (
        "alphabetic or numeric",
        "saw `*` or `&` without a name behind it, expected a value that begins so in quotes",
    ),
    ("directive", "saw a line that begins with `%`, expected none"),
    ("block sequence entries", "saw `- ` on the line of its key, expected it on a line of its own"),
    ("document start", "saw a text behind the end of the document, expected none"),
    ("document indicator", "saw `---` between quotes, expected the other quote before it"),
    ("tag", "saw a tag (`!`), expected a plain value"),
];

#[cfg(test)]
mod tests {
    use super::super::yaml::read;

    #[test]
    fn every_text_that_is_no_yaml_is_reported_with_its_place_and_in_words_of_yaml() {
        for (text, at, problem) in [
            ("a:\n\tb: 1\n", (2, 1), "saw a tab, expected spaces"),
            ("a: b: c\n", (1, 5), "a second `: `"),
            ("a: *x\n", (1, 4), "an alias"),
            ("a: *\n", (1, 5), "without a name"),
            ("a: 'b\nc: d\n", (1, 4), "a quote that does not end"),
            ("a: [\n", (2, 1), "saw the end of the file, expected a value"),
            ("a: [b\n", (2, 1), "saw the end of the file, expected `,` or `]` (begun at line 1, column 4)"),
            ("a: }\n", (1, 4), "saw `}`, expected a value"),
            ("a: @x\n", (1, 4), "saw a value that begins with `@`, expected it in quotes"),
            ("a:\n    b: 1\n  c: 2\n", (3, 3), "expected a key at the indentation"),
            ("a:\n- b\n-c\n", (3, 1), "a line without `: `"),
            (": 1\n", (1, 1), "a `:` without a key"),
            ("a: \"\\q\"\n", (1, 5), "expected `\\\\` or single quotes"),
            ("%x\n---\na: b\n", (1, 3), "begins with `%`"),
            ("a: - b\n", (1, 4), "on a line of its own"),
            ("a: b\u{7}c\n", (1, 5), "the control character `\\x07`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.problem.contains(problem), "{text:?}: {error:?}");
            assert_eq!(error.at, Some(at), "{text:?}: {error:?}");
        }
        let key = format!("{}: 1\n", "x".repeat(2000));
        assert!(read(&key).unwrap_err().problem.contains("more than 1024 characters"));
    }

    #[test]
    fn bytes_that_are_no_text_are_reported_with_their_place() {
        assert_eq!(super::text(b"a: b\nc: \xe9\n").unwrap_err().at, Some((2, 4)));
        assert!(super::text(b"\xff\xfea\0").unwrap_err().problem.contains("UTF-16"));
        assert_eq!(super::text("é".as_bytes()), Ok("é"));
    }
}
