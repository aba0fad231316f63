//! `$NAME` and `${NAME:-else}` in conditions, as a shell would have them.

use super::escape;

/// How deep one may stand in the other's fallback.
const MAX_DEPTH: usize = 16;

/// Where values come from.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The expansion that begins at `at`, as it is written, and where it ends; `None` where the `$` begins nothing.
pub(super) fn expansion(raw: &str, at: usize) -> Option<(&str, usize)> {
    let rest = raw.get(at..)?.strip_prefix('$')?;
    let length = match rest.bytes().next()? {
        b'{' => braced(rest)?,
        first if is_start(first) => {
            rest.bytes().take_while(|byte| is_start(*byte) || byte.is_ascii_digit() || *byte == b'.').count()
        }
        _ => return None,
    };
    let end = at + 1 + length;
    Some((raw.get(at..end)?, end))
}

/// The length of `{…}` with its braces.
fn braced(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (1, 1_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            quote @ (b'"' | b'\'') => at = escape::closing(rest, at + 1, char::from(*quote))?,
            b'$' if bytes.get(at + 1) == Some(&b'{') => (depth, at) = (depth + 1, at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn is_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Whether a text in double quotes depends on the environment.
pub(super) fn depends(raw: &str) -> bool {
    let mut at = 0;
    while let Some(next) = raw.get(at..).and_then(|rest| rest.chars().next()) {
        match next {
            '\\' => match escape::double(raw, at) {
                Ok((_, after)) => at = after,
                Err(_) => at += 1,
            },
            '$' if raw.get(at..).is_some_and(|rest| rest.starts_with("$$")) => at += 2,
            '$' if expansion(raw, at).is_some() => return true,
            _ => at += next.len_utf8(),
        }
    }
    false
}

/// The value of one expansion as [`expansion`] gave it; `None` where the variable is not set.
pub(super) fn value(raw: &str, env: Lookup<'_>) -> Result<Option<String>, String> {
    nested_value(raw, env, 0)
}

fn nested_value(raw: &str, env: Lookup<'_>, depth: usize) -> Result<Option<String>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("saw more than {MAX_DEPTH} expansions inside each other"));
    }
    let inner = raw.strip_prefix('$').unwrap_or(raw);
    if let Some(inner) = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return in_braces(inner, env, depth);
    }
    let (name, rest) = split_name(inner);
    if rest.is_empty() {
        return Ok(env(name));
    }
    Ok(Some(env(name).unwrap_or_default() + rest))
}

fn split_name(text: &str) -> (&str, &str) {
    let length = match text.bytes().next() {
        Some(first) if is_start(first) => {
            text.bytes().take_while(|byte| is_start(*byte) || byte.is_ascii_digit()).count()
        }
        _ => 0,
    };
    text.split_at_checked(length).unwrap_or((text, ""))
}

fn in_braces(inner: &str, env: Lookup<'_>, depth: usize) -> Result<Option<String>, String> {
    let wrong = || {
        format!(
            "saw `${{{inner}}}`, expected `${{NAME}}`, or after the name `:-`, `-`, `:+`, `+`, `:?`, `?` or `:offset`"
        )
    };
    let (name, rest) = split_name(inner);
    if name.is_empty() {
        return Err(wrong());
    }
    let seen = env(name);
    if rest.is_empty() {
        return Ok(seen);
    }
    // With a colon an empty value counts as none.
    let (counts, operator) = match rest.strip_prefix(':') {
        Some(after) if after.starts_with(['-', '+', '?']) => (seen.filter(|value| !value.is_empty()), after),
        Some(after) => return part(after, seen, env, depth),
        None => (seen, rest),
    };
    if let Some(other) = operator.strip_prefix('-') {
        return counts.map_or_else(|| nested_text(other, env, depth).map(Some), |value| Ok(Some(value)));
    }
    if let Some(other) = operator.strip_prefix('+') {
        return match counts {
            Some(_) => nested_text(other, env, depth).map(Some),
            None => Ok(Some(String::new())),
        };
    }
    if operator.starts_with('?') {
        return counts.map(Some).ok_or_else(|| format!("`{name}` is not set"));
    }
    Err(wrong())
}

/// `offset` and `offset:length` of a value, in characters; negative ones count from the end.
fn part(
    written: &str,
    seen: Option<String>,
    env: Lookup<'_>,
    depth: usize,
) -> Result<Option<String>, String> {
    let pieces = pieces(written);
    let (offset, length) = match pieces.as_slice() {
        [offset] => (whole(offset, env, depth)?, None),
        [offset, length] => (whole(offset, env, depth)?, Some(whole(length, env, depth)?)),
        _ => return Err(format!("saw `{written}`, expected an offset and a length")),
    };
    let Some(seen) = seen else { return Ok(None) };
    let characters: Vec<char> = seen.chars().collect();
    let count = i64::try_from(characters.len()).unwrap_or(i64::MAX);
    let from = if offset < 0 { count.saturating_add(offset).max(0) } else { offset.min(count) };
    let to = match length {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length),
        Some(length) => from.saturating_add(length),
    };
    let (from, to) = (usize::try_from(from), usize::try_from(to.clamp(from, count)));
    let taken = from.ok().zip(to.ok()).and_then(|(from, to)| characters.get(from..to));
    Ok(Some(taken.unwrap_or_default().iter().collect()))
}

