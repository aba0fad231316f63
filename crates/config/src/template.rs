//! `${claims.NAME}` in the values of a credential: text that only the job's verified token can give.
//!
//! An entry is read twice: with stand-ins, so that what is wrong in any job is said at once, and, when the job is known,
//! with the claims themselves. The second reading decides.

use serde_json::Value;

use super::claim_names;
use super::error::Error;
use super::grammar::{self, Part};
use super::path::{get, locate};
use dataflow_types::claims::Claims;
use dataflow_types::near_name::nearest;

const OPEN: &str = "${claims.";
/// After a claim's name: its text is made to fit anywhere.
const FIT: &str = "|fit";
/// One dollar more makes it plain text.
const PLAIN: &str = "$${claims.";

/// A piece of a value.
enum Piece<'a> {
    Text(&'a str),
    Claim(&'a str),
    /// Begun and not ended.
    Broken(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text(OPEN)]);
            rest = after;
            continue;
        }
        pieces.push(Piece::Text(before));
        match after.split_once('}') {
            Some((name, after)) if is_name(name.strip_suffix(FIT).unwrap_or(name)) => {
                pieces.push(Piece::Claim(name));
                rest = after;
            }
            _ => {
                pieces.push(Piece::Broken(after));
                return pieces;
            }
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether a value has anything in it that is not to be read as it is written.
pub fn is_in(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(OPEN) || text.contains(PLAIN),
        Value::Array(items) => items.iter().any(is_in),
        Value::Object(members) => members.values().any(is_in),
        _ => false,
    }
}

/// Whether a claim stands in a text, or what was begun as one.
pub(super) fn has_claim(text: &str) -> bool {
    pieces(text).iter().any(|piece| !matches!(piece, Piece::Text(_)))
}

/// The entry with something else for each claim, which any text of the kind could be.
pub fn with_stand_ins(file: &str, place: &str, entry: &Value) -> Result<Value, Error> {
    standing_in(file, place, entry, "x")
}

/// The same with other texts: what differs between the two depends on claims.
pub fn with_others(file: &str, place: &str, entry: &Value) -> Result<Value, Error> {
    standing_in(file, place, entry, "y")
}

fn standing_in(file: &str, place: &str, entry: &Value, stem: &str) -> Result<Value, Error> {
    let mut seen: Vec<String> = Vec::new();
    let filled = walk(entry, &mut Vec::new(), &mut |path, text| {
        if let Some(problem) = fixed(path) {
            return Err(Error::at(file, under(place, path), problem));
        }
        let mut slip = None;
        let joined = joined(path, text, |name| {
            slip = claim_names::meant(name);
            if slip.is_some() {
                return Err(format!("the tokens of Buildkite have no claim `{name}`"));
            }
            let known = seen.iter().position(|known| known == name).unwrap_or_else(|| {
                seen.push(name.to_owned());
                seen.len() - 1
            });
            Ok(format!("{stem}{}", known + 1))
        });
        joined.map_err(|problem| match slip {
            Some(near) => {
                Error::at(file, under(place, path), problem).hinted(format!("did you mean `{near}`?"))
            }
            None => broken(Error::at(file, under(place, path), problem)),
        })
    })?;
    Ok(filled)
}

/// The credentials of each grant of a host config as they were written, where claims stand in any; `whole` is left with
/// stand-ins.
pub fn of_grants(file: &str, whole: &mut Value) -> Result<Option<Vec<Vec<Value>>>, Error> {
    let grants = whole.get_mut("grants").and_then(Value::as_array_mut);
    let Some(grants) = grants.filter(|grants| grants.iter().any(is_in)) else { return Ok(None) };
    let mut written = Vec::new();
    for (grant, value) in grants.iter_mut().enumerate() {
        let mut entries = value.get_mut("credentials").and_then(Value::as_array_mut);
        written.push(entries.as_deref().cloned().unwrap_or_default());
        for (index, entry) in entries.iter_mut().flat_map(|entries| entries.iter_mut()).enumerate() {
            *entry = with_stand_ins(file, &format!("grants[{grant}].credentials[{index}]"), entry)?;
        }
    }
    Ok(Some(written))
}

/// The value so that reading it again changes nothing.
pub fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(OPEN, PLAIN)),
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, item)| (key.clone(), escaped(item))).collect())
        }
        other => other.clone(),
    }
}

