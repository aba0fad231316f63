//! What a condition is made of.

use std::fmt;

/// One part of a condition, and where in the text it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// The kinds of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(i64),
    /// Between its quotes as it was written.
    Text {
        raw: String,
        double: bool,
    },
    /// `$name` or `${…}`.
    Shell(String),
    Pattern {
        pattern: String,
        ignore_case: bool,
    },
    Variable(String),
    Call {
        function: String,
        arguments: Vec<Node>,
    },
    List(Vec<Node>),
    Not(Box<Node>),
    Infix {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
    },
    Choice {
        condition: Box<Node>,
        yes: Box<Node>,
        no: Box<Node>,
    },
}

/// What stands between two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
    Includes,
}

impl Operator {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
            Self::Includes => "includes",
        }
    }
}

/// Where a part stands does not matter for what it means.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Node {}

impl Node {
    /// Shows every part to `see`, from the outside in.
    pub(super) fn walk<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match &self.kind {
            Kind::Call { arguments: parts, .. } | Kind::List(parts) => {
                for part in parts {
                    part.walk(see);
                }
            }
            Kind::Not(inner) => inner.walk(see),
            Kind::Infix { left, right, .. } => {
                left.walk(see);
                right.walk(see);
            }
            Kind::Choice { condition, yes, no } => {
                for part in [condition, yes, no] {
                    part.walk(see);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Null => f.write_str("null"),
            Kind::Bool(value) => value.fmt(f),
            Kind::Number(value) => value.fmt(f),
            Kind::Text { raw, double: true } => write!(f, "\"{raw}\""),
            Kind::Text { raw, double: false } => write!(f, "'{raw}'"),
            Kind::Shell(text) | Kind::Variable(text) => f.write_str(text),
            Kind::Pattern { pattern, ignore_case } => {
                write!(f, "/{pattern}/{}", if *ignore_case { "i" } else { "" })
            }
            Kind::Call { function, arguments } => {
                f.write_str(function)?;
                list(f, "(", arguments, ")")
            }
            Kind::List(parts) => list(f, "[", parts, "]"),
            Kind::Not(inner) => write!(f, "!{inner}"),
            Kind::Infix { operator, left, right } => write!(f, "({left} {} {right})", operator.word()),
            Kind::Choice { condition, yes, no } => write!(f, "({condition} ? {yes} : {no})"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, parts: &[Node], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(close)
}
