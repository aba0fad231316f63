//! One entry of `credentials`: what is asked for, and what every kind of request can say of itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::aws::Aws;
use super::azure::Azure;
use super::bitbucket::Bitbucket;
use super::buildkite::Buildkite;
use super::gcp::Gcp;
use super::github::GitHub;
use super::key::PrivateKey;
use super::oauth::OAuth;
use super::place::{Error, nearest};
use super::secrets::Secrets;
use super::token::Token;
use super::vault::Vault;
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
    /// Whether what is written for SSH goes to these remotes by HTTPS.
    pub git_ssh: bool,
    /// What becomes of it when the step has ended.
    pub settle: Settle,
    /// When it is asked for at all.
    pub condition: Option<Condition>,
    /// What is asked for.
    pub what: What,
}

/// What becomes of a credential when the step has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Settle {
    /// It is given back, as far as its provider can.
    #[default]
    Always,
    /// It lives until it ends by itself, for something that outlasts the step.
    Leave,
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
    /// An identity of Google Cloud.
    Gcp(Box<Gcp>),
    /// An identity of Azure.
    Azure(Box<Azure>),
    /// A token of an OAuth 2.0 server.
    OAuth(Box<OAuth>),
    /// A token of a GitHub App's installation.
    GitHub(Box<GitHub>),
    /// A token of Bitbucket.
    Bitbucket(Box<Bitbucket>),
    /// A token of Buildkite's API.
    Buildkite(Box<Buildkite>),
    /// A login of Vault and what it reads.
    Vault(Box<Vault>),
    /// Values of a secrets manager.
    Secrets(Box<Secrets>),
}

