//! Buildkite's variable interpolation, as the agent does it at `pipeline upload`:
//! <https://buildkite.com/docs/agent/cli/reference/pipeline#environment-variable-substitution>.

use std::collections::BTreeMap;

/// The variables that a pipeline may name.
pub type Variables = BTreeMap<String, String>;

/// How deep defaults may stand in defaults: far beyond use, well inside the stack.
const DEEPEST: usize = 64;

/// Why a text could not be interpolated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `${` without a name.
    #[error("expected a variable's name after `${{`, saw {saw}; write `$${{` for a plain `${{`")]
    Name {
        /// What stood there.
        saw: String,
    },
    /// A name followed by something that is no operator.
    #[error("expected `}}`, `:`, `-` or `?` after `${{{name}`, saw {saw}")]
    Operator {
        /// The variable.
        name: String,
        /// What stood there.
        saw: String,
    },
    /// `${NAME:` with something that is no number.
    #[error("expected a number of characters in `${{{name}:…}}`, saw `{saw}`{}", hint(saw))]
    Number {
        /// The variable.
        name: String,
        /// What stood there.
        saw: String,
    },
    /// No closing brace.
    #[error("`${{{name}` is not closed by `}}`")]
    Unclosed {
        /// The variable.
        name: String,
    },
    /// `${NAME?}` and no such variable.
    #[error("`${name}`: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the pipeline's author says about it.
        message: String,
    },
    /// Defaults in defaults without end.
    #[error("more than {DEEPEST} expansions inside each other")]
    TooDeep,
}

impl Error {
    /// What is right where something else than a variable of the upload was meant: `${claims.NAME}` of a step config.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Operator { name, saw } if saw == "`.`" || saw == "`|`" => Some(format!(
                "the upload of a pipeline replaces `${{…}}`: write `$${{{name}.…}}` there for what is to be replaced later"
            )),
            _ => None,
        }
    }
}

/// Bash's `${NAME:?message}` is not among the forms that the agent knows.
fn hint(saw: &str) -> &'static str {
    if saw.starts_with('?') { "; a required variable is written `${NAME?message}`" } else { "" }
}

/// Replaces the variables in `text`; unset ones are empty.
pub fn expand(text: &str, variables: &Variables) -> Result<String, Error> {
    let mut parser = Parser { rest: text };
    let pieces = parser.expression(None, 0)?;
    let mut out = String::with_capacity(text.len());
    evaluate(&pieces, variables, &mut out)?;
    Ok(out)
}

