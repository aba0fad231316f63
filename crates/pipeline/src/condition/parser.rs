//! Tokens as a tree: operators by how tightly they bind.

use super::lexer::{Token, Word, tokens};
use super::tree::{Kind, Node, Operator};
use super::{Problem, pattern};

/// The most parts that a condition may have, and so the deepest that one may stand in another.
const MAX_PARTS: usize = 200;

/// How tightly something binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Loosest,
    Choice,
    Or,
    And,
    Compare,
    Not,
}

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, parts: 0 };
    if parser.peek().kind == Word::End {
        return Err(Problem::at(0, "saw nothing, expected a condition such as `build.branch == \"main\"`"));
    }
    let node = parser.expression(Binds::Loosest)?;
    match parser.take() {
        Token { kind: Word::End, .. } => Ok(node),
        other => Err(parser.unexpected(&other, "an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    parts: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        const END: &Token = &Token { at: usize::MAX, kind: Word::End };
        self.tokens.get(self.next).or(self.tokens.last()).unwrap_or(END)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn expression(&mut self, tighter_than: Binds) -> Result<Node, Problem> {
        self.count()?;
        let mut left = self.operand()?;
        while let Some(binds) = self.binds().filter(|binds| *binds > tighter_than) {
            self.count()?;
            let token = self.take();
            left = match token.kind {
                Word::Operator(operator) => {
                    let right = self.expression(binds)?;
                    let kind = Kind::Infix { operator, left: Box::new(left), right: Box::new(right) };
                    Node { at: token.at, kind }
                }
                _ => self.choice(token.at, left)?,
            };
        }
        Ok(left)
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Problem::at(
                self.peek().at,
                format!("saw more than {MAX_PARTS} parts in a condition"),
            ));
        }
        Ok(())
    }

    fn binds(&self) -> Option<Binds> {
        match self.peek().kind {
            Word::Operator(Operator::Or) => Some(Binds::Or),
            Word::Operator(Operator::And) => Some(Binds::And),
            Word::Operator(_) => Some(Binds::Compare),
            Word::Mark('?') => Some(Binds::Choice),
            _ => None,
        }
    }

    fn choice(&mut self, at: usize, condition: Node) -> Result<Node, Problem> {
        let yes = self.expression(Binds::Loosest)?;
        self.expect(':')?;
        let no = self.expression(Binds::Loosest)?;
        let (condition, yes, no) = (Box::new(condition), Box::new(yes), Box::new(no));
        Ok(Node { at, kind: Kind::Choice { condition, yes, no } })
    }

    fn operand(&mut self) -> Result<Node, Problem> {
        let token = self.take();
        let at = token.at;
        let kind = match token.kind {
            Word::Name(name) => self.name(at, name)?,
            Word::Number(digits) => number(at, &digits)?,
            Word::Text { raw, double } => Kind::Text { raw, double },
            Word::Shell(text) => Kind::Shell(text),
            Word::Pattern { pattern, flags } => regex(at, pattern, &flags)?,
            Word::Mark('!') => Kind::Not(Box::new(self.expression(Binds::Not)?)),
            Word::Mark('[') => Kind::List(self.list(']')?),
            Word::Mark('(') => {
                let inner = self.expression(Binds::Loosest)?;
                self.expect(')')?;
                return Ok(inner);
            }
            kind => return Err(self.unexpected(&Token { at, kind }, "a value")),
        };
        if self.peek().kind == Word::Mark('(') {
            return Err(Problem::at(self.peek().at, "saw `(` after a value, expected an operator"));
        }
        Ok(Node { at, kind })
    }

    fn name(&mut self, at: usize, name: String) -> Result<Kind, Problem> {
        match name.as_str() {
            "true" => return Ok(Kind::Bool(true)),
            "false" => return Ok(Kind::Bool(false)),
            "null" => return Ok(Kind::Null),
            _ => {}
        }
        if name.ends_with('.') || name.contains("..") {
            return Err(Problem::at(at, format!("saw `{name}`, expected a name on both sides of each dot")));
        }
        if self.peek().kind != Word::Mark('(') {
            return Ok(Kind::Variable(name));
        }
        self.next += 1;
        Ok(Kind::Call { function: name, arguments: self.list(')')? })
    }

    fn list(&mut self, end: char) -> Result<Vec<Node>, Problem> {
        let mut parts = Vec::new();
        if self.peek().kind == Word::Mark(end) {
            self.next += 1;
            return Ok(parts);
        }
        loop {
            parts.push(self.expression(Binds::Loosest)?);
            if self.peek().kind != Word::Mark(',') {
                break;
            }
            self.next += 1;
        }
        self.expect(end)?;
        Ok(parts)
    }

    fn expect(&mut self, mark: char) -> Result<(), Problem> {
        let token = self.take();
        if token.kind == Word::Mark(mark) {
            return Ok(());
        }
        Err(self.unexpected(&token, &format!("`{mark}`")))
    }

    fn unexpected(&self, token: &Token, expected: &str) -> Problem {
        let at = token.at.min(self.tokens.last().map_or(0, |end| end.at));
        Problem::at(at, format!("saw {}, expected {expected}", token.kind.seen()))
    }
}

/// A number that begins with a zero is octal, as where Buildkite evaluates.
fn number(at: usize, digits: &str) -> Result<Kind, Problem> {
    let octal = digits.len() > 1 && digits.starts_with('0');
    let value = i64::from_str_radix(digits, if octal { 8 } else { 10 });
    value.map(Kind::Number).map_err(|_| {
        let expected = if octal { "an octal number, for it begins with 0" } else { "a smaller number" };
        Problem::at(at, format!("saw `{digits}`, expected {expected}"))
    })
}

fn regex(at: usize, pattern: String, flags: &str) -> Result<Kind, Problem> {
    if let Some(flag) = flags.chars().find(|flag| *flag != 'i') {
        return Err(Problem::at(at, format!("saw the flag `{flag}` of a regular expression, expected `i`")));
    }
    let ignore_case = !flags.is_empty();
    pattern::compiled(&pattern, ignore_case).map_err(|what| Problem::at(at, what))?;
    Ok(Kind::Pattern { pattern, ignore_case })
}
