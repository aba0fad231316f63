//! What a condition is worth.

use super::names::readable_now;
use super::tree::{Kind, Node, Operator};
use super::{Problem, Scope, Value, escape, pattern, shell};

type Answer = Result<Value, Problem>;

pub(super) fn value(node: &Node, scope: &dyn Scope) -> Answer {
    let wrong = |what: String| Problem::at(node.at, what);
    let env = |name: &str| readable_now(name).ok().and_then(|()| scope.env(name));
    Ok(match &node.kind {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(value) => Value::Number(*value),
        Kind::Text { raw, double: false } => Value::Text(escape::plain(raw)),
        Kind::Text { raw, double: true } if shell::depends(raw) || raw.contains("$$") => {
            Value::Text(shell::text(raw, &env).map_err(wrong)?)
        }
        Kind::Text { raw, double: true } => Value::Text(escape::unescaped(raw)?),
        Kind::Shell(raw) => Value::of(shell::value(raw, &env).map_err(wrong)?),
        Kind::Pattern { pattern, ignore_case } => Value::Pattern(pattern.clone(), *ignore_case),
        Kind::Variable(name) => scope.variable(name),
        Kind::Call { function, arguments } => call(node.at, function, arguments, scope)?,
        Kind::List(parts) => {
            Value::List(parts.iter().map(|part| value(part, scope)).collect::<Result<_, _>>()?)
        }
        Kind::Not(inner) => Value::Bool(!is_true(&value(inner, scope)?)),
        Kind::Infix { operator, left, right } => infix(*operator, left, right, scope)?,
        Kind::Choice { condition, yes, no } => {
            value(if is_true(&value(condition, scope)?) { yes } else { no }, scope)?
        }
    })
}

/// The word for a value in a message.
pub(super) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "yes or no",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Pattern(..) => "a regular expression",
    }
}

fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// `env` gives a text in any case, `build.env` null for a variable that is not set.
fn call(at: usize, function: &str, arguments: &[Node], scope: &dyn Scope) -> Answer {
    let name = match arguments {
        [name] => value(name, scope)?,
        _ => Value::Null,
    };
    let Value::Text(name) = name else {
        return Err(Problem::at(at, format!("saw {} as the name of a variable", word(&name))));
    };
    readable_now(&name).map_err(|what| Problem::at(at, what))?;
    let seen = scope.env(&name);
    Ok(if function == "env" { Value::Text(seen.unwrap_or_default()) } else { Value::of(seen) })
}

fn infix(operator: Operator, left: &Node, right: &Node, scope: &dyn Scope) -> Answer {
    let (at, left) = (left.at, value(left, scope)?);
    match operator {
        Operator::And if !is_true(&left) => return Ok(left),
        Operator::Or if is_true(&left) => return Ok(left),
        Operator::And | Operator::Or => return value(right, scope),
        _ => {}
    }
    let right = value(right, scope)?;
    let answer = match operator {
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Matches => matches(at, &left, &right)?,
        Operator::MatchesNot => !matches(at, &left, &right)?,
        _ => includes(at, &left, &right)?,
    };
    Ok(Value::Bool(answer))
}

/// Nothing matches no regular expression.
fn matches(at: usize, left: &Value, right: &Value) -> Result<bool, Problem> {
    match (left, right) {
        (Value::Text(text), Value::Pattern(pattern, ignore_case)) => {
            let regex = pattern::compiled(pattern, *ignore_case).map_err(|what| Problem::at(at, what))?;
            Ok(regex.is_match(text))
        }
        (Value::Null, Value::Pattern(..)) => Ok(false),
        _ => Err(Problem::at(at, format!("{} cannot be matched with {}", word(left), word(right)))),
    }
}

fn includes(at: usize, left: &Value, right: &Value) -> Result<bool, Problem> {
    let parts = match left {
        Value::List(parts) => parts,
        Value::Null => return Ok(false),
        _ => return Err(Problem::at(at, format!("{} includes nothing", word(left)))),
    };
    for part in parts {
        let found = match (part, right) {
            (_, Value::Null) => false,
            (Value::Text(_), Value::Pattern(..)) => matches(at, part, right)?,
            (Value::Text(part), Value::Text(sought)) => part == sought,
            _ => {
                let problem = format!("{} cannot be compared with {}", word(part), word(right));
                return Err(Problem::at(at, problem));
            }
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
