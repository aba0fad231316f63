//! Names and types, before anything is evaluated: what cannot be answered is refused, and never taken for a no.

use super::names::{FUNCTIONS, Holds, VARIABLES, nearest, readable};
use super::tree::{Kind, Node, Operator};
use super::{Problem, escape, shell};

/// What a part will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Bool,
    Number,
    Text,
    /// One of the words of a variable.
    Word(&'static [&'static str]),
    List,
    Pattern,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "yes or no",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Word(_) => "a word of a fixed set",
            Self::List => "a list",
            Self::Pattern => "a regular expression",
        }
    }
}

type Typed = Result<Type, Problem>;

pub(super) fn check(tree: &Node) -> Result<(), Problem> {
    one_of(tree, &[Type::Bool]).map(|_| ())
}

fn one_of(node: &Node, expected: &[Type]) -> Typed {
    let seen = type_of(node)?;
    if expected.contains(&seen) {
        return Ok(seen);
    }
    let words: Vec<&str> = expected.iter().map(|one| one.word()).collect();
    Err(Problem::at(node.at, format!("saw {}, expected {}", seen.word(), words.join(" or "))))
}

fn type_of(node: &Node) -> Typed {
    match &node.kind {
        Kind::Null => Ok(Type::Null),
        Kind::Bool(_) => Ok(Type::Bool),
        Kind::Number(_) => Ok(Type::Number),
        Kind::Text { .. } | Kind::Shell(_) => Ok(Type::Text),
        Kind::Pattern { .. } => Ok(Type::Pattern),
        Kind::Variable(name) => variable(node.at, name),
        Kind::Call { function, arguments } => call(node.at, function, arguments),
        Kind::List(parts) => {
            for part in parts {
                one_of(part, &[Type::Text])?;
            }
            Ok(Type::List)
        }
        Kind::Not(inner) => one_of(inner, &[Type::Bool]),
        Kind::Infix { operator, left, right } => infix(*operator, left, right),
        Kind::Choice { condition, yes, no } => {
            one_of(condition, &[Type::Bool])?;
            alike(yes, no)
        }
    }
}

fn variable(at: usize, name: &str) -> Typed {
    let known = VARIABLES.iter().find(|known| known.name == name).ok_or_else(|| {
        let hint = match nearest(name, VARIABLES.iter().map(|known| known.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "those of `build`, `pipeline`, `organization` and `step` are known".to_owned(),
        };
        Problem::at(at, format!("`{name}` is no variable; {hint}"))
    })?;
    Ok(match known.holds {
        Holds::Text => Type::Text,
        Holds::Word(words) => Type::Word(words),
        Holds::Number => Type::Number,
        Holds::Bool => Type::Bool,
        Holds::List => Type::List,
    })
}

fn call(at: usize, function: &str, arguments: &[Node]) -> Typed {
    if !FUNCTIONS.contains(&function) {
        let problem = format!("`{function}` is no function: there are `env` and `build.env`");
        return Err(Problem::at(at, problem));
    }
    let [name] = arguments else {
        let problem = format!("saw {} arguments of `{function}`, expected one", arguments.len());
        return Err(Problem::at(at, problem));
    };
    if let Some(literal) = literal(name) {
        readable(&literal).map_err(|what| Problem::at(name.at, what))?;
    }
    match type_of(name)? {
        Type::Text | Type::Word(_) => Ok(Type::Text),
        other => Err(Problem::at(name.at, format!("saw {}, expected a variable's name", other.word()))),
    }
}

/// A text that does not depend on the environment.
fn literal(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Text { raw, double: true } if !shell::depends(raw) => escape::unescaped(raw).ok(),
        Kind::Text { raw, double: false } => Some(escape::plain(raw)),
        _ => None,
    }
}

fn infix(operator: Operator, left: &Node, right: &Node) -> Typed {
    match operator {
        Operator::Or | Operator::And => {
            one_of(left, &[Type::Bool])?;
            one_of(right, &[Type::Bool])?;
        }
        Operator::Equal | Operator::NotEqual => drop(alike(left, right)?),
        Operator::Matches | Operator::MatchesNot => {
            one_of(left, &[Type::Text, Type::Null])?;
            one_of(right, &[Type::Pattern])?;
        }
        Operator::Includes => {
            one_of(left, &[Type::List, Type::Null])?;
            one_of(right, &[Type::Text, Type::Pattern, Type::Null])?;
        }
    }
    Ok(Type::Bool)
}

/// Two parts of one type, either of which may be `null`; the variable of a fixed set stands on the left.
fn alike(left: &Node, right: &Node) -> Typed {
    match (type_of(left)?, type_of(right)?) {
        (Type::Null, other) | (other, Type::Null) => Ok(other),
        (Type::Word(words), Type::Text) => match literal(right) {
            Some(word) if !words.contains(&word.as_str()) => {
                let hint =
                    nearest(&word, words.iter().copied()).map_or_else(|| words.join("`, `"), str::to_owned);
                let problem = format!("`{word}` is no value that {left} can have; expected `{hint}`");
                Err(Problem::at(right.at, problem))
            }
            _ => Ok(Type::Word(words)),
        },
        (Type::Text, Type::Word(_)) => {
            Err(Problem::at(right.at, format!("write `{right}` on the left: it is a word of a fixed set")))
        }
        (seen @ Type::Word(_), other) => Err(differ(right, seen, other)),
        (seen, other) if seen == other => Ok(seen),
        (seen, other) => Err(differ(right, seen, other)),
    }
}

fn differ(right: &Node, left: Type, other: Type) -> Problem {
    let expected = if matches!(left, Type::Word(_)) { Type::Text } else { left };
    Problem::at(right.at, format!("saw {}, expected {} as on the left", other.word(), expected.word()))
}
