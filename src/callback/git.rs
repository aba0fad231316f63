//! Git's configuration for the remotes of a block, as git and git-lfs read it.
//!
//! Git asks every helper whose URL is a prefix of the remote's, by whole segments of the path, in the order in which the
//! rules stand; an empty helper forgets those before it (gitcredentials(7)). So wide rules stand before narrow ones.
//! `/web` is no prefix of `/web.git`: rules stand for both. git-lfs tells a path only where `useHttpPath` says so
//! (git-lfs-config(5)).

use url::Url;

use super::Place;
use dataflow_config::credential::ProviderRequest;
use dataflow_config::git_ssh::SshAddress;
use dataflow_host::Env;
use dataflow_policy::Request;
use dataflow_providers::callback::line;
use dataflow_types::credential::{EnvName, Value, Variable};

/// The most rules of others that are looked at.
const MOST: usize = 1000;

/// A key and a value of git's configuration.
type Pair = (String, String);

/// One remote, and who is asked for it.
struct Rule<'a> {
    url: Url,
    command: String,
    request: &'a Request,
}

/// Git's configuration by environment (git-config, `GIT_CONFIG_COUNT`), after what is there of it already.
pub(crate) fn variables(place: Place<'_>, requests: &[&Request]) -> Vec<Variable> {
    let mut rules = Vec::new();
    for request in requests {
        let name = request.name.as_deref().unwrap_or_default();
        for url in &request.git {
            let command = line(place.program, &["git-credential", "--block"], place.folder, name);
            rules.push(Rule { url: plain(url), command, request });
        }
    }
    // From wide to narrow; of the same, as they are written.
    rules.sort_by_key(|rule| rule.url.path().len());
    let mut pairs: Vec<Pair> = rules.iter().flat_map(pairs).collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    let before = count(place.env);
    pairs.extend(narrower(place.env, before, &rules));
    exported(before, pairs)
}

/// A remote without what no rule has: a user would be a condition, and a password a secret.
fn plain(url: &Url) -> Url {
    let mut url = url.clone();
    // No URL of http is without a host.
    let _kept = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// The URLs by which git and git-lfs know a remote, the wide one first.
fn spellings(url: &Url) -> Vec<String> {
    let text = url.as_str().trim_end_matches('/');
    let bare = text.strip_suffix(".git").unwrap_or(text);
    match url.path() {
        "/" | "" => vec![text.to_owned()],
        _ => vec![bare.to_owned(), format!("{bare}.git")],
    }
}

fn pairs(rule: &Rule<'_>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let has_path = rule.url.path() != "/";
    for url in spellings(&rule.url) {
        // An empty helper forgets those of the host: a static password there would win.
        pairs.push((format!("credential.{url}.helper"), String::new()));
        pairs.push((format!("credential.{url}.helper"), format!("!{}", rule.command)));
        if has_path {
            pairs.push((format!("credential.{url}.useHttpPath"), "true".to_owned()));
        }
    }
    if rule.request.git_ssh.is_asked() {
        pairs.extend(instead_of_ssh(&rule.url, rule.request));
    }
    pairs
}

/// What is written for SSH goes by HTTPS: `git@HOST:PATH`, `ssh://git@HOST/PATH` and what else git takes for the same
/// (git-clone(1), "Git URLs"), and as other users and ports that are named.
fn instead_of_ssh(url: &Url, request: &Request) -> Vec<Pair> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let mut addresses = vec![SshAddress::of("git", host), SshAddress::of("", host)];
    addresses.extend(request.git_ssh.addresses().iter().cloned());
    let mut pairs = Vec::new();
    for https in spellings(url) {
        let (_, path) =
            https.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap_or_default();
        // A prefix is no whole segment here: `web` would be one of `web-two` too.
        let end = if path.strip_suffix(".git").is_some() { "" } else { "/" };
        let path = by_ssh(path, request);
        let path = if path.is_empty() { String::new() } else { format!("{path}{end}") };
        let key = format!("url.{https}{end}.insteadOf");
        pairs.extend(addresses.iter().flat_map(SshAddress::prefixes).map(|ssh| (key.clone(), ssh + &path)));
    }
    pairs
}

/// The path of a repository where SSH has another: Bitbucket Data Center's is below `/scm` by HTTPS alone.
fn by_ssh<'p>(path: &'p str, request: &Request) -> &'p str {
    let center =
        matches!(&request.ask, ProviderRequest::Bitbucket(bitbucket) if bitbucket.data_center.is_some());
    let below = path.strip_prefix("scm").filter(|rest| center && (rest.is_empty() || rest.starts_with('/')));
    below.map_or(path, |rest| rest.trim_start_matches('/'))
}

fn count(env: &Env) -> usize {
    let count = "GIT_CONFIG_COUNT".parse().ok().and_then(|name| env.standing(&name));
    // The step may have set it to any number: the sum must not overflow.
    let count: u16 = count.and_then(|count| count.expose().parse().ok()).unwrap_or_default();
    usize::from(count)
}

/// Rules that stand there already, for less than one of ours is for: ours come after them and would forget them.
fn narrower(env: &Env, before: usize, rules: &[Rule<'_>]) -> Vec<Pair> {
    let read = |name: String| name.parse::<EnvName>().ok().and_then(|name| env.standing(&name));
    let pairs = (0..before.min(MOST)).filter_map(|number| {
        let key = read(format!("GIT_CONFIG_KEY_{number}"))?.expose().to_owned();
        let value = read(format!("GIT_CONFIG_VALUE_{number}"))?.expose().to_owned();
        let url = key.strip_prefix("credential.")?.strip_suffix(".helper")?;
        let wide = |rule: &Rule<'_>| {
            let own = rule.url.as_str().trim_end_matches('/');
            let rest = url.trim_end_matches('/').strip_prefix(own);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        rules.iter().any(wide).then_some((key, value))
    });
    pairs.collect()
}

fn exported(before: usize, pairs: Vec<Pair>) -> Vec<Variable> {
    let variable = |name: String, value: String| {
        let name: EnvName = name.parse().ok()?;
        Some(Variable { name, value: Value::Plain(value) })
    };
    let total = variable("GIT_CONFIG_COUNT".into(), (before + pairs.len()).to_string());
    let pairs = pairs.into_iter().enumerate().flat_map(|(index, (key, value))| {
        let number = before + index;
        [
            variable(format!("GIT_CONFIG_KEY_{number}"), key),
            variable(format!("GIT_CONFIG_VALUE_{number}"), value),
        ]
    });
    pairs.chain([total]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        plain(&Url::parse(text).unwrap())
    }

    #[test]
    fn a_remote_is_known_with_and_without_its_ending() {
        let check = |text: &str, expected: &[&str]| assert_eq!(spellings(&url(text)), expected, "{text}");
        check("https://git.test/", &["https://git.test"]);
        check("https://git.test:8443", &["https://git.test:8443"]);
        for text in
            ["https://git.test/a/web", "https://git.test/a/web.git", "https://u:p@git.test/a/web/?x#y"]
        {
            check(text, &["https://git.test/a/web", "https://git.test/a/web.git"]);
        }
    }
}
