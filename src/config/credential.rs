//! One entry of `credentials`: what is asked for, and what every kind of request can say of itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::aws::Aws;
use super::place::{Error, nearest};
use super::token::Token;
use crate::condition::Condition;
use crate::span::Span;

/// One credential of a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Credential {
    /// What other credentials of the block call it.
    pub name: Option<String>,
    /// Whether the step sees it.
    pub export: bool,
    /// Whether callbacks may renew it while the step runs.
    pub refresh: bool,
    /// The remotes for which git is given it.
    pub git: Vec<Url>,
    /// When it is asked for at all.
    pub condition: Option<Condition>,
    /// What is asked for.
    pub what: What,
}

/// What one entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A credential.
    Ask(Ask),
    /// A grant that the host config names.
    Grant(String),
}

/// A credential, by provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A role of AWS.
    Aws(Box<Aws>),
}

impl Ask {
    /// What it has in common with the others.
    pub fn kind(&self) -> &dyn Kind {
        match self {
            Self::Aws(aws) => aws.as_ref(),
        }
    }
}

/// What every kind of request can say of itself.
pub trait Kind {
    /// The provider's name: the key in a block, and the word in records.
    fn provider(&self) -> &'static str;

    /// What is wrong, with the key that is wrong.
    fn check(&self) -> Result<(), (String, String)>;

    /// The variables that the credential will be handed over as.
    fn exports(&self) -> Vec<String>;

    /// Whom the provider is asked to make of the step, for the log and the record; no secret.
    fn target(&self) -> String;

    /// The job's token that is exchanged, and who should believe it; `None` where another credential is.
    fn token(&self) -> Option<(&Token, String)>;

    /// How long the credential should live, where that was asked for.
    fn duration(&self) -> Option<Span>;

    /// How long it lives, at most, where nothing was asked for.
    fn usual_duration(&self) -> Span {
        Span::seconds(3600)
    }

    /// Where a token or a secret is sent because this block says so, and not by the provider's own convention.
    fn endpoints(&self) -> Vec<&Url> {
        Vec::new()
    }

    /// The private file that holds the job's token itself and is read again and again: a keeper keeps it fresh.
    fn token_file(&self) -> Option<String> {
        None
    }

    /// The user name beside which git sends the token as a password.
    fn git_username(&self) -> &'static str {
        "x-access-token"
    }

    /// The other credentials of the block that it is made with, each with the key that names it.
    fn sources(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

/// One entry as it is written: one provider or a grant, and what all have in common.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    /// What other credentials of the block call it, as their `source`.
    name: Option<String>,
    /// Whether the step sees it; `false` for one that others are made with.
    #[serde(default = "yes")]
    export: bool,
    /// Whether SDKs and scripts may call back for a fresh one while the step runs; needs a `name`.
    #[serde(default)]
    refresh: bool,
    /// Remotes for which git is given it, renewed as needed: `https://github.com/acme`; needs a `name`.
    #[serde(default)]
    git: Vec<Url>,
    /// When it is asked for: a condition as those of steps, such as `build.branch == "main"`.
    #[serde(rename = "if")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    condition: Option<Condition>,
    /// A role of AWS.
    aws: Option<Box<Aws>>,
    /// A grant that the host config names.
    grant: Option<String>,
}

#[cfg(test)]
impl schemars::JsonSchema for Credential {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Credential".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

fn yes() -> bool {
    true
}

/// An entry that asks for nothing, or for several things at once.
#[derive(Debug, thiserror::Error)]
#[error("expected one provider or one grant, saw {0}")]
struct NotOne(String);

impl TryFrom<Wire> for Credential {
    type Error = NotOne;