impl Ask {
    /// What it has in common with the others.
    pub fn kind(&self) -> &dyn Kind {
        match self {
            Self::Aws(aws) => aws.as_ref(),
            Self::Gcp(gcp) => gcp.as_ref(),
            Self::Azure(azure) => azure.as_ref(),
            Self::OAuth(oauth) => oauth.as_ref(),
            Self::GitHub(github) => github.as_ref(),
            Self::Bitbucket(bitbucket) => bitbucket.as_ref(),
            Self::Buildkite(buildkite) => buildkite.as_ref(),
            Self::Vault(vault) => vault.as_ref(),
            Self::Secrets(secrets) => secrets.as_ref(),
        }
    }
}

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

    /// How long whatever is made on the way to it lives, and is not lent.
    fn on_the_way(&self) -> Span {
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
    /// Whether `git@HOST:PATH` and `ssh://git@HOST/PATH` go to the remotes of `git` by HTTPS, for submodules.
    #[serde(default)]
    git_ssh: bool,
    /// Whether it is given back when the step has ended, or lives until it ends by itself.
    #[serde(default)]
    settle: Settle,
    /// When it is asked for: a condition as those of steps, such as `build.branch == "main"`.
    #[serde(rename = "if")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    condition: Option<Condition>,
    /// A role of AWS.
    aws: Option<Box<Aws>>,
    /// An identity of Google Cloud.
    gcp: Option<Box<Gcp>>,
    /// An identity of Azure.
    azure: Option<Box<Azure>>,
    /// A token of an OAuth 2.0 server.
    oauth: Option<Box<OAuth>>,
    /// A token of a GitHub App's installation.
    github: Option<Box<GitHub>>,
    /// A token of Bitbucket.
    bitbucket: Option<Box<Bitbucket>>,
    /// A token of Buildkite's API.
    buildkite: Option<Box<Buildkite>>,
    /// A login of HashiCorp Vault or OpenBao, and what it reads.
    vault: Option<Box<Vault>>,
    /// Values of a secrets manager, read with another credential of the block.
    secrets: Option<Box<Secrets>>,
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
        let Wire {
            name,
            export,
            refresh,
            git,
            git_ssh,
            settle,
            condition,
            aws,
            gcp,
            azure,
            vault,
            secrets,
            oauth,
            github,
            bitbucket,
            buildkite,
            grant,
        } = wire;
        let asked = [
            aws.map(|aws| What::Ask(Ask::Aws(aws))),
            gcp.map(|gcp| What::Ask(Ask::Gcp(gcp))),
            azure.map(|azure| What::Ask(Ask::Azure(azure))),
            vault.map(|vault| What::Ask(Ask::Vault(vault))),
            secrets.map(|secrets| What::Ask(Ask::Secrets(secrets))),
            oauth.map(|oauth| What::Ask(Ask::OAuth(oauth))),
            github.map(|github| What::Ask(Ask::GitHub(github))),
            bitbucket.map(|bitbucket| What::Ask(Ask::Bitbucket(bitbucket))),
            buildkite.map(|buildkite| What::Ask(Ask::Buildkite(buildkite))),
            grant.map(What::Grant),
        ];
        let mut asked: Vec<What> = asked.into_iter().flatten().collect();
        match (asked.pop(), asked.len()) {
            (Some(what), 0) => Ok(Self { name, export, refresh, git, git_ssh, settle, condition, what }),
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
            _ if self.git_ssh && self.git.is_empty() => {
                return Err(("git-ssh", "it is for the remotes of `git`, and there are none".into()));
            }
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
            What::Ask(ref ask) if ask.kind().calls_back() && !self.refresh => {
                Err(("refresh", "what SDKs are handed calls back: write a `name` and `refresh: true`".into()))
            }
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

/// Checks entries against each other: no name, variable or file twice, every source there, and no cycle. Where
/// conditions are open, of two that exclude each other either may be there: such entries are checked when it is known.
pub fn check_together(file: &str, entries: &[Entry<'_>]) -> Result<(), Error> {
    let (mut names, mut files) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries.iter().filter(|entry| !entry.conditional) {
        if let Some(other) = entry.name.and_then(|name| names.insert(name, entry.place)) {
            let problem = format!("`{}` is the name of `{other}` already", entry.name.unwrap_or_default());
            return Err(Error::at(file, entry.place, problem));
        }
        if entry.export {
            check_exports(file, entry, entries)?;
        }
        let written = if entry.export { entry.ask.kind().files() } else { Vec::new() };
        for file_name in written {
            let problem = format!("would write `{file_name}`, which ");
            if let Some(other) = files.insert(file_name, entry.place) {
                return Err(Error::at(file, entry.place, format!("{problem}`{other}` writes too")));
            }
        }
    }
    names.extend(entries.iter().filter_map(|entry| Some((entry.name?, entry.place))));
    let names: Vec<&str> = names.keys().copied().collect();
    every_source_is_there(file, entries, &names)?;
    if entries.iter().any(|entry| entry.conditional) { Ok(()) } else { no_cycle(file, entries) }
}

fn every_source_is_there(file: &str, entries: &[Entry<'_>], names: &[&str]) -> Result<(), Error> {
    for entry in entries {
        for (key, source) in entry.ask.kind().sources() {
            if !names.contains(&source) {
                let error = Error::at(
                    file,
                    format!("{}.{key}", entry.place),
                    format!("no credential here has the name `{source}`"),
                );
                return Err(match nearest(source, names) {
                    Some(near) => error.hinted(format!("did you mean `{near}`?")),
                    None => error.hinted("give the other credential a `name`"),
                });
            }
        }
    }
    Ok(())
}

/// Nothing that this entry hands over is handed over by an earlier one, but for files that they share.
fn check_exports(file: &str, entry: &Entry<'_>, entries: &[Entry<'_>]) -> Result<(), Error> {
    let kind = entry.ask.kind();
    let (exports, shared, exclusive) = (kind.exports(), kind.shared(), kind.exclusive());
    let earlier = entries.iter().take_while(|other| other.place != entry.place);
    for other in earlier.filter(|other| other.export && !other.conditional) {
        let (theirs, theirs_shared) = (other.ask.kind().exports(), other.ask.kind().shared());
        let both_share = |name: &&String| shared.contains(name) && theirs_shared.contains(name);
        let twice = exports.iter().find(|name| theirs.contains(name) && !both_share(name));
        let place = other.place;
        if let Some(name) = twice {
            let problem = format!("would export `{name}`, which `{place}` exports too");
            return Err(Error::at(file, entry.place, problem).hinted(
                "one variable holds one value: use another name or prefix, a profile, or two steps",
            ));
        }
        let other = other.ask.kind().exclusive();
        if let Some(what) = exclusive.iter().find(|what| other.contains(what)) {
            let problem = format!("would make {what}, which `{place}` makes too");
            return Err(Error::at(file, entry.place, problem));
        }
    }
    Ok(())
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
