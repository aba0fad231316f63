//! What every kind of request can say of itself.

use url::Url;

use super::key::PrivateKey;
use super::token::Token;
use dataflow_types::span::Span;

/// What every kind of request can say of itself.
pub trait Kind {
    /// The provider's name: the key in a block, and the word in records.
    fn provider(&self) -> &'static str;

    /// What is wrong, with the key that is wrong.
    fn check(&self) -> Result<(), (String, String)>;

    /// The same for what matters only where the step is to see the credential.
    fn check_exported(&self) -> Result<(), (String, String)> {
        Ok(())
    }

    /// The variables that the credential will be handed over as.
    fn exports(&self) -> Vec<String>;

    /// Those of them that name a file in which several credentials have a part each.
    fn shared(&self) -> Vec<String> {
        Vec::new()
    }

    /// What else no other credential of the block may have: a part of such a file. In words.
    fn exclusive(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whom the provider is asked to make of the step, for the log and the record; no secret.
    fn target(&self) -> String;

    /// The job's token that is exchanged, and who should believe it; `None` where another credential is.
    fn token(&self) -> Option<(&Token, String)>;

    /// Whom the token itself is for, where what is lent is made from that in turn.
    fn token_target(&self) -> String {
        self.target()
    }

    /// Claims that the job's token carries as AWS session tags.
    fn session_tags(&self) -> &[String] {
        &[]
    }

    /// How long the credential should live, where that was asked for.
    fn duration(&self) -> Option<Span>;

    /// How long it lives, at most, where nothing was asked for.
    fn usual_duration(&self) -> Span {
        Span::seconds(3600)
    }

    /// How long it lives at most, where the provider decides that whatever is asked.
    fn longest(&self) -> Option<Span> {
        None
    }

    /// How long an intermediate credential lives: one that it is made with, and that is not lent.
    fn intermediate_lifetime(&self) -> Span {
        Span::seconds(0)
    }

    /// The cloud accounts that it leads into, where the provider has such.
    fn accounts(&self) -> Vec<&str> {
        Vec::new()
    }

    /// What is no secret, and is to be hidden in the job's log all the same.
    fn hidden(&self) -> Vec<&str> {
        Vec::new()
    }

    /// What it hands over as no secret, by the names of variables, files or fields.
    fn plain(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where a token or a secret is sent because this block says so, and not by the provider's own convention.
    fn endpoints(&self) -> Vec<&Url> {
        Vec::new()
    }

    /// The servers of the provider's own convention that depend on what is asked, for whoever stands in for them.
    fn hosts(&self) -> Vec<Url> {
        Vec::new()
    }

    /// The key that signs for it.
    fn private_key(&self) -> Option<&PrivateKey> {
        None
    }

    /// The files in the block's private folder whose names it chose.
    fn files(&self) -> Vec<String> {
        Vec::new()
    }

    /// The private file that holds the job's token itself and is read again and again: a keeper keeps it fresh.
    fn token_file(&self) -> Option<String> {
        None
    }

    /// Whether what the step is handed names this program, so that a callback must be allowed.
    fn calls_back(&self) -> bool {
        false
    }

    /// The user name beside which git sends the token as a password.
    fn git_username(&self) -> &'static str {
        "x-access-token"
    }

    /// Whether a remote takes the token as `Authorization: Bearer` alone, and never as a password.
    fn git_wants_bearer(&self) -> bool {
        false
    }

    /// The other credentials of the block that it is made with, each with the key that names it.
    fn sources(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}