/// The entry with the job's claims in it.
pub fn filled(file: &str, place: &str, entry: &Value, claims: &Claims) -> Result<Value, Error> {
    walk(entry, &mut Vec::new(), &mut |path, text| {
        let at = || under(place, path);
        let mut unknown = None;
        let filled = joined(path, text, |name| {
            claims.text(name).ok_or_else(|| {
                unknown = Some(name.to_owned());
                format!("the job's token has no claim `{name}`")
            })
        });
        filled.map_err(|problem| match &unknown {
            Some(name) => Error::at(file, at(), problem).hinted(there_are(name, claims)),
            None => Error::at(file, at(), problem).hinted(
                "`${claims.NAME|fit}` is the claim's text made to fit, with a digest where that changes it",
            ),
        })
    })
}

fn there_are(name: &str, claims: &Claims) -> String {
    let texts = claims.as_map().keys().filter(|name| claims.text(name).is_some());
    let known: Vec<&str> = texts.map(String::as_str).collect();
    match known.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has `{}`; `token.claims` asks for more", known.join("`, `")),
        },
    }
}

fn broken(error: Error) -> Error {
    error.hinted("`${claims.NAME}` is a claim of the job's token, and `$${claims.NAME}` plain text")
}

/// What is needed before the job is known cannot depend on it.
fn fixed(path: &[String]) -> Option<&'static str> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["name" | "grant"] => Some("a claim cannot stand here: others find it by this text"),
        ["if"] => Some("a claim cannot stand here: a condition has variables such as `pipeline.slug`"),
        [_, "token", ..] => {
            Some("a claim cannot stand here: the token that has the claims is made from this")
        }
        _ => None,
    }
}

fn under(place: &str, path: &[String]) -> String {
    path.iter().fold(place.to_owned(), |place, key| match key.parse::<usize>() {
        Ok(index) => format!("{place}[{index}]"),
        Err(_) => format!("{place}.{key}"),
    })
}

/// The text with its claims, each as the grammar of the place has it: the one door for claims.
fn joined(
    path: &[String],
    text: &str,
    mut claim: impl FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let pieces = pieces(text);
    let mut values = Vec::new();
    for piece in &pieces {
        match piece {
            Piece::Text(_) => values.push(String::new()),
            Piece::Claim(name) => values.push(claim(name.strip_suffix(FIT).unwrap_or(name))?),
            Piece::Broken(rest) => {
                let seen: String = rest.chars().take(20).collect();
                return Err(format!("saw `{OPEN}{seen}`, expected a claim's name and `}}`"));
            }
        }
    }
    let mut parts = Vec::new();
    for (piece, value) in pieces.iter().zip(&values) {
        parts.push(match *piece {
            Piece::Text(text) | Piece::Broken(text) => Part::Text(text),
            Piece::Claim(name) => {
                Part::Claim { name: name.strip_suffix(FIT).unwrap_or(name), value, fit: name.ends_with(FIT) }
            }
        });
    }
    grammar::of(path, text).put(&parts)
}

type Fill<'a> = dyn FnMut(&[String], &str) -> Result<String, Error> + 'a;

fn walk(value: &Value, path: &mut Vec<String>, fill: &mut Fill<'_>) -> Result<Value, Error> {
    Ok(match value {
        Value::String(text) if text.contains(OPEN) => Value::String(fill(path, text)?),
        Value::Array(items) => {
            let mut filled = Vec::new();
            for (index, item) in items.iter().enumerate() {
                filled.push(below(index.to_string(), item, path, fill)?);
            }
            Value::Array(filled)
        }
        Value::Object(members) => {
            let mut filled = serde_json::Map::new();
            for (key, item) in members {
                filled.insert(key.clone(), below(key.clone(), item, path, fill)?);
            }
            Value::Object(filled)
        }
        other => other.clone(),
    })
}

fn below(key: String, item: &Value, path: &mut Vec<String>, fill: &mut Fill<'_>) -> Result<Value, Error> {
    path.push(key);
    let filled = walk(item, path, fill);
    path.pop();
    filled
}