    fn try_from(wire: Wire) -> Result<Self, NotOne> {
        let Wire { name, export, refresh, git, condition, aws, grant } = wire;
        let asked = [aws.map(|aws| What::Ask(Ask::Aws(aws))), grant.map(What::Grant)];
        let mut asked: Vec<What> = asked.into_iter().flatten().collect();
        match (asked.pop(), asked.len()) {
            (Some(what), 0) => Ok(Self { name, export, refresh, git, condition, what }),
            (None, _) => Err(NotOne("none".to_owned())),
            (_, others) => Err(NotOne((others + 1).to_string())),
        }
    }
}

impl Credential {
    /// What is wrong with what all kinds have in common, with the key that is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |name: &String| {
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match &self.name {
            Some(name) if name.is_empty() || !plain(name) => {
                return Err(("name", format!("expected 1 to 64 of `[A-Za-z0-9_-]`, saw `{name}`")));
            }
            None if self.refresh => return Err(("refresh", "a callback needs a `name` to ask for".into())),
            None if !self.git.is_empty() => return Err(("git", "git needs a `name` to ask for".into())),
            _ => {}
        }
        if let Some(url) = self.git.iter().find(|url| !super::aws::is_safe(url)) {
            let seen = url.origin().ascii_serialization();
            return Err((
                "git",
                format!("expected an https URL, saw `{seen}`: a token would travel in clear"),
            ));
        }
        if let Some(Err(problem)) = self.condition.as_ref().map(Condition::in_a_job) {
            return Err(("if", problem));
        }
        match self.what {
            What::Grant(_) if self.name.is_some() => {
                Err(("name", "a grant's credentials have names of their own".into()))
            }
            _ => Ok(()),
        }
    }
}

/// One entry among others, wherever each was written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where it stands: `credentials[1].aws`.
    pub place: &'a str,
    /// What others call it.
    pub name: Option<&'a str>,
    /// Whether the step sees it.
    pub export: bool,
    /// Whether it may turn out not to be asked for.
    pub conditional: bool,
    /// What it asks for.
    pub ask: &'a Ask,
}

/// Checks entries against each other: no name twice, no variable twice, every source there, and no cycle. Where
/// conditions are open, of two that exclude each other either may be there: such entries are checked when it is known.
pub fn check_together(file: &str, entries: &[Entry<'_>]) -> Result<(), Error> {
    let (mut names, mut variables) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries.iter().filter(|entry| !entry.conditional) {
        if let Some(other) = entry.name.and_then(|name| names.insert(name, entry.place)) {
            let problem = format!("`{}` is the name of `{other}` already", entry.name.unwrap_or_default());
            return Err(Error::at(file, entry.place, problem));
        }
        let exports = if entry.export { entry.ask.kind().exports() } else { Vec::new() };
        for variable in exports {
            let problem = format!("would export `{variable}`, which ");
            if let Some(other) = variables.insert(variable, entry.place) {
                let problem = format!("{problem}`{other}` exports too");
                return Err(Error::at(file, entry.place, problem).hinted(
                    "one variable holds one value: use another name or prefix, a profile, or two steps",
                ));
            }
        }
    }
    names.extend(entries.iter().filter_map(|entry| Some((entry.name?, entry.place))));
    for entry in entries {
        for (key, source) in entry.ask.kind().sources() {
            if !names.contains_key(source) {
                let known: Vec<&str> = names.keys().copied().collect();
                let error = Error::at(
                    file,
                    format!("{}.{key}", entry.place),
                    format!("no credential here has the name `{source}`"),
                );
                return Err(match nearest(source, &known) {
                    Some(near) => error.hinted(format!("did you mean `{near}`?")),
                    None => error.hinted("give the other credential a `name`"),
                });
            }
        }
    }
    if entries.iter().any(|entry| entry.conditional) { Ok(()) } else { no_cycle(file, entries) }
}

/// Takes away whatever has no source left, again and again: what stays goes round in a circle.
fn no_cycle(file: &str, entries: &[Entry<'_>]) -> Result<(), Error> {
    let mut waiting: Vec<&Entry<'_>> = entries.iter().collect();
    loop {
        let names: Vec<&str> = waiting.iter().filter_map(|entry| entry.name).collect();
        let needs_another =
            |entry: &&Entry<'_>| entry.ask.kind().sources().iter().any(|(_, source)| names.contains(source));
        let still: Vec<&Entry<'_>> = waiting.iter().copied().filter(needs_another).collect();
        if still.len() == waiting.len() {
            break;
        }
        waiting = still;
    }
    match waiting.first() {
        None => Ok(()),
        Some(entry) => Err(Error::at(file, entry.place, "is made with a credential that is made with it")),
    }
}
