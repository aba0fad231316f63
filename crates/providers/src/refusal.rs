//! What a provider said instead of giving a credential, in the words that all providers share.

use super::json::{self, Tree};
use dataflow_host::http::StatusCode;

/// Where servers write what is wrong, beside the fields that a provider documents (`detail` and `title`: RFC 9457).
const WORDS: [&str; 16] = [
    "/error_description",
    "/error/message",
    "/error/description",
    "/errors/0/message",
    "/errors/0/detail",
    "/errors/0/description",
    "/errors/0",
    "/message",
    "/Message",
    "/errorMessage",
    "/error_message",
    "/detail",
    "/title",
    "/reason",
    "/error/0",
    "/error",
];

/// What a provider said instead of giving a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its own code; the HTTP status where it has none.
    pub code: String,
    /// Its own words, shortened; no secret.
    pub message: String,
    /// What is to be done about it.
    pub remedy: Remedy,
    /// What a person should do.
    pub hint: Option<String>,
}

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask again later: busy, throttled, a fault of the server's.
    Wait,
    /// Ask again with a fresh token: this one's time was wrong.
    FreshToken,
    /// The token is not what the provider's trust expects: its claims belong into the message.
    OtherToken,
    /// Ask for something else: the role, the path, the permission is wrong.
    Stop,
}

/// A server's words, short, in one line, and without anything that could be a token it repeats.
pub(crate) fn plain(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.len() > 60 { "[…]" } else { word });
    let line: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    line.chars().take(300).collect()
}

/// The words of a body, wherever they stand in it: a page of HTML has none.
fn words_of(body: &[u8]) -> String {
    match Tree::read(body) {
        Ok(tree) => plain(tree.text(&WORDS).unwrap_or_default()),
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => plain(&json::text(body)),
    }
}

/// A message about one name of several that were asked for: `words`, or what else the body says.
pub(crate) fn about(name: &str, words: String, body: &[u8]) -> String {
    let words = if words.is_empty() { words_of(body) } else { words };
    if words.is_empty() { format!("for `{name}`") } else { format!("for `{name}`: {words}") }
}

impl Refusal {
    /// The same with the words of the body, where the provider's own fields hold none.
    pub(crate) fn or_words_of(mut self, body: &[u8]) -> Self {
        if self.message.is_empty() {
            self.message = words_of(body);
            if self.message == self.code {
                self.message.clear();
            }
        }
        self
    }

    /// A refusal known by nothing but its status.
    pub fn by_status(status: StatusCode) -> Self {
        let remedy = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Remedy::Wait,
            status if status.is_server_error() => Remedy::Wait,
            StatusCode::UNAUTHORIZED => Remedy::OtherToken,
            _ => Remedy::Stop,
        };
        Self { code: status.as_u16().to_string(), message: String::new(), remedy, hint: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_refusal_are_found_wherever_a_server_writes_them() {
        for body in [
            r#"{"error": null, "message": "closed today"}"#,
            r#"{"errors": [{"message": "closed today"}]}"#,
            r#"{"errors": ["closed today"]}"#,
            r#"{"error": ["closed today"]}"#,
            r#"{"type": "about:blank", "title": "Forbidden", "detail": "closed today"}"#,
            r#"{"errorMessage": "closed today"}"#,
            r#"{"Message": "closed today"}"#,
            "closed\n\ttoday\n",
        ] {
            assert_eq!(
                Refusal::by_status(StatusCode::FORBIDDEN).or_words_of(body.as_bytes()).message,
                "closed today",
                "{body}"
            );
        }
        for body in ["<html>closed today</html>", "", "{}", "[]", r#"{"error": "403"}"#] {
            assert_eq!(
                Refusal::by_status(StatusCode::FORBIDDEN).or_words_of(body.as_bytes()).message,
                "",
                "{body}"
            );
        }
        let own = Refusal { message: "its own".to_owned(), ..Refusal::by_status(StatusCode::FORBIDDEN) };
        assert_eq!(own.or_words_of(br#"{"message": "another"}"#).message, "its own");
    }
}