impl Error {
    /// The same error where `filled` was read instead of what was written: it is reported for the latter.
    pub(super) fn for_written(mut self, filled: &Value, written: &Value) -> Self {
        let (path, _) = locate(filled, &self.place);
        if let (Some(Value::String(stand_in)), Some(Value::String(text))) =
            (get(filled, &path), get(written, &path))
        {
            // Plain text is shown as it is read, with one dollar less.
            if has_claim(text) {
                let quoted = format!("`{}`", super::shown::escaped(text));
                self.problem = self.problem.replace(&format!("`{stand_in}`"), &quoted);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn claims() -> Claims {
        let claims =
            json!({"pipeline_slug": "web", "build_branch": "../main", "build_number": 7, "build_tag": null});
        Claims::new(claims.as_object().unwrap().clone())
    }

    fn fill(entry: &Value) -> Result<Value, String> {
        filled("step config", "credentials[0]", entry, &claims()).map_err(|error| {
            error.hint.iter().fold(error.to_string(), |text, hint| format!("{text}; {hint}"))
        })
    }

    #[test]
    fn a_claim_is_put_in_as_text_wherever_a_string_stands() {
        let entry = json!({"aws": {"role": "a/${claims.pipeline_slug}-${claims.build_number}", "n": 1, "l": ["${claims.pipeline_slug}"]}});
        assert_eq!(fill(&entry).unwrap(), json!({"aws": {"role": "a/web-7", "n": 1, "l": ["web"]}}));
    }

    #[test]
    fn one_dollar_more_makes_it_plain_text() {
        assert_eq!(
            fill(&json!({"a": "$${claims.x} ${other}"})).unwrap(),
            json!({"a": "${claims.x} ${other}"})
        );
    }

    #[test]
    fn a_claim_that_the_token_lacks_is_refused_with_those_that_are_there() {
        assert_eq!(
            fill(&json!({"aws": {"role": "${claims.pipeline_slog}"}})).unwrap_err(),
            "step config: `credentials[0].aws.role`: the job's token has no claim `pipeline_slog`; did you mean `pipeline_slug`?"
        );
        assert_eq!(
            fill(&json!({"list": ["${claims.build_tag}"]})).unwrap_err(),
            "step config: `credentials[0].list[0]`: the job's token has no claim `build_tag`; \
             it has `build_branch`, `build_number`, `pipeline_slug`; `token.claims` asks for more"
        );
    }

    #[test]
    fn a_claim_cannot_lead_out_of_a_path() {
        let error = fill(&json!({"vault": {"path": "kv/${claims.build_branch}"}})).unwrap_err();
        assert!(
            error.contains("the claim `build_branch` is `../main`, which cannot stand in a name"),
            "{error}"
        );
    }

    #[test]
    fn a_claim_is_made_to_fit_where_that_is_asked_for() {
        let filled = fill(&json!({"vault": {"path": "kv/${claims.build_branch|fit}"}})).unwrap();
        let path = filled["vault"]["path"].as_str().unwrap();
        assert!(path.starts_with("kv/---main--") && path.len() == "kv/---main--".len() + 20, "{path}");
    }

    #[test]
    fn what_is_begun_and_not_ended_is_refused() {
        for text in ["${claims.", "${claims.a b}", "${claims.}", "x ${claims.open"] {
            let error = with_stand_ins("f", "p", &json!({"a": text})).unwrap_err();
            assert!(error.problem.contains("expected a claim's name"), "{error}");
        }
    }

    #[test]
    fn what_is_needed_before_the_job_is_known_cannot_use_claims() {
        let place = |entry| with_stand_ins("f", "p", &entry).unwrap_err().place;
        assert_eq!(place(json!({"aws": {"token": {"audience": "${claims.sub}"}}})), "p.aws.token.audience");
        assert_eq!(place(json!({"name": "${claims.sub}"})), "p.name");
        assert_eq!(place(json!({"if": "${claims.sub}"})), "p.if");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_as_it_was(text in "([$a]|\\$\\{claims\\.|\\}){0,12}") {
            let value = json!({"a": [text]});
            prop_assert_eq!(fill(&escaped(&value)), Ok(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "([$a.]|\\$\\{claims\\.|\\}|é|pipeline_slug){0,12}") {
            let value = json!({"a": text});
            drop((fill(&value), with_stand_ins("f", "p", &value)));
        }
    }

    #[test]
    fn different_claims_have_different_stand_ins() {
        let entry = json!({"a": "${claims.x}", "b": "${claims.y}${claims.x}"});
        assert_eq!(with_stand_ins("f", "p", &entry).unwrap(), json!({"a": "x1", "b": "x2x1"}));
    }
}
