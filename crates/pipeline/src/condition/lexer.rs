//! A condition's text as tokens.

use super::tree::Operator;
use super::{Problem, escape, shell};

/// One token, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Word,
}

/// The kinds of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    End,
    Name(String),
    Number(String),
    Text {
        raw: String,
        double: bool,
    },
    Shell(String),
    Pattern {
        pattern: String,
        flags: String,
    },
    Operator(Operator),
    /// `!`, `?`, `:`, `,`, a parenthesis or a bracket.
    Mark(char),
}

impl Word {
    /// What a message calls it.
    pub(super) fn seen(&self) -> String {
        match self {
            Self::End => "the end".to_owned(),
            Self::Name(text) | Self::Number(text) | Self::Shell(text) => format!("`{text}`"),
            Self::Text { raw, double: true } => format!("`\"{raw}\"`"),
            Self::Text { raw, .. } => format!("`'{raw}'`"),
            Self::Pattern { pattern, flags } => format!("`/{pattern}/{flags}`"),
            Self::Operator(operator) => format!("`{}`", operator.word()),
            Self::Mark(mark) => format!("`{mark}`"),
        }
    }
}

/// Every token of `text`, the end as the last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = after_blanks(text, at);
        let (kind, next) = token(text, at)?;
        let ends = kind == Word::End;
        tokens.push(Token { at, kind });
        if ends {
            return Ok(tokens);
        }
        at = next;
    }
}

/// Past blanks and `// comments`.
fn after_blanks(text: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let bare = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        at += rest.len() - bare.len();
        if !bare.starts_with("//") {
            return at;
        }
        at += bare.find('\n').unwrap_or(bare.len());
    }
}

const OPERATORS: [Operator; 6] = [
    Operator::Or,
    Operator::And,
    Operator::Equal,
    Operator::NotEqual,
    Operator::Matches,
    Operator::MatchesNot,
];

fn token(text: &str, at: usize) -> Result<(Word, usize), Problem> {
    let rest = text.get(at..).unwrap_or_default();
    let Some(first) = rest.chars().next() else { return Ok((Word::End, at)) };
    if let Some(operator) = OPERATORS.into_iter().find(|one| rest.starts_with(one.word())) {
        return Ok((Word::Operator(operator), at + operator.word().len()));
    }
    match first {
        '!' | '?' | ':' | ',' | '(' | ')' | '[' | ']' => Ok((Word::Mark(first), at + 1)),
        '"' | '\'' => quoted(text, at, first),
        '/' => pattern(text, at),
        '$' => shell::expansion(text, at)
            .map(|(raw, next)| (Word::Shell(raw.to_owned()), next))
            .ok_or_else(|| Problem::at(at, "saw a `$` that begins nothing, expected `$NAME` or `${NAME}`")),
        _ if first.is_ascii_digit() => {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let next = at + number.len();
            Ok((Word::Number(number), next))
        }
        _ if first.is_ascii_alphabetic() || first == '_' => {
            let part = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '.';
            let name: String = rest.chars().take_while(part).collect();
            let next = at + name.len();
            let is_operator = name == Operator::Includes.word();
            Ok((if is_operator { Word::Operator(Operator::Includes) } else { Word::Name(name) }, next))
        }
        '=' => Err(Problem::at(at, "saw a single `=`, expected `==` or `=~`")),
        '&' | '|' => Err(Problem::at(at, format!("saw a single `{first}`, expected `{first}{first}`"))),
        _ => Err(Problem::at(at, format!("saw `{}`, which begins nothing here", first.escape_debug()))),
    }
}

fn quoted(text: &str, at: usize, quote: char) -> Result<(Word, usize), Problem> {
    let open = || Problem::at(at, format!("a text begins here, and no `{quote}` ends it"));
    let end = escape::closing(text, at + 1, quote).ok_or_else(open)?;
    let raw = text.get(at + 1..end).unwrap_or_default().to_owned();
    let double = quote == '"';
    if double {
        escape::unescaped(&raw).map_err(|problem| Problem::at(at + 1 + problem.at, problem.what))?;
    }
    Ok((Word::Text { raw, double }, end + 1))
}

fn pattern(text: &str, at: usize) -> Result<(Word, usize), Problem> {
    let open = || Problem::at(at, "a regular expression begins here, and no `/` ends it");
    let end = escape::closing(text, at + 1, '/').ok_or_else(open)?;
    let flags: String = text
        .get(end + 1..)
        .unwrap_or_default()
        .chars()
        .take_while(|c| c.is_ascii_alphabetic() || *c == '_')
        .collect();
    let pattern = text.get(at + 1..end).unwrap_or_default().to_owned();
    let next = end + 1 + flags.len();
    Ok((Word::Pattern { pattern, flags }, next))
}