/// Split at colons, but for those inside quotes and braces.
fn pieces(written: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(next) = written.get(at..).and_then(|rest| rest.chars().next()) {
        let after = at + next.len_utf8();
        at = match next {
            '\\' => {
                after + written.get(after..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
            }
            '"' | '\'' => escape::closing(written, after, next).map_or(after, |end| end + 1),
            '$' => expansion(written, at).map_or(after, |(_, end)| end),
            ':' => {
                pieces.push(written.get(start..at).unwrap_or_default());
                start = after;
                after
            }
            _ => after,
        };
    }
    pieces.push(written.get(start..).unwrap_or_default());
    pieces
}

fn whole(written: &str, env: Lookup<'_>, depth: usize) -> Result<i64, String> {
    let text = nested_text(written, env, depth)?;
    text.trim().parse().map_err(|_| format!("saw `{text}` as an offset or a length, expected a whole number"))
}

/// A text with every expansion in it, quotes and backslashes taken away.
pub(super) fn text(raw: &str, env: Lookup<'_>) -> Result<String, String> {
    nested_text(raw, env, 0)
}

fn nested_text(raw: &str, env: Lookup<'_>, depth: usize) -> Result<String, String> {
    let mut out = Vec::new();
    let (mut at, mut quote) = (0, None);
    while let Some(next) = raw.get(at..).and_then(|rest| rest.chars().next()) {
        at = match next {
            _ if quote == Some(next) => {
                quote = None;
                at + 1
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(next);
                at + 1
            }
            '\\' if quote == Some('\'') => {
                let (text, after) = escape::single(raw, at);
                out.extend(text.into_bytes());
                after
            }
            '\\' => {
                let (bytes, after) = escape::double(raw, at).map_err(|problem| problem.what)?;
                out.extend(bytes);
                after
            }
            '$' if quote != Some('\'') => dollar(raw, at, env, depth, &mut out)?,
            _ => {
                out.extend(next.to_string().into_bytes());
                at + next.len_utf8()
            }
        };
    }
    match quote {
        Some(quote) => Err(format!("no `{quote}` ends the text that one begins in `{raw}`")),
        None => Ok(String::from_utf8_lossy(&out).into_owned()),
    }
}

fn dollar(raw: &str, at: usize, env: Lookup<'_>, depth: usize, out: &mut Vec<u8>) -> Result<usize, String> {
    if raw.get(at..).is_some_and(|rest| rest.starts_with("$$")) {
        out.push(b'$');
        return Ok(at + 2);
    }
    let Some((written, end)) = expansion(raw, at) else {
        out.push(b'$');
        return Ok(at + 1);
    };
    out.extend(nested_value(written, env, depth + 1)?.unwrap_or_default().into_bytes());
    Ok(end)
}