/// Defaults are parsed even where they are not needed, so their errors show; hence pieces first, values later.
enum Piece<'t> {
    Text(&'t str),
    Variable(&'t str),
    Default { name: &'t str, even_if_empty: bool, content: Vec<Piece<'t>> },
    Required { name: &'t str, message: Vec<Piece<'t>> },
    Part { name: &'t str, offset: i64, length: Option<i64> },
}

fn evaluate(pieces: &[Piece<'_>], variables: &Variables, out: &mut String) -> Result<(), Error> {
    let value = |name: &str| variables.get(name).map(String::as_str);
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(name) => out.push_str(value(name).unwrap_or_default()),
            Piece::Default { name, even_if_empty, content } => match value(name) {
                Some(set) if !(*even_if_empty && set.is_empty()) => out.push_str(set),
                _ => evaluate(content, variables, out)?,
            },
            Piece::Part { name, offset, length } => {
                part(value(name).unwrap_or_default(), *offset, *length, out);
            }
            Piece::Required { name, message } => match value(name) {
                Some(set) => out.push_str(set),
                None => return Err(required(name, message, variables)?),
            },
        }
    }
    Ok(())
}

fn required(name: &str, message: &[Piece<'_>], variables: &Variables) -> Result<Error, Error> {
    let mut text = String::new();
    evaluate(message, variables, &mut text)?;
    let message = if text.is_empty() { "not set".to_owned() } else { text };
    Ok(Error::Required { name: name.to_owned(), message })
}

/// A stretch of bytes, counted from the end where negative; what is cut in half becomes U+FFFD, as in the agent's JSON.
fn part(value: &str, offset: i64, length: Option<i64>, out: &mut String) {
    let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let from = if offset < 0 { offset.saturating_add(size) } else { offset }.clamp(0, size);
    let to = match length {
        None => size,
        Some(length) if length < 0 => length.saturating_add(size),
        Some(length) => length.saturating_add(from),
    };
    let (from, to) = (usize::try_from(from), usize::try_from(to.clamp(from, size)));
    let bytes = from.ok().zip(to.ok()).and_then(|(from, to)| value.as_bytes().get(from..to));
    for chunk in bytes.unwrap_or_default().utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    /// Everything up to the end, or up to and without `stop`.
    fn expression(&mut self, stop: Option<char>, depth: usize) -> Result<Vec<Piece<'t>>, Error> {
        let mut pieces = Vec::new();
        while let Some(next) = self.peek().filter(|next| Some(*next) != stop) {
            if self.eat("\\\\") {
                pieces.push(Piece::Text("\\\\"));
            } else if self.eat("\\$") || self.eat("$$") {
                pieces.push(Piece::Text("$"));
            } else if self.eat("$(") {
                pieces.push(Piece::Text("$("));
            } else if next == '$' {
                self.eat("$");
                pieces.push(self.expansion(depth)?);
            } else {
                let length = next.len_utf8();
                let more = self.rest.chars().skip(1).take_while(|c| !"$\\".contains(*c) && Some(*c) != stop);
                let text = self.take(length + more.map(char::len_utf8).sum::<usize>());
                pieces.push(Piece::Text(text));
            }
        }
        Ok(pieces)
    }

    /// What follows a single `$`.
    fn expansion(&mut self, depth: usize) -> Result<Piece<'t>, Error> {
        if self.eat("{") {
            return self.braces(depth + 1);
        }
        Ok(self.name().map_or(Piece::Text("$"), Piece::Variable))
    }

    fn braces(&mut self, depth: usize) -> Result<Piece<'t>, Error> {
        if depth > DEEPEST {
            return Err(Error::TooDeep);
        }
        let name = self.name().ok_or_else(|| Error::Name { saw: self.saw() })?;
        let piece = if self.peek() == Some('}') {
            Piece::Variable(name)
        } else if self.eat(":-") {
            Piece::Default { name, even_if_empty: true, content: self.expression(Some('}'), depth)? }
        } else if self.eat("-") {
            Piece::Default { name, even_if_empty: false, content: self.expression(Some('}'), depth)? }
        } else if self.eat("?") {
            Piece::Required { name, message: self.expression(Some('}'), depth)? }
        } else if self.eat(":") {
            let offset = self.number(name, &[':', '}'])?;
            let length = if self.eat(":") { Some(self.number(name, &['}'])?) } else { None };
            Piece::Part { name, offset, length }
        } else {
            return Err(Error::Operator { name: name.to_owned(), saw: self.saw() });
        };
        if self.eat("}") { Ok(piece) } else { Err(Error::Unclosed { name: name.to_owned() }) }
    }

    fn name(&mut self) -> Option<&'t str> {
        self.peek().filter(|c| c.is_alphabetic())?;
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        Some(self.take(end.unwrap_or(self.rest.len())))
    }

    fn number(&mut self, name: &str, stops: &[char]) -> Result<i64, Error> {
        let end = self.rest.find(stops).unwrap_or(self.rest.len());
        let text = self.take(end);
        let wrong = |_| Error::Number { name: name.to_owned(), saw: text.to_owned() };
        text.trim().parse().map_err(wrong)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn saw(&self) -> String {
        self.peek().map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"))
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (head, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = tail;
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables() -> Variables {
        let pairs = [("NAME", "value"), ("EMPTY", ""), ("COMMIT", "4f1c0ffee"), ("LETTERS", "aéz")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(expand(text, &variables()).as_deref(), Ok(expected), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(expand(text, &variables()).unwrap_err().to_string(), message, "{text}");
    }

    #[test]
    fn a_variable_is_replaced_and_an_unset_one_is_empty() {
        check("a $NAME b", "a value b");
        check("${NAME}s", "values");
        check("[$NONE][${NONE}]", "[][]");
    }

    #[test]
    fn a_default_stands_in_for_unset_and_with_a_colon_for_empty() {
        check("${NONE-d}|${EMPTY-d}|${NAME-d}", "d||value");
        check("${NONE:-d}|${EMPTY:-d}|${NAME:-d}", "d|d|value");
        check("${NONE:-${EMPTY:-$NAME}!}", "value!");
    }

    #[test]
    fn a_part_is_counted_from_either_end() {
        check("${COMMIT:0:7}", "4f1c0ff");
        check("${COMMIT:4}", "0ffee");
        check("${COMMIT: -3}|${COMMIT:-3}", "fee|4f1c0ffee");
        check("${COMMIT:0:-4}|${COMMIT:99}|${COMMIT:2:99}", "4f1c0||1c0ffee");
        check("${COMMIT:3:-9}|${COMMIT:1:9223372036854775807}", "|f1c0ffee");
        check("${NONE:0:7}", "");
        check("${LETTERS:0:2}", "a\u{fffd}");
    }

    #[test]
    fn an_escaped_dollar_is_a_dollar() {
        check("$$NAME \\$NAME $${NAME} $$$NAME", "$NAME $NAME ${NAME} $value");
        check("a\\\\b \\n", "a\\\\b \\n");
    }

    #[test]
    fn what_a_shell_would_read_is_left_alone() {
        check("$(date) $1 $_x $? 5$ $", "$(date) $1 $_x $? 5$ $");
        check("} {a} é", "} {a} é");
    }

    #[test]
    fn a_required_variable_says_what_is_missing() {
        check("${NAME?no name}${EMPTY?}", "value");
        refused("${NONE?please set it for $NAME}", "`$NONE`: please set it for value");
        refused("${NONE?}", "`$NONE`: not set");
        check("${NAME:-${NONE?}}", "value");
    }

    #[test]
    fn a_broken_expansion_says_what_was_expected() {
        refused("${}", "expected a variable's name after `${`, saw `}`; write `$${` for a plain `${`");
        refused("${", "expected a variable's name after `${`, saw the end; write `$${` for a plain `${`");
        refused("${NAME", "expected `}`, `:`, `-` or `?` after `${NAME`, saw the end");
        refused("${NAME:-x", "`${NAME` is not closed by `}`");
        refused("${NAME//a/b}", "expected `}`, `:`, `-` or `?` after `${NAME`, saw `/`");
        refused("${NAME:x}", "expected a number of characters in `${NAME:…}`, saw `x`");
    }

    #[test]
    fn the_bash_form_of_a_required_variable_is_refused_with_the_right_one() {
        let hint = "; a required variable is written `${NAME?message}`";
        refused("${NONE:?no}", &format!("expected a number of characters in `${{NONE:…}}`, saw `?no`{hint}"));
    }

    #[test]
    fn endless_nesting_is_refused() {
        assert_eq!(expand(&"${A:-".repeat(100_000), &variables()), Err(Error::TooDeep));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([$\\\\{}:?(-]|NAME|EMPTY|LETTERS|[0-9a-zé ]){0,30}") {
            drop(expand(&text, &variables()));
        }

        #[test]
        fn text_without_dollar_or_backslash_stays(text in "[^$\\\\]{0,60}") {
            prop_assert_eq!(expand(&text, &variables()), Ok(text));
        }

        #[test]
        fn doubling_every_dollar_keeps_the_text(text in "[^\\\\]{0,60}") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), &variables()), Ok(text));
        }
    }
}
