//! Which addresses of SSH stand for the remotes of `git`.

use std::str::FromStr;

use serde::Deserialize;

use super::field::OneOrMore;

/// Whether what is written for SSH goes by HTTPS, and which users and ports beside the usual ones are meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected true, false, or addresses such as `org-123@github.com`")]
pub enum GitSsh {
    /// The usual ones, or none.
    Asked(bool),
    /// These too, each `USER@HOST`, `HOST:PORT` or `USER@HOST:PORT`.
    Also(OneOrMore<SshAddress>),
}

impl Default for GitSsh {
    fn default() -> Self {
        Self::Asked(false)
    }
}

impl GitSsh {
    /// Whether it is asked for.
    pub fn is_asked(&self) -> bool {
        *self != Self::Asked(false)
    }

    /// What is meant beside the usual ones.
    pub fn addresses(&self) -> &[SshAddress] {
        match self {
            Self::Asked(_) => &[],
            Self::Also(also) => &also.0,
        }
    }
}

/// A user and a port of a host, as SSH knows them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String")]
pub struct SshAddress {
    user: String,
    host: String,
    port: Option<u16>,
}

/// SSH's own port, which may be left out.
const PORT: u16 = 22;

impl SshAddress {
    /// A user, whose name may be empty, at the usual port.
    pub fn of(user: &str, host: &str) -> Self {
        Self { user: user.to_owned(), host: host.to_owned(), port: None }
    }

    /// What a path stands behind in git's spellings of a remote there.
    pub fn prefixes(&self) -> Vec<String> {
        let Self { user, host, port } = self;
        let at = if user.is_empty() { host.clone() } else { format!("{user}@{host}") };
        match port {
            Some(port) if *port != PORT => vec![format!("ssh://{at}:{port}/")],
            _ => vec![
                format!("{at}:"),
                format!("{at}:/"),
                format!("ssh://{at}/"),
                format!("ssh://{at}:{PORT}/"),
            ],
        }
    }
}

/// The text is no address of SSH.
#[derive(Debug, thiserror::Error)]
#[error("expected `USER@HOST`, `HOST:PORT` or `USER@HOST:PORT`, saw `{0}`")]
pub struct NoAddress(String);

impl FromStr for SshAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let no = || NoAddress(text.to_owned());
        let (user, place) = text.split_once('@').unwrap_or(("", text));
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| no())?)),
            None => (place, None),
        };
        let word =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
        let good = word(user)
            && word(host)
            && !host.is_empty()
            && !host.starts_with('-')
            && text.contains(['@', ':']);
        if good { Ok(Self { user: user.to_owned(), host: host.to_owned(), port }) } else { Err(no()) }
    }
}

impl TryFrom<String> for SshAddress {
    type Error = NoAddress;

    fn try_from(text: String) -> Result<Self, NoAddress> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_each_of_its_spellings() {
        let prefixes = |text: &str| text.parse::<SshAddress>().unwrap().prefixes();
        let usual =
            ["org-1@git.test:", "org-1@git.test:/", "ssh://org-1@git.test/", "ssh://org-1@git.test:22/"];
        assert_eq!(prefixes("org-1@git.test"), usual);
        assert_eq!(prefixes("org-1@git.test:22"), usual);
        assert_eq!(prefixes("git@git.test:7999"), ["ssh://git@git.test:7999/"]);
        assert_eq!(prefixes("git.test:7999"), ["ssh://git.test:7999/"]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "git.test",
            "@",
            "git@",
            "git@-oProxyCommand=x:22",
            "a@b@c",
            "git@h:port",
            "git@h/x",
            "a b@h",
        ] {
            assert!(bad.parse::<SshAddress>().is_err(), "{bad}");
        }
    }
}
