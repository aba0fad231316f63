//! What a provider answered, read with care: the credential first, then whatever else is there.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::Error;
use super::call_error::CallError;
use super::door::{Ends, Token, delta, of_token};
use super::json::{self, Life, Tree};
use dataflow_host::http::Response;
use dataflow_types::claims::SubjectToken;
use dataflow_types::credential::{Flaw, NEVER};
use dataflow_types::secret::Secret;
use dataflow_types::span::Span;

/// What came of a call, with what the caller must know beside it.
#[derive(Debug)]
pub struct Answer {
    pub(super) host: String,
    pub(super) response: Response,
    /// Whether an earlier try may have made a credential that nobody holds.
    pub lost: bool,
}

impl Answer {
    /// An answer that cannot be used; the credential that it may speak of may exist.
    pub fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::Call(CallError::Malformed { host: self.host.clone(), problem: problem.into() })
    }

    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers.get(name)?.to_str().ok()
    }

    /// The raw body.
    pub fn bytes(&self) -> &[u8] {
        self.response.body.bytes()
    }

    /// The body as text, without a byte order mark.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        json::text(self.bytes())
    }

    /// Reads the body as JSON; what is wrong with it is told without showing it.
    pub fn fields(&self) -> Result<Fields<'_>, Error> {
        match Tree::read(self.bytes()) {
            Ok(tree) => Ok(Fields { answer: self, tree }),
            Err(error) => Err(self.malformed(format!(
                "answered {} and no JSON ({}, line {} column {})",
                self.response.status,
                self.content_type(),
                error.line(),
                error.column()
            ))),
        }
    }

    fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or("no content type")
    }
}

/// Where an end is written, as what, and how it is read.
type Written<'a> = (&'a [&'a str], &'a str, fn(&Value) -> Option<Life>);

/// A body of JSON, of which nothing can be read that is not asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    answer: &'a Answer,
    tree: Tree,
}

impl Fields<'_> {
    /// The token in this field (a pointer, RFC 6901): the door for every token that a provider answers in JSON.
    pub fn token(&self, pointer: &str) -> Result<Token, Error> {
        let text = match self.tree.first(&[pointer]) {
            Some(Value::String(text)) if text.is_empty() => {
                return Err(self.answer.malformed("answered an empty token"));
            }
            Some(Value::String(text)) => text,
            _ => return Err(self.lacks(pointer)),
        };
        let flaw = of_token(text).map(|problem| self.flaw(format!("answered {} {problem}", field(pointer))));
        Ok(Token { secret: Secret::new(text.as_str()), flaw })
    }

    /// The first of these fields that is a text with something in it.
    pub fn text(&self, pointers: &[&str]) -> Option<&str> {
        self.tree.text(pointers)
    }

    /// The stored value in the first of these fields that holds a text, which may be empty: any text, for what may be
    /// done with it depends on where it goes.
    pub(super) fn value(&self, pointers: &[&str]) -> Result<Option<Secret>, Error> {
        let Some(text) = self.tree.first(pointers).and_then(Value::as_str) else { return Ok(None) };
        if text.contains('\u{fffd}') && std::str::from_utf8(self.answer.bytes()).is_err() {
            return Err(self.answer.malformed("answered a value in a charset that is not UTF-8"));
        }
        Ok(Some(Secret::new(text)))
    }

    /// A number, or a number as text.
    pub(super) fn number(&self, pointer: &str) -> Option<u64> {
        self.tree.number(pointer)
    }

    /// Whether anything stands in a field.
    pub(super) fn has(&self, pointer: &str) -> bool {
        self.tree.first(&[pointer]).is_some()
    }

    /// An answer in which a field is missed.
    pub(super) fn lacks(&self, pointer: &str) -> Error {
        self.answer.malformed(format!(
            "answered {} and JSON that lacks what was asked for: {} ({})",
            self.answer.response.status,
            field(pointer),
            self.answer.content_type()
        ))
    }

    /// When a token ends whose lifetime stands in this field: as it says, or as the token itself does, or after its
    /// `usual` time.
    pub fn ends_in(&self, pointer: &str, token: &Token, usual: Span, now: DateTime<Utc>) -> Ends {
        self.ends((&[pointer], "a lifetime", Life::of), token, usual, now)
    }

    /// The same where a time stands in the first of these fields.
    pub(super) fn ends_at(&self, pointers: &[&str], token: &Token, usual: Span, now: DateTime<Utc>) -> Ends {
        self.ends((pointers, "an end", Life::end_of), token, usual, now)
    }

    fn ends(
        &self,
        (pointers, what, read): Written<'_>,
        token: &Token,
        usual: Span,
        now: DateTime<Utc>,
    ) -> Ends {
        let never = DateTime::from_timestamp(NEVER, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let after = |life: TimeDelta| now.checked_add_signed(life).unwrap_or(never).min(never);
        let written = self
            .tree
            .first(pointers)
            .filter(|value| value.is_number() || value.as_str().is_some_and(|text| !text.trim().is_empty()));
        let at = match written.map(read) {
            Some(None) => {
                let flaw = Some(self.flaw(format!("answered {what} that is no time")));
                return Ends { at: after(delta(usual)), flaw };
            }
            Some(Some(Life::Until(at))) => at.min(never),
            Some(Some(Life::Seconds(seconds))) if seconds <= 0 => now,
            Some(Some(Life::Seconds(seconds))) => TimeDelta::try_seconds(seconds).map_or(never, after),
            None => own_end(&token.secret).unwrap_or_else(|| {
                let field = field(pointers.first().unwrap_or(&""));
                let host = &self.answer.host;
                tracing::warn!(
                    "`{host}` does not say in {field} how long its token lives: {usual} is assumed"
                );
                after(delta(usual))
            }),
        };
        Ends::checked(at, usual, now, &self.answer.host)
    }

    fn flaw(&self, problem: String) -> Flaw {
        Flaw { host: self.answer.host.clone(), problem }
    }
}

/// When a token ends by its own claims, where it has any.
pub(super) fn own_end(token: &Secret) -> Option<DateTime<Utc>> {
    let claims = SubjectToken::new(token.clone()).unverified_claims().ok()?;
    DateTime::from_timestamp(claims.seconds("exp")?, 0)
}

/// A pointer as people write the name of a field.
fn field(pointer: &str) -> String {
    format!("`{}`", pointer.trim_start_matches('/').replace('/', "."))
}
